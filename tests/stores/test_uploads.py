"""Uploads: names that cannot be guessed, and which one came last."""

from __future__ import annotations

import os
import re
import threading
from pathlib import Path

import pytest

from stores.errors import KeyNotFound
from stores.objects import FileStore, PublicStore
from stores.uploads import Uploads
from tests.buckets import Bucket


@pytest.fixture(params=["folder", "bucket"])
def store(request: pytest.FixtureRequest, tmp_path: Path) -> PublicStore:
    if request.param == "folder":
        return FileStore(tmp_path / "files")
    bucket: Bucket = request.getfixturevalue("bucket")
    return bucket.store()


def test_an_upload_is_kept_under_a_name_of_its_own_and_is_the_latest(store: PublicStore) -> None:
    uploads = Uploads(store)
    with pytest.raises(KeyNotFound):
        uploads.latest()
    first, second = uploads.add(b"one", ".png"), uploads.add(b"one", ".png")
    assert re.fullmatch(r"[0-9a-f]{32}\.png", first.name)
    assert first.name != second.name
    assert store.get(Uploads.key(first.name)) == b"one"
    assert Uploads(store).latest() == second


def test_the_latest_that_was_removed_gives_way_to_the_one_before(tmp_path: Path) -> None:
    store = FileStore(tmp_path / "files")
    uploads = Uploads(store)
    names = [uploads.add(b"picture", ".png").name for _ in range(3)]
    for age, name in enumerate(reversed(names)):
        os.utime(store.path(Uploads.key(name)), (1_000_000 - age, 1_000_000 - age))
    store.delete(Uploads.key(names[2]))
    assert uploads.latest().name == names[1]
    for name in names:
        store.delete(Uploads.key(name))
    with pytest.raises(KeyNotFound):
        uploads.latest()


@pytest.mark.parametrize(
    "pointer", [b"", b"null", b"[]", b'{"name": "../../etc/passwd", "at": 1}', b'{"at": "x"}', b"\xff"]
)
def test_a_damaged_pointer_is_found_out_and_replaced(tmp_path: Path, pointer: bytes) -> None:
    store = FileStore(tmp_path / "files")
    uploads = Uploads(store)
    name = uploads.add(b"picture", ".png").name
    store.put("uploads/latest.json", pointer)
    assert uploads.latest().name == name
    newer = uploads.add(b"picture", ".png")
    assert uploads.latest() == newer


@pytest.mark.parametrize("name", ["", "..", "../latest.json", f"{'a' * 32}", f"{'A' * 32}.png", f"{'a' * 32}.png/x"])
def test_a_name_that_no_upload_has_is_not_looked_for(name: str) -> None:
    with pytest.raises(KeyNotFound):
        Uploads.key(name)


def test_uploads_at_once_are_all_kept_and_one_of_them_is_the_latest(tmp_path: Path) -> None:
    uploads = Uploads(FileStore(tmp_path / "files"))
    names: list[str] = []
    threads = [threading.Thread(target=lambda: names.append(uploads.add(b"x", ".png").name)) for _ in range(16)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert len(set(names)) == 16
    assert uploads.latest().name in names
