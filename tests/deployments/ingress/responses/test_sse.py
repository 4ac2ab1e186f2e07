"""Streams that begin: refusals before the status, and callers who leave meanwhile."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncGenerator, MutableMapping
from typing import Any

import pytest

from deployments.ingress.responses.sse import ByteStream, EventStream, StartedStream, started


class Pieces:
    """A stream that works until it is closed, and says so."""

    def __init__(self, failure: Exception | None = None) -> None:
        self.failure = failure
        self.working = asyncio.Event()
        self.may_go_on = asyncio.Event()
        self.closed = False

    async def stream(self) -> AsyncGenerator[str, None]:
        try:
            self.working.set()
            if self.failure is not None:
                raise self.failure
            await self.may_go_on.wait()
            yield "piece"
        finally:
            self.closed = True


async def test_a_caller_who_leaves_before_the_first_piece_stops_the_work() -> None:
    pieces = Pieces()
    stream = pieces.stream()
    waiting = asyncio.ensure_future(started(stream))
    await pieces.working.wait()
    waiting.cancel()
    with pytest.raises(asyncio.CancelledError):
        await waiting
    assert pieces.closed


async def test_a_refusal_comes_before_the_status() -> None:
    pieces = Pieces(ValueError("no"))
    with pytest.raises(ValueError, match="no"):
        await started(pieces.stream())
    assert pieces.closed


async def test_the_first_piece_is_handed_on_with_those_that_follow() -> None:
    pieces = Pieces()
    pieces.may_go_on.set()
    assert [piece async for piece in await started(pieces.stream())] == ["piece"]
    assert pieces.closed


async def test_a_stream_without_pieces_is_empty() -> None:
    async def nothing() -> AsyncGenerator[str, None]:
        return
        yield

    stream = StartedStream(nothing())
    assert [piece async for piece in stream] == []


async def events_of(stream: StartedStream[str]) -> AsyncGenerator[dict[str, str], None]:
    async for piece in stream:
        yield {"data": piece}


class Connection:
    """An ASGI connection that breaks off at the first message of a kind, or is cancelled while it waits."""

    def __init__(self, breaks_at: str) -> None:
        self.breaks_at = breaks_at

    async def receive(self) -> dict[str, Any]:
        await asyncio.Event().wait()
        raise AssertionError

    async def send(self, message: MutableMapping[str, Any]) -> None:
        if message["type"] == self.breaks_at:
            raise OSError("the connection is gone")


@pytest.mark.parametrize("breaks_at", ["http.response.start", "http.response.body"])
@pytest.mark.parametrize("kind", ["events", "bytes"])
async def test_a_connection_that_breaks_ends_the_work(kind: str, breaks_at: str) -> None:
    pieces = Pieces()
    pieces.may_go_on.set()
    stream = StartedStream(pieces.stream())
    await stream.wait()

    async def chunks() -> AsyncGenerator[bytes, None]:
        async for piece in stream:
            yield piece.encode()

    response = (
        EventStream(events_of(stream), stream) if kind == "events" else ByteStream(chunks(), stream, "text/plain")
    )
    connection = Connection(breaks_at)
    scope = {"type": "http", "asgi": {"spec_version": "2.4"}}
    with pytest.raises(Exception):  # noqa: B017 - each server library has its own
        await response(scope, connection.receive, connection.send)
    assert pieces.closed


async def test_a_request_that_is_cancelled_ends_the_work_that_has_no_piece_yet() -> None:
    pieces = Pieces()
    stream = StartedStream(pieces.stream())
    await pieces.working.wait()
    connection = Connection("nothing")
    answering = asyncio.ensure_future(
        EventStream(events_of(stream), stream)({"type": "http"}, connection.receive, connection.send)
    )
    await asyncio.sleep(0)
    answering.cancel()
    with pytest.raises(asyncio.CancelledError):
        await answering
    assert pieces.closed
