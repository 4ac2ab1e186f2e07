"""Admission to a part of the server: a turn at it, or a refusal that says when to come again."""

from __future__ import annotations

import asyncio
import math
import time
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager

from deployments.ingress.admission.turns import QueueFull, Turns, current_caller
from deployments.ingress.errors import ApiError


async def _nothing() -> None:
    return


class Admission:
    """Turns at one part of the server, `what` in words: `at_once` work, the others wait, fairly between callers.

    Past `longest` waiting requests, or `most_bytes` that they hold, one gets 429 at once; its `Retry-After` is a guess
    from how long turns have taken. After `patience` seconds of waiting it gets 503. To be used from one event loop.
    """

    def __init__(self, what: str, *, at_once: int, longest: int, patience: float, most_bytes: float = math.inf) -> None:
        self._what, self._at_once, self._patience = what, at_once, patience
        self._turns = Turns(at_once, longest, most_bytes)
        self._seconds = 1.0
        self._running = 0

    @property
    def at_once(self) -> int:
        """How many may have their turn."""
        return self._at_once

    def resize(self, at_once: int) -> None:
        """Let so many have their turn from now on; those who have it keep it."""
        if at_once != self._at_once:
            self._at_once = at_once
            self._turns.resize(at_once)

    @property
    def running(self) -> int:
        """How many have their turn."""
        return self._running

    @property
    def waiting(self) -> int:
        """How many wait for theirs."""
        return self._turns.waiting

    @property
    def waiting_bytes(self) -> int:
        """How many bytes those hold."""
        return self._turns.waiting_bytes

    @asynccontextmanager
    async def turn(self, size: int = 0, until: Callable[[], Awaitable[None]] = _nothing) -> AsyncIterator[None]:
        """While it is the caller's turn, which begins once `until` has returned too. `size` bytes wait with it.

        Raises:
            ApiError: 429 with Retry-After when too many wait, 503 when the turn did not come in time.
        """
        try:
            async with asyncio.timeout(self._patience):
                await self._turns.take(current_caller.get(), size)
                begun = time.monotonic()
                try:
                    await until()
                except BaseException:
                    self._turns.give()
                    raise
        except QueueFull:
            raise self._full() from None
        except TimeoutError:
            message = f"the turn of this request at {self._what} did not come within {self._patience:g} s"
            raise ApiError(503, message, code="queue_timeout", headers={"Retry-After": "10"}) from None
        self._running += 1
        try:
            yield
        finally:
            self._running -= 1
            self._turns.give()
            self._seconds = 0.8 * self._seconds + 0.2 * (time.monotonic() - begun)

    def _full(self) -> ApiError:
        seconds = self._turns.waiting * self._seconds / self._at_once
        return ApiError(
            429,
            f"too many requests are waiting for {self._what}",
            code="rate_limit_exceeded",
            headers={"Retry-After": str(min(60, max(1, math.ceil(seconds))))},
        )
