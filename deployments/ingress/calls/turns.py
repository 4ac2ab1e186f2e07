"""Who is next at a model: a bounded queue that is fair between callers."""

from __future__ import annotations

import asyncio
from collections import deque
from contextvars import ContextVar

caller: ContextVar[str] = ContextVar("caller", default="")
"""Whose request is being answered; the same for all requests of one key, or of one address where no key is given."""


class QueueFull(Exception):
    """So many are waiting that this one would have to wait too long."""


class Turns:
    """At most `slots` are at work; of those who wait, the callers take turns, and each caller's own go in order.

    Whoever sends a thousand requests delays himself only: the others are next after each of his. When `longest` are
    waiting, the newest request of the caller who has most of them is turned away. To be used from one event loop.
    """

    def __init__(self, slots: int, longest: int) -> None:
        self._free, self._longest = slots, longest
        self._waiting: dict[str, deque[asyncio.Future[None]]] = {}

    @property
    def waiting(self) -> int:
        """How many wait."""
        return sum(map(len, self._waiting.values()))

    async def take(self, who: str) -> None:
        """Return when it is the turn of a request of `who`, which is over with `give`.

        Raises:
            QueueFull: too many are waiting.
        """
        if self._free > 0:
            self._free -= 1
            return
        if self.waiting >= self._longest:
            self._turn_one_away(who)
        turn: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        self._waiting.setdefault(who, deque()).append(turn)
        try:
            await turn
        except asyncio.CancelledError:
            if turn.done() and not turn.cancelled() and turn.exception() is None:
                self.give()  # the turn came as its owner left
            else:
                self._forget(who, turn)
            raise

    def _turn_one_away(self, who: str) -> None:
        """Make room for a request of `who`. Raises QueueFull if nobody has more waiting than he would have."""
        most = max(self._waiting, key=lambda each: len(self._waiting[each]))
        if len(self._waiting[most]) <= len(self._waiting.get(who, ())) + 1:
            raise QueueFull
        newest = self._waiting[most][-1]
        self._forget(most, newest)
        if not newest.done():  # else its owner is leaving by himself
            newest.set_exception(QueueFull())

    def give(self) -> None:
        """End a turn: the next one may work."""
        while self._waiting:
            who, turns = next(iter(self._waiting.items()))
            turn = turns.popleft()
            del self._waiting[who]
            if turns:
                self._waiting[who] = turns  # to the end: the others are next
            if not turn.done():  # else its owner has been told to leave, and has not come to it yet
                turn.set_result(None)
                return
        self._free += 1

    def _forget(self, who: str, turn: asyncio.Future[None]) -> None:
        turns = self._waiting.get(who, deque())
        if turn in turns:
            turns.remove(turn)
            if not turns:
                del self._waiting[who]
