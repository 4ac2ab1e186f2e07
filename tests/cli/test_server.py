"""How the commands talk to a server that is busy, away, or none at all."""

from __future__ import annotations

import hashlib
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

import pytest
from pydantic import BaseModel

from cli.environment import free_ports
from cli.server import CommandError, Mistake, Refused, Server, api_key, server_url

Say = Callable[[BaseHTTPRequestHandler, int], None]


class Answer(BaseModel):
    n: int


@contextmanager
def saying(say: Say) -> Iterator[tuple[str, list[dict[str, str]]]]:
    """A server's URL and the headers it has received; `say` answers a request, given its number."""
    received: list[dict[str, str]] = []

    class Handler(BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            received.append({name.lower(): value for name, value in self.headers.items()})
            say(self, len(received))

        def do_POST(self) -> None:
            self.rfile.read(int(self.headers["content-length"]))
            self.do_GET()

        def log_message(self, *_: object) -> None:
            """Nothing on stderr."""

    with ThreadingHTTPServer(("127.0.0.1", 0), Handler) as server:
        server.daemon_threads = True
        thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.02})
        thread.start()
        try:
            yield f"http://127.0.0.1:{server.server_address[1]}", received
        finally:
            server.shutdown()
            thread.join()


def answer(
    handler: BaseHTTPRequestHandler, status: int, body: str = '{"n": 1}', length: int | None = None, **headers: str
) -> None:
    """`length` is what the headers promise, where that is not true."""
    handler.send_response(status)
    for name, value in {"content-length": str(len(body) if length is None else length), **headers}.items():
        handler.send_header(name.replace("_", "-"), value)
    handler.end_headers()
    handler.wfile.write(body.encode())


ERROR = '{"error": {"message": "not now", "type": "server_error", "param": null, "code": "SOME_CODE"}}'


async def test_a_busy_server_is_asked_again_when_it_says(capsys: pytest.CaptureFixture[str]) -> None:
    def say(handler: BaseHTTPRequestHandler, number: int) -> None:
        if number == 3:
            answer(handler, 200)
        else:
            answer(handler, (429, 503)[number - 1], ERROR, retry_after="1")

    began = time.monotonic()
    with saying(say) as (url, received):
        async with Server(url) as server:
            assert (await server.ask(Answer, "GET", "/")).n == 1
    assert len(received) == 3
    assert time.monotonic() - began > 2
    assert capsys.readouterr().err == f"the server at {url} is busy (not now); waiting\n"


async def test_patience_ends() -> None:
    with saying(lambda handler, _: answer(handler, 503, ERROR, retry_after="60")) as (url, received):
        async with Server(url, patience=0.5) as server:
            with pytest.raises(CommandError, match=r"is busy \(not now\), for 0.5 s now"):
                await server.ask(Answer, "GET", "/")
    assert len(received) == 2


async def test_a_no_is_not_asked_for_twice() -> None:
    def say(handler: BaseHTTPRequestHandler, number: int) -> None:
        if number == 1:
            answer(handler, 503, ERROR, retry_after="60", x_should_retry="false")
        else:
            answer(handler, 403, "<html>of a proxy")

    with saying(say) as (url, received):
        async with Server(url, "secret") as server:
            with pytest.raises(Refused, match="not now") as refused:
                await server.ask(Answer, "GET", "/")
            assert (refused.value.http_status, refused.value.code, refused.value.status) == (503, "SOME_CODE", 1)
            with pytest.raises(Refused, match=r"HTTP 403 Forbidden .*ATELIER_API_KEY") as refused:
                await server.ask(Answer, "GET", "/")
            assert refused.value.status == 2
            assert "secret" not in str(refused.value)
    assert [each["authorization"] for each in received] == ["Bearer secret"] * 2


