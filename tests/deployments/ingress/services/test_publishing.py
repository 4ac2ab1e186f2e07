"""URLs that are handed out, the pictures behind them, and whose word about the host is taken."""

from __future__ import annotations

import uuid
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path

import httpx
import pytest
from fastapi import FastAPI
from starlette.requests import Request
from starlette.responses import PlainTextResponse, Response

from deployments.ingress.dependencies import Atelier
from tests.api.pictures import png
from tests.buckets import Bucket
from tests.deployments.apps import client, fault, listening, make_app


def app_that_publishes(home: Path, environ: dict[str, str]) -> FastAPI:
    """The app with routes that do what those that make pictures do."""
    app = make_app(home, environ)
    atelier: Atelier = app.state.atelier
    publishing = atelier.publishing

    async def base(request: Request) -> Response:
        return PlainTextResponse(publishing.base_url(request))

    async def make(request: Request) -> Response:
        await publishing.check()
        return PlainTextResponse(await publishing.publish(request, png(), "png"))

    async def make_upload(request: Request) -> Response:
        await publishing.check()
        return PlainTextResponse(await publishing.publish_upload(request, png(), "png"))

    for route in (base, make, make_upload):
        app.add_route(f"/{route.__name__}", route)
    return app


@asynccontextmanager
async def publishing(home: Path, peer: str = "192.0.2.1", **environ: str) -> AsyncIterator[httpx.AsyncClient]:
    async with client(app_that_publishes(home, environ), peer) as http:
        yield http


async def test_a_picture_is_published_under_the_host_that_was_asked(tmp_path: Path) -> None:
    async with publishing(tmp_path) as http:
        url = (await http.get("/make")).text
        assert url.startswith("http://atelier.test/files/images/generated/")
        assert (await http.get(url)).content == png()
        assert (await http.get("/latest")).status_code == 404, "what was generated is not an upload"


async def test_generated_pictures_are_kept_under_the_prefix_that_is_configured(tmp_path: Path) -> None:
    async with publishing(tmp_path, IMAGE_REMOTE_PREFIX="AI/IMAGES/") as http:
        assert "/files/AI/IMAGES/images/generated/" in (await http.get("/make")).text


async def test_a_picture_in_a_bucket_has_a_presigned_url_of_the_bucket(tmp_path: Path, bucket: Bucket) -> None:
    async with publishing(tmp_path, **bucket.environ) as http:
        url = (await http.get("/make")).text
    assert url.startswith(f"{bucket.endpoint}/{bucket.name}/images/generated/")
    async with httpx.AsyncClient() as anybody:
        got = await anybody.get(url)
    assert (got.content, got.headers["content-type"]) == (png(), "image/png")


async def test_a_picture_published_as_an_upload_is_the_latest(tmp_path: Path) -> None:
    async with publishing(tmp_path) as http:
        url = (await http.get("/make_upload")).text
        assert (await http.get("/latest")).json()["url"] == url
        assert (await http.get(url)).content == png()


async def test_the_public_url_goes_before_everything_else(tmp_path: Path) -> None:
    headers = {"X-Forwarded-Host": "proxy.test", "X-Forwarded-Proto": "https"}
    environ = {"ATELIER_PUBLIC_URL": "https://a.test/x/", "ATELIER_TRUSTED_PROXIES": "192.0.2.1"}
    async with publishing(tmp_path, **environ) as http:
        assert (await http.get("/base", headers=headers)).text == "https://a.test/x"


