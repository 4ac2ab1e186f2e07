"""The file routes of family C over the real app and both stores."""

from __future__ import annotations

import io
import re
import time
from collections.abc import AsyncIterator
from datetime import datetime
from pathlib import Path

import httpx
import pytest
from PIL import Image

from cli.environment import free_ports
from tests.api.pictures import SVG, TRUNCATED, bomb, png
from tests.buckets import Bucket
from tests.deployments.apps import client, fault, make_app

SECURITY = {"x-content-type-options": "nosniff", "content-security-policy": "default-src 'none'; sandbox"}


@pytest.fixture(params=["folder", "bucket"])
async def http(request: pytest.FixtureRequest, tmp_path: Path) -> AsyncIterator[httpx.AsyncClient]:
    """A client of a server that keeps its files in a folder or in a bucket."""
    bucket: Bucket | None = request.getfixturevalue("bucket") if request.param == "bucket" else None
    async with client(make_app(tmp_path, bucket.environ if bucket else {})) as http:
        yield http


def picture(colour: str = "red", kind: str = "PNG") -> bytes:
    buffer = io.BytesIO()
    Image.new("RGB", (8, 6), colour).save(buffer, kind)
    return buffer.getvalue()


async def send(http: httpx.AsyncClient, data: bytes, name: str = "x", headers: dict[str, str] | None = None) -> str:
    answer = await http.post("/upload", files={"file": (name, data, "text/html")}, headers=headers)
    assert answer.status_code == 200, answer.text
    assert list(answer.json()) == ["url"]
    return str(answer.json()["url"])


@pytest.mark.parametrize(
    ("kind", "suffix", "media_type"),
    [("PNG", ".png", "image/png"), ("JPEG", ".jpg", "image/jpeg"), ("WEBP", ".webp", "image/webp"),
     ("GIF", ".gif", "image/gif"), ("BMP", ".bmp", "image/bmp")],
)  # fmt: skip
async def test_a_picture_is_kept_byte_for_byte_and_named_by_what_it_is(
    http: httpx.AsyncClient, kind: str, suffix: str, media_type: str
) -> None:
    data = picture(kind=kind)
    url = await send(http, data, "../evil.html")
    assert re.fullmatch(rf"/i/[0-9a-f]{{32}}\{suffix}", url)
    got, head = await http.get(url), await http.head(url)
    assert (got.status_code, got.content) == (200, data)
    assert (head.status_code, head.content, head.headers["content-length"]) == (200, b"", str(len(data)))
    for answer in (got, head):
        assert answer.headers["content-type"] == media_type
        assert answer.headers.items() >= SECURITY.items()
        assert answer.headers["cache-control"] == "public, max-age=31536000, immutable"


@pytest.mark.parametrize("data", [SVG, TRUNCATED, bomb(), b"", b"<html>", b"GIF89a"])
async def test_what_is_no_whole_picture_is_refused_and_not_kept(http: httpx.AsyncClient, data: bytes) -> None:
    answer = await http.post("/upload", files={"file": ("x.png", data, "image/png")})
    assert fault(answer) == (400, "invalid_image", "file")
    assert answer.json()["detail"] == answer.json()["error"]["message"]
    assert (await http.get("/latest")).status_code == 404


async def test_a_picture_may_have_as_many_bytes_as_others_and_no_more(tmp_path: Path) -> None:
    data = png()
    async with client(make_app(tmp_path, {"IMAGE_MAX_BYTES": str(max(1024, len(data)))})) as c:
        padded = data + bytes(max(0, 1024 - len(data)))
        assert (await c.post("/upload", files={"file": ("x", padded)})).status_code == 200
        answer = await c.post("/upload", files={"file": ("x", padded + b"1")})
    assert fault(answer) == (413, "request_too_large", "file")


async def test_an_upload_names_what_is_missing_or_too_much(http: httpx.AsyncClient) -> None:
    assert fault(await http.post("/upload", data={"x": "1"})) == (400, "missing_required_parameter", "file")
    more = await http.post("/upload", files={"file": ("x", png())}, data={"files": "1"})
    assert fault(more) == (400, "unsupported_parameter", "files")
    two = [("file", ("a", png())), ("file", ("b", png()))]
    assert fault(await http.post("/upload", files=two)) == (400, "invalid_value", "file")


@pytest.mark.parametrize(
    "name",
    ["0" * 32 + ".png", "x", "%2e%2e/latest.json", "..%2flatest.json", "..%2f..%2f..%2fetc%2fpasswd",
     "%2fetc%2fpasswd", "0" * 32 + ".png%00", "0" * 32 + ".png/x", "%ed%a0%80", "0" * 5000],
)  # fmt: skip
async def test_a_name_that_nothing_has_is_not_found(http: httpx.AsyncClient, name: str) -> None:
    await send(http, picture())
    for method in ("GET", "HEAD"):
        answer = await http.send(
            http.build_request(method, httpx.URL("http://atelier.test", raw_path=f"/i/{name}".encode()))
        )
        assert answer.status_code == 404
    answer = await http.get(httpx.URL("http://atelier.test", raw_path=f"/i/{name}".encode()))
    assert answer.json()["detail"] == "not found"
    assert fault(answer) == (404, "NOT_FOUND", None)