async def test_a_server_that_goes_away_in_the_middle_is_waited_for_although_it_only_refused_so_far() -> None:
    not_found = ERROR.replace("SOME_CODE", "PROJECT_NOT_FOUND")

    def say(handler: BaseHTTPRequestHandler, number: int) -> None:
        if number == 1:
            answer(handler, 404, not_found)
        elif number == 2:
            handler.connection.close()
        elif number == 3:
            answer(handler, 404, "nothing is deployed yet")
        else:
            answer(handler, 200)

    with saying(say) as (url, received):
        async with Server(url, patience=5) as server:
            with pytest.raises(Refused):
                await server.ask(Answer, "GET", "/")
            await server.ask(Answer, "GET", "/")
    assert len(received) == 4


async def test_a_server_that_has_never_answered_is_not_waited_for() -> None:
    (port,) = free_ports(1)
    began = time.monotonic()
    async with Server(f"http://127.0.0.1:{port}") as server:
        with pytest.raises(CommandError, match=rf"no server answers at http://127.0.0.1:{port} \(.*`make run`"):
            await server.ask(Answer, "GET", "/")
    assert time.monotonic() - began < 20  # its patience is longer


async def test_a_download_that_breaks_off_begins_again_and_the_key_goes_to_no_other_host(tmp_path: Path) -> None:
    def give(handler: BaseHTTPRequestHandler, number: int) -> None:
        answer(handler, 200, "complete" if number > 1 else "half", length=8)

    def lead(handler: BaseHTTPRequestHandler, number: int) -> None:
        if number == 1:
            answer(handler, 200)
        else:
            answer(handler, 307, "", location=f"{bucket}/{number}")

    with saying(give) as (bucket, given), saying(lead) as (url, asked):
        async with Server(url, "secret", patience=5) as server:
            await server.ask(Answer, "GET", "/")
            digest = await server.download("/file", tmp_path / "file")
    assert (tmp_path / "file").read_text() == "complete"
    assert digest == hashlib.sha256(b"complete").hexdigest()
    assert [each["authorization"] for each in asked] == ["Bearer secret"] * 3
    assert [each.get("authorization") for each in given] == [None, None]


async def test_what_is_no_atelier_is_distinguished_from_one() -> None:
    with saying(lambda handler, number: answer(handler, (404, 200)[number - 1], "<html>")) as (url, _):
        async with Server(url) as server:
            with pytest.raises(CommandError, match=rf"no server answers at {url} \(HTTP 404 Not Found\)"):
                await server.ask(Answer, "GET", "/")
            with pytest.raises(CommandError, match="is no Atelier server, or one of another version"):
                await server.ask(Answer, "GET", "/")


@pytest.mark.parametrize(
    ("given", "environ", "url"),
    [
        (None, {}, "http://127.0.0.1:8000"),
        (None, {"HOST": "0.0.0.0", "PORT": "8123"}, "http://127.0.0.1:8123"),
        (None, {"HOST": "::", "GATEWAY_PORT": "1"}, "http://[::1]:1"),
        ("https://pictures.example/ai/", {"PORT": "8123"}, "https://pictures.example/ai"),
    ],
)
def test_the_server_is_the_one_named_else_the_one_that_up_starts(
    given: str | None, environ: dict[str, str], url: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    for name in ("HOST", "PORT", "GATEWAY_PORT"):
        monkeypatch.delenv(name, raising=False)
    for name, value in environ.items():
        monkeypatch.setenv(name, value)
    assert server_url(given) == url


@pytest.mark.parametrize("given", ["localhost:8000", "/v1", "ftp://host", "http://", "http://host:port"])
def test_what_is_no_url_is_named(given: str) -> None:
    with pytest.raises(Mistake, match="a URL such as"):
        server_url(given)


def test_a_key_that_no_header_can_hold_is_not_repeated(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("ATELIER_API_KEY", "first\nsecond")
    with pytest.raises(Mistake, match="ATELIER_API_KEY: a key of visible ASCII") as mistake:
        api_key()
    assert "second" not in str(mistake.value)
