"""Pictures behind URLs: only where it is allowed, only from public hosts, and never a token to another host."""

from __future__ import annotations

import asyncio
import gzip
import threading
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any

import pytest

import settings
from cli.environment import ROOT
from deployments.ingress.errors import ApiError
from deployments.ingress.requests.remote_pictures import fetch

PICTURE = b"the picture's bytes"


class Host(ThreadingHTTPServer):
    """A host of pictures that remembers which tokens it was sent."""

    def __init__(self) -> None:
        super().__init__(("127.0.0.1", 0), Pages)
        self.tokens: list[str | None] = []
        self.elsewhere = ""

    @property
    def name(self) -> str:
        return f"127.0.0.1:{self.server_port}"


class Pages(BaseHTTPRequestHandler):
    server: Host

    def do_GET(self) -> None:
        self.server.tokens.append(self.headers["Authorization"])
        match self.path:
            case "/picture":
                self.answer(200, PICTURE)
            case "/away":
                self.answer(302, b"", Location=self.server.elsewhere)
            case "/around":
                self.answer(302, b"", Location="/around")
            case "/packed":
                self.answer(200, gzip.compress(bytes(2**20)), **{"Content-Encoding": "gzip"})
            case "/huge":
                self.answer(200, bytes(2048))
            case _:
                self.answer(404, b"")

    def answer(self, status: int, body: bytes, **headers: str) -> None:
        self.send_response(status)
        for name, value in headers.items():
            self.send_header(name, value)
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)

    def log_message(self, *_: Any) -> None:
        """Keep quiet."""


@pytest.fixture
def hosts() -> Iterator[tuple[Host, Host]]:
    both = Host(), Host()
    for host in both:
        threading.Thread(target=host.serve_forever, daemon=True).start()
    both[0].elsewhere = f"http://{both[1].name}/picture"
    yield both
    for host in both:
        host.shutdown()
        host.server_close()


def got(url: str, *trusted: Host, token: str | None = None, **changes: Any) -> bytes:
    configured = settings.load(ROOT / "serve_config.yaml", {}).model_copy(
        update={"allow_remote_images": True, "remote_image_hosts": tuple(host.name for host in trusted), **changes}
    )
    return asyncio.run(fetch(url, "image", configured, token))


def refused(url: str, *trusted: Host, **changes: Any) -> ApiError:
    with pytest.raises(ApiError) as caught:
        got(url, *trusted, **changes)
    assert caught.value.param == "image"
    return caught.value


def test_nothing_is_fetched_unless_it_is_allowed(hosts: tuple[Host, Host]) -> None:
    error = refused(f"http://{hosts[0].name}/picture", hosts[0], allow_remote_images=False)
    assert "ATELIER_ALLOW_REMOTE_IMAGES=1" in error.message
    assert hosts[0].tokens == []


@pytest.mark.parametrize(
    "host",
    [
        "127.0.0.1",
        "localhost",
        "[::1]",
        "10.0.0.1",
        "192.168.1.1",
        "169.254.169.254",
        "[::ffff:127.0.0.1]",
        "0.0.0.0",
        "[64:ff9b::7f00:1]",
        "[64:ff9b::a00:1]",
        "[::127.0.0.1]",
        "[fec0::1]",
        "[2002:7f00:1::]",
    ],
)
def test_addresses_that_are_not_public_are_not_asked(host: str, hosts: tuple[Host, Host]) -> None:
    assert "not public" in refused(f"http://{host}:{hosts[0].server_port}/picture").message
    assert hosts[0].tokens == []


@pytest.mark.parametrize("url", ["ftp://example.com/x", "http://", "http://[", "http://host name/x"])
def test_what_is_no_http_url_is_refused(url: str) -> None:
    assert refused(url).status == 400


def test_a_host_that_the_operator_names_is_asked_with_the_token(hosts: tuple[Host, Host]) -> None:
    assert got(f"http://{hosts[0].name}/picture", hosts[0], token="secret") == PICTURE
    assert hosts[0].tokens == ["Bearer secret"]


def test_a_redirect_is_followed_without_the_token(hosts: tuple[Host, Host]) -> None:
    assert got(f"http://{hosts[0].name}/away", *hosts, token="secret") == PICTURE
    assert (hosts[0].tokens, hosts[1].tokens) == (["Bearer secret"], [None])


def test_a_redirect_into_the_network_is_refused(hosts: tuple[Host, Host]) -> None:
    assert "not public" in refused(f"http://{hosts[0].name}/away", hosts[0]).message
    assert hosts[1].tokens == []


def test_redirects_that_never_end_are_refused(hosts: tuple[Host, Host]) -> None:
    assert "redirects more than" in refused(f"http://{hosts[0].name}/around", hosts[0]).message


def test_too_many_bytes_are_a_413(hosts: tuple[Host, Host]) -> None:
    assert refused(f"http://{hosts[0].name}/huge", hosts[0], image_max_bytes=1024).status == 413


def test_packed_content_is_not_unpacked(hosts: tuple[Host, Host]) -> None:
    assert "packed content" in refused(f"http://{hosts[0].name}/packed", hosts[0]).message


def test_an_error_of_the_host_is_reported(hosts: tuple[Host, Host]) -> None:
    assert "status 404" in refused(f"http://{hosts[0].name}/nowhere", hosts[0]).message