async def test_the_latest_is_the_newest_upload_and_not_the_newest_view(http: httpx.AsyncClient) -> None:
    for path in ("/latest", "/latest/raw"):
        answer = await http.get(path)
        assert fault(answer) == (404, "NOT_FOUND", None)
        assert answer.json()["detail"]
    first = await send(http, picture("red"))
    second = await send(http, picture("blue"))
    await http.get(first)
    latest = (await http.get("/latest")).json()
    assert latest["url"] == f"http://atelier.test{second}"
    assert re.fullmatch(r"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d\+09:00", latest["updated_at"])
    assert abs(datetime.fromisoformat(latest["updated_at"]).timestamp() - time.time()) < 600
    raw = await http.get("/latest/raw")
    assert (raw.content, raw.headers["content-type"]) == (picture("blue"), "image/png")
    assert raw.headers["cache-control"] == "no-store"
    assert raw.headers.items() >= SECURITY.items()


async def test_the_time_zone_of_the_latest_can_be_set(tmp_path: Path) -> None:
    for zone, offset in (("-03:30", "-03:30"), ("Asia/Kolkata", "+05:30"), ("UTC", "+00:00")):
        async with client(make_app(tmp_path, {"ATELIER_TIMEZONE": zone})) as http:
            await send(http, picture())
            assert (await http.get("/latest")).json()["updated_at"].endswith(offset)


def bearer(key: str) -> dict[str, str]:
    return {"Authorization": f"Bearer {key}"}


async def test_the_bearer_token_opens_the_latest_and_closes_nothing_else(tmp_path: Path) -> None:
    async with client(make_app(tmp_path, {"BEARER_TOKEN": "secret"})) as http:
        url = await send(http, picture())
        for path in ("/latest", "/latest/raw"):
            missing = await http.get(path)
            assert fault(missing) == (401, "invalid_api_key", None)
            assert missing.headers["www-authenticate"] == "Bearer"
            assert fault(await http.get(path, headers=bearer("wrong"))) == (403, "invalid_api_key", None)
            assert (await http.get(path, headers=bearer("secret"))).status_code == 200
            assert (await http.get(path, headers={"X-API-Key": "secret"})).status_code == 200
        assert (await http.get(url)).status_code == 200
        assert (await http.get("/openapi.json")).status_code == 200


async def test_with_keys_of_any_kind_the_latest_takes_each_of_them_and_the_rest_no_bearer_token(tmp_path: Path) -> None:
    environ = {"BEARER_TOKEN": "secret", "ATELIER_API_KEYS": "user", "ATELIER_ADMIN_KEYS": "admin"}
    async with client(make_app(tmp_path, environ)) as http:
        url = await send(http, picture(), headers=bearer("user"))
        for key in ("secret", "user", "admin"):
            assert (await http.get("/latest", headers=bearer(key))).status_code == 200
        assert (await http.get("/latest", headers=bearer("wrong"))).status_code == 403
        assert (await http.get("/latest")).status_code == 401
        files = {"file": ("x", picture())}
        assert (await http.post("/upload", files=files)).status_code == 401
        assert (await http.post("/upload", files=files, headers=bearer("secret"))).status_code == 401
        assert (await http.get(url)).status_code == 200, "the name alone is enough to see the picture"


async def test_only_keys_of_the_server_close_the_latest_too(tmp_path: Path) -> None:
    async with client(make_app(tmp_path, {"ATELIER_API_KEYS": "user"})) as http:
        assert (await http.get("/latest")).status_code == 401
        assert (await http.get("/latest", headers=bearer("wrong"))).status_code == 403
        assert (await http.get("/latest", headers=bearer("user"))).status_code == 404


async def test_an_upload_that_the_bucket_does_not_take_fails_and_one_it_does_not_give_too(tmp_path: Path) -> None:
    (port,) = free_ports(1)
    environ = Bucket(f"http://127.0.0.1:{port}", "bucket").environ
    async with client(make_app(tmp_path, environ)) as http:
        answer = await http.post("/upload", files={"file": ("x.png", picture())})
        assert fault(answer) == (502, "R2_UPLOAD_FAILED", None)
        assert answer.json()["detail"] == "the object store did not take the object"
        assert str(port) not in answer.text
        for path in (f"/i/{'0' * 32}.png", "/latest", "/latest/raw"):
            assert fault(await http.get(path)) == (502, "R2_DOWNLOAD_FAILED", None)


async def test_signed_links_to_the_folder_lead_nowhere_while_files_are_in_a_bucket(
    bucket: Bucket, tmp_path: Path
) -> None:
    async with client(make_app(tmp_path, bucket.environ)) as http:
        answer = await http.get("/files/uploads/latest.json", params={"expires": "99999999999", "signature": "x"})
    assert fault(answer) == (403, "invalid_signature", None)
