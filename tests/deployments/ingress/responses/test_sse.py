"""Streams that begin: refusals before the status, and callers who leave meanwhile."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncGenerator

import pytest

from deployments.ingress.responses.sse import begun


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
    waiting = asyncio.ensure_future(begun(stream))
    await pieces.working.wait()
    waiting.cancel()
    with pytest.raises(asyncio.CancelledError):
        await waiting
    assert pieces.closed


async def test_a_refusal_comes_before_the_status() -> None:
    pieces = Pieces(ValueError("no"))
    with pytest.raises(ValueError, match="no"):
        await begun(pieces.stream())
    assert pieces.closed


async def test_the_first_piece_is_handed_on() -> None:
    pieces = Pieces()
    pieces.may_go_on.set()
    stream = pieces.stream()
    assert (await begun(stream)).result() == "piece"
    await stream.aclose()
