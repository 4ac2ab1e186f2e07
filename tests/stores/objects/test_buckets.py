"""Objects in a bucket that speaks S3, and buckets that are away, silent or break off."""

from __future__ import annotations

import contextlib
import io
import shutil
import socket
import threading
from urllib.parse import parse_qs, urlsplit

import httpx
import pytest

from cli.environment import free_ports
from stores.errors import (
    DownloadFailed,
    UploadFailed,
)
from stores.s3 import S3Store
from tests.buckets import Bucket


def test_more_objects_than_a_page_of_s3_are_listed(bucket: Bucket) -> None:
    store = bucket.store()
    for i in range(1005):
        store.put(f"a/{i:04}", b"")
    assert list(store.keys("a/")) == [f"a/{i:04}" for i in range(1005)]


def test_a_link_to_a_bucket_opens_one_object_and_shows_only_what_is_harmless(bucket: Bucket) -> None:
    store = bucket.store()
    store.put("a b/ü.png", b"picture")
    store.put("a.svg", b"<svg/>")
    shown = httpx.get(store.link("a b/ü.png", 60))
    assert (shown.status_code, shown.content, shown.headers["content-type"]) == (200, b"picture", "image/png")
    assert "content-disposition" not in shown.headers
    query = parse_qs(urlsplit(store.link("a.svg", 60)).query)
    assert query["X-Amz-Expires"] == ["60"]
    download = httpx.get(store.link("a.svg", 60))
    assert download.headers["content-disposition"] == "attachment"
    assert download.headers["content-type"] == "application/octet-stream"


def test_what_a_bucket_does_not_take_or_give_is_an_error_and_no_other_is_tried(s3: str) -> None:
    fails(Bucket(s3, "no-such-bucket").store())


def test_a_bucket_that_is_away_is_an_error_soon() -> None:
    (port,) = free_ports(1)
    fails(Bucket(f"http://127.0.0.1:{port}", "bucket").store())


def test_a_bucket_that_accepts_and_never_answers_is_an_error_too() -> None:
    with socket.create_server(("127.0.0.1", 0)) as silent:
        endpoint = f"http://127.0.0.1:{silent.getsockname()[1]}"
        store = S3Store(endpoint, "bucket", "an-id", "a-secret", connect_timeout=0.5, read_timeout=0.2)
        with pytest.raises(UploadFailed):
            store.put("a", b"1")
        with pytest.raises(DownloadFailed):
            store.get("a")


def test_a_bucket_that_breaks_off_is_an_error_and_half_an_object_is_none() -> None:
    half = (
        b"HTTP/1.1 200 OK\r\nContent-Length: 10\r\nETag: x\r\nLast-Modified: Sat, 01 Nov 2025 00:00:00 GMT\r\n\r\nhalf"
    )

    def answer(listener: socket.socket) -> None:
        with contextlib.suppress(OSError):  # the listener is closed at the end
            while True:
                connection, _ = listener.accept()
                with connection:
                    connection.recv(65536)
                    connection.sendall(half)

    with socket.create_server(("127.0.0.1", 0)) as listener:
        thread = threading.Thread(target=answer, args=(listener,))
        thread.start()
        store = Bucket(f"http://127.0.0.1:{listener.getsockname()[1]}", "bucket").store()
        with pytest.raises(DownloadFailed):
            store.get("a")
        with store.open("a") as file, pytest.raises(DownloadFailed):
            shutil.copyfileobj(file, io.BytesIO())
        listener.shutdown(socket.SHUT_RDWR)
    thread.join()


def fails(store: S3Store) -> None:
    """Every use is an error of ours, which names neither the endpoint nor the credentials."""
    with pytest.raises(UploadFailed, match=r"^the object store did not take the object$"):
        store.put("a", b"1")
    with pytest.raises(UploadFailed, match=r"^the object store did not take the object$"):
        store.put_file("a", io.BytesIO(b"1"))
    with pytest.raises(DownloadFailed):
        store.get("a")
    with pytest.raises(DownloadFailed):
        store.open("a")
    with pytest.raises(DownloadFailed):
        list(store.listing())
