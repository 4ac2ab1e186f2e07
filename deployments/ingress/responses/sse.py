"""Answers that a model gives piece by piece: as server-sent events (docs/http-api.md, "Streams") or as bytes.

However an answer ends, by its last piece, by a failure or because the caller left, the model's work ends with it.
"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncGenerator, AsyncIterator
from typing import Any, Final, Generic, TypeVar

import anyio
from sse_starlette import EventSourceResponse, ServerSentEvent
from starlette.responses import StreamingResponse
from starlette.types import Receive, Scope, Send

T = TypeVar("T")

_END: Final = object()
_PING_SECONDS: Final = 10
_PING: Final = ServerSentEvent(comment="ping")
_REFUSAL_SECONDS: Final = 5


class StartedStream(Generic[T]):
    """The pieces of an answer, the first of which has been asked for. To be iterated once."""

    def __init__(self, pieces: AsyncGenerator[T, None]) -> None:
        self._pieces = pieces
        self._first: asyncio.Future[Any] = asyncio.ensure_future(anext(pieces, _END))

    async def wait(self, seconds: float | None = None) -> None:
        """Return once the first piece is there, or the seconds are over. Raises what it raises, and closes then."""
        try:
            await asyncio.wait([self._first], timeout=seconds)
            if self._first.done():
                self._first.result()
        except BaseException:  # the caller may leave while we wait
            await self.aclose()
            raise

    @property
    def first(self) -> T | None:
        """The first piece, None where it has not come yet or there is none."""
        if not self._first.done() or (piece := self._first.result()) is _END:
            return None
        first: T = piece
        return first

    async def __aiter__(self) -> AsyncGenerator[T, None]:
        if (first := await self._first) is _END:
            return
        yield first
        async for piece in self._pieces:
            yield piece

    async def aclose(self) -> None:
        """End the work; nothing when it has ended."""
        if not self._first.done():  # a generator can be closed only when nobody waits for its next piece
            self._first.cancel()
            await asyncio.wait([self._first])
        elif not self._first.cancelled():
            self._first.exception()  # it has been raised where the piece was wanted, or nobody wants it any more
        await self._pieces.aclose()


async def started(pieces: AsyncGenerator[T, None]) -> StartedStream[T]:
    """The pieces, once the first has come or is not soon to come.

    A refusal must still become a status, so the answer begins with its first piece; but not so late that a client who
    sees no header gives up on a model that starts. Raises what the first piece raises in this time.
    """
    stream = StartedStream(pieces)
    await stream.wait(_REFUSAL_SECONDS)
    return stream


class EventStream(EventSourceResponse):
    """Events made of a stream's pieces, as they come, with a sign of life meanwhile: a comment, or the event `ping`."""

    def __init__(
        self, events: AsyncIterator[dict[str, str]], source: StartedStream[Any], ping: ServerSentEvent = _PING
    ) -> None:
        super().__init__(events, ping=_PING_SECONDS, ping_message_factory=lambda: ping, sep="\n")
        self._source = source

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Serve one connection."""
        try:
            await super().__call__(scope, receive, send)
        finally:  # also where the caller left before the first event was asked for
            with anyio.CancelScope(shield=True):
                await self._source.aclose()


class ByteStream(StreamingResponse):
    """Bytes made of a stream's pieces, as they come."""

    def __init__(self, chunks: AsyncIterator[bytes], source: StartedStream[Any], media_type: str) -> None:
        super().__init__(chunks, media_type=media_type)
        self._source = source

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Serve one connection."""
        try:
            await super().__call__(scope, receive, send)
        finally:
            with anyio.CancelScope(shield=True):
                await self._source.aclose()
