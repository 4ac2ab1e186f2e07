"""Upstreams that are down, silent, busy, or answer what is no answer."""

from __future__ import annotations

import json
import threading
from collections.abc import Callable
from http.server import BaseHTTPRequestHandler

import pytest

from cli.environment import free_ports
from deployments.ingress.errors import from_exception
from models.errors import InvalidInput, UpstreamBusy, UpstreamFailed
from tests.models.chat.asking_upstream import KEY, ask, deltas, loaded
from tests.upstreams import begin, chunk, event, pretending, refusing, saying


def test_an_upstream_that_is_down_is_named_without_its_key() -> None:
    (port,) = free_ports(1)
    with (
        loaded(f"http://user:{KEY}@127.0.0.1:{port}/v1", api_key=KEY) as engine,
        pytest.raises(UpstreamFailed, match=rf"server at 127\.0\.0\.1:{port} cannot be reached") as caught,
    ):
        deltas(engine, ask("Hello"))
    assert KEY not in str(caught.value)
    assert from_exception(caught.value).status == 502


def test_silence_ends_after_the_timeout() -> None:
    free = threading.Event()

    def silent(handler: BaseHTTPRequestHandler) -> None:
        begin(handler)
        event(handler, chunk("Hel"))
        free.wait(20)

    with pretending(silent) as pretender, loaded(pretender.url, timeout=0.3) as engine:
        answering = engine.stream(ask("Hello"), lambda: False)
        assert next(answering).text == "Hel"
        with pytest.raises(UpstreamFailed, match=r"said nothing for 0\.3 s"):
            next(answering)
        free.set()


@pytest.mark.parametrize("by", ["flag", "close"])
def test_a_caller_who_leaves_ends_the_connection_while_the_upstream_is_silent(by: str) -> None:
    gone, left = threading.Event(), threading.Event()

    def silent(handler: BaseHTTPRequestHandler) -> None:
        begin(handler)
        event(handler, chunk("Hel"))
        assert handler.connection.recv(1) == b""  # the client's end of the connection is closed
        left.set()

    with pretending(silent) as pretender, loaded(pretender.url) as engine:
        answering = engine.stream(ask("Hello"), gone.is_set)
        assert next(answering).text == "Hel"
        if by == "flag":
            gone.set()
            assert not list(answering)
        else:
            answering.close()  # type: ignore[attr-defined]
        assert left.wait(5)


@pytest.mark.parametrize(
    ("say", "said"),
    [
        (saying(chunk("Hel")), "broke its answer off"),
        (saying(chunk("Hel"), {"error": {"message": "out of memory"}}), "failed: out of memory"),
        (saying("{no json"), "does not speak the OpenAI protocol"),
        (saying([1, 2]), "does not speak the OpenAI protocol"),
        (saying({"choices": [{"delta": "Hello"}]}), "does not speak the OpenAI protocol"),
        (saying(), "broke its answer off"),
        (lambda handler: handler.close_connection, "cannot be reached or broke off"),
        (refusing(500, "no GPU"), "failed: no GPU"),
        (refusing(404, "no such model"), "failed: no such model"),
        (refusing(401, f"wrong key {KEY}"), "does not accept this server's key"),
    ],
)
def test_an_answer_that_is_none_is_the_upstreams_failure(
    say: Callable[[BaseHTTPRequestHandler], None], said: str
) -> None:
    with (
        pretending(say) as pretender,
        loaded(pretender.url, api_key=KEY) as engine,
        pytest.raises(UpstreamFailed, match=said) as caught,
    ):
        deltas(engine, ask("Hello"))
    assert KEY not in str(caught.value)
    assert from_exception(caught.value).status == 502


def test_a_page_of_html_is_no_answer() -> None:
    def page(handler: BaseHTTPRequestHandler) -> None:
        begin(handler, "text/html")
        handler.wfile.write(b"<h1>Welcome</h1>")

    with pretending(page) as pretender, loaded(pretender.url) as engine, pytest.raises(UpstreamFailed):
        deltas(engine, ask("Hello"))


def test_a_connection_that_ends_within_a_chunk_is_a_failure() -> None:
    def torn(handler: BaseHTTPRequestHandler) -> None:
        handler.protocol_version = "HTTP/1.1"
        handler.send_response(200)
        handler.send_header("transfer-encoding", "chunked")
        handler.send_header("content-type", "text/event-stream")
        handler.end_headers()
        first = f"data: {json.dumps(chunk('Hel'))}\n\n".encode()
        handler.wfile.write(f"{len(first):x}\r\n".encode() + first + b"\r\n400\r\nda")
        handler.close_connection = True

    with pretending(torn) as pretender, loaded(pretender.url) as engine:
        answering = engine.stream(ask("Hello"), lambda: False)
        assert next(answering).text == "Hel"
        with pytest.raises(UpstreamFailed, match="broke off"):
            next(answering)


def test_a_busy_upstream_is_a_full_queue() -> None:
    with (
        pretending(refusing(429, "try later")) as pretender,
        loaded(pretender.url) as engine,
        pytest.raises(UpstreamBusy, match="is busy: try later") as caught,
    ):
        deltas(engine, ask("Hello"))
    assert from_exception(caught.value).status == 429
    assert len(pretender.asked) == 1


def test_a_refusal_keeps_the_field_that_the_upstream_names() -> None:
    with (
        pretending(refusing(400, "too long")) as pretender,
        loaded(pretender.url) as engine,
        pytest.raises(InvalidInput, match="too long") as caught,
    ):
        deltas(engine, ask("Hello"))
    assert (caught.value.param, caught.value.code) == ("messages", "odd")