@pytest.mark.parametrize(
    ("trusted", "headers", "expected"),
    [
        ("", {"x-forwarded-host": "evil.test", "x-forwarded-proto": "https"}, "http://atelier.test"),
        ("10.0.0.0/8", {"x-forwarded-host": "evil.test", "x-forwarded-proto": "https"}, "http://atelier.test"),
        ("192.0.2.0/24", {"x-forwarded-host": "a.test", "x-forwarded-proto": "https"}, "https://a.test"),
        ("10.0.0.1, 192.0.2.1", {"x-forwarded-host": "a.test:8443"}, "http://a.test:8443"),
        ("192.0.2.1", {"x-forwarded-proto": "https"}, "https://atelier.test"),
        ("192.0.2.1", {"x-forwarded-host": "[2001:db8::1]:80"}, "http://[2001:db8::1]:80"),
        ("192.0.2.1", {"x-forwarded-host": "evil.test, a.test", "x-forwarded-proto": "ftp, https"}, "https://a.test"),
        ("192.0.2.1", {"x-forwarded-host": "a.test/path", "x-forwarded-proto": "javascript"}, "http://atelier.test"),
        ("192.0.2.1", {"x-forwarded-host": "user@a.test"}, "http://atelier.test"),
        ("192.0.2.1", {"x-atelier-peer": "192.0.2.1"}, "http://atelier.test"),
    ],
)
async def test_forwarded_headers_count_only_from_a_trusted_proxy_and_the_nearest_one_is_asked(
    tmp_path: Path, trusted: str, headers: dict[str, str], expected: str
) -> None:
    async with publishing(tmp_path, ATELIER_TRUSTED_PROXIES=trusted) as http:
        assert (await http.get("/base", headers=headers)).text == expected


@pytest.mark.parametrize(
    ("peer", "expected"),
    [
        ("the-token 192.0.2.1", "http://a.test"),
        ("the-token 203.0.113.9", "http://atelier.test"),
        ("192.0.2.1", "http://atelier.test"),
        ("another 192.0.2.1", "http://atelier.test"),
        (" 192.0.2.1", "http://atelier.test"),
    ],
)
@pytest.mark.parametrize("haproxy", ["0", "1"])
async def test_who_called_haproxy_counts_only_with_the_token_of_this_start(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, peer: str, expected: str, haproxy: str
) -> None:
    monkeypatch.setenv("RAY_SERVE_ENABLE_HA_PROXY", haproxy)
    monkeypatch.setenv("ATELIER_PEER_TOKEN", "the-token")
    headers = {"x-forwarded-host": "a.test", "x-atelier-peer": peer}
    async with publishing(tmp_path, peer="127.0.0.1", ATELIER_TRUSTED_PROXIES="192.0.2.1") as http:
        assert (await http.get("/base", headers=headers)).text == expected


async def test_without_a_token_callers_cannot_choose_their_address(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("RAY_SERVE_ENABLE_HA_PROXY", "1")
    monkeypatch.delenv("ATELIER_PEER_TOKEN", raising=False)
    async with publishing(tmp_path, peer="127.0.0.1", ATELIER_TRUSTED_PROXIES="127.0.0.1,192.0.2.1") as http:
        for peer in ("", "127.0.0.1", "192.0.2.1", " 192.0.2.1", "None 192.0.2.1"):
            answer = await http.get("/base", headers={"x-forwarded-host": "a.test", "x-atelier-peer": peer})
            assert answer.text == "http://atelier.test"


async def test_with_an_outside_file_server_pictures_go_there_and_nothing_stays_here(tmp_path: Path) -> None:
    async with (
        listening(make_app(tmp_path / "files")) as outside,
        publishing(tmp_path / "home", FILE_SERVER=f"{outside}/") as http,
    ):
        for path in ("/make", "/make_upload"):
            url = (await http.get(path)).text
            assert url.startswith(f"{outside}/i/")
            async with httpx.AsyncClient() as anybody:
                assert (await anybody.get(url)).content == png()
                assert (await anybody.get(f"{outside}/latest")).json()["url"] == url
    assert not [path for path in (tmp_path / "home/files").rglob("*") if path.is_file()]


async def test_an_outside_file_server_that_is_away_is_said_before_work_begins(tmp_path: Path) -> None:
    async with listening(make_app(tmp_path / "files")) as outside:
        pass
    async with publishing(tmp_path / "home", FILE_SERVER=outside) as http:
        answer = await http.get("/make")
    assert fault(answer) == (503, "FILE_SERVER_UNREACHABLE", None)
    assert answer.headers["retry-after"]
    assert outside not in answer.text


async def test_an_outside_file_server_that_wants_a_key_is_an_error_that_says_so(tmp_path: Path) -> None:
    async with (
        listening(make_app(tmp_path / "files", {"ATELIER_API_KEYS": uuid.uuid4().hex})) as outside,
        publishing(tmp_path / "home", FILE_SERVER=outside) as http,
    ):
        answer = await http.get("/make")
    assert fault(answer) == (502, "FILE_SERVER_FAILED", None)
    assert "401" in answer.json()["error"]["message"]
