"""Answers as server-sent events (OPENAI.md section 3)."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncGenerator, AsyncIterator
from typing import Final, TypeVar

from sse_starlette import EventSourceResponse, ServerSentEvent

T = TypeVar("T")

_PING_SECONDS: Final = 10
_REFUSAL_SECONDS: Final = 5


async def begun(pieces: AsyncGenerator[T, None]) -> asyncio.Future[T]:
    """The first of the pieces, come or still to come.

    A refusal must still become a status, so the answer begins with its first piece; but not so late that a client who
    sees no header gives up on a model that starts. Raises what the first piece raises in this time.
    """
    first = asyncio.ensure_future(anext(pieces))
    try:
        await asyncio.wait([first], timeout=_REFUSAL_SECONDS)
        if first.done():
            first.result()
    except BaseException:  # the caller may leave while we wait
        first.cancel()
        await asyncio.wait([first])
        await pieces.aclose()
        raise
    return first


def event_stream(events: AsyncIterator[dict[str, str]]) -> EventSourceResponse:
    """The events as they come, with a comment as a sign of life meanwhile."""
    return EventSourceResponse(
        events, ping=_PING_SECONDS, ping_message_factory=lambda: ServerSentEvent(comment="ping"), sep="\n"
    )
