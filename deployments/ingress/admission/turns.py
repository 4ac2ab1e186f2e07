"""Who is next: a bounded queue that is fair between callers."""

from __future__ import annotations

import asyncio
import math
from collections import deque
from collections.abc import Callable, Collection
from contextvars import ContextVar
from dataclasses import dataclass, field

current_caller: ContextVar[str] = ContextVar("caller", default="")
"""Whose request is being answered; the same for all requests of one key, or of one address where no key is given."""


class QueueFull(Exception):
    """So many are waiting that this one would have to wait too long."""


@dataclass(eq=False)
class _Request:
    """One that waits: how many bytes it holds meanwhile, and its turn, which comes or is refused."""

    size: int
    turn: asyncio.Future[None] = field(default_factory=lambda: asyncio.get_running_loop().create_future())


class Turns:
    """At most `slots` are at work; of those who wait, the callers take turns, and each caller's own go in order.

    A caller of a thousand requests delays only itself: the others are next after each of its own. When `longest` are
    waiting, or they hold `most_bytes`, the newest request of the caller who has most of that is turned away. A request
    that is larger by itself may wait alone. To be used from one event loop.
    """

    def __init__(self, slots: int, longest: int, most_bytes: float = math.inf) -> None:
        self._slots = self._free = slots  # of which fewer than none are free after some were taken away
        self._longest, self._most_bytes = longest, most_bytes
        self._waiting: dict[str, deque[_Request]] = {}

    @property
    def waiting(self) -> int:
        """How many wait."""
        return sum(map(len, self._waiting.values()))

    @property
    def waiting_bytes(self) -> int:
        """How many bytes they hold."""
        return sum(map(_bytes, self._waiting.values()))

    async def take(self, who: str, size: int = 0) -> None:
        """Return when it is the turn of a request of `who`, which is over with `give`.

        Raises:
            QueueFull: too many are waiting, or too much.
        """
        if self._free > 0:
            self._free -= 1
            return
        self._make_room(who, size)
        request = _Request(size)
        self._waiting.setdefault(who, deque()).append(request)
        try:
            await request.turn
        except asyncio.CancelledError:
            if request.turn.done() and not request.turn.cancelled() and request.turn.exception() is None:
                self.give()  # the turn came as its owner left
            else:
                self._forget(who, request)
            raise

    def _make_room(self, who: str, size: int) -> None:
        """Let a request of `who` wait. Raises QueueFull if no caller has more waiting than it would have."""
        if self.waiting >= self._longest:
            self._turn_one_away(who, len, 1)
        if self._waiting and self.waiting_bytes + size > self._most_bytes:
            self._turn_one_away(who, _bytes, size)
            if self._waiting and self.waiting_bytes + size > self._most_bytes:
                raise QueueFull

    def _turn_one_away(self, who: str, weight: Callable[[Collection[_Request]], int], more: int) -> None:
        most = max(self._waiting, key=lambda each: weight(self._waiting[each]))
        if weight(self._waiting[most]) <= weight(self._waiting.get(who, ())) + more:
            raise QueueFull
        newest = self._waiting[most][-1]
        self._forget(most, newest)
        if not newest.turn.done():  # else its caller is leaving already
            newest.turn.set_exception(QueueFull())

    def resize(self, slots: int) -> None:
        """Let so many be at work from now on; those who are go on."""
        more, self._slots = slots - self._slots, slots
        self._free += min(0, more)
        for _ in range(more):
            self.give()

    def give(self) -> None:
        """End a turn: the next one may work."""
        while self._waiting and self._free >= 0:
            who, requests = next(iter(self._waiting.items()))
            turn = requests.popleft().turn
            del self._waiting[who]
            if requests:
                self._waiting[who] = requests  # to the end: the others are next
            if not turn.done():  # else its owner is being cancelled
                turn.set_result(None)
                return
        self._free += 1

    def _forget(self, who: str, request: _Request) -> None:
        requests = self._waiting.get(who, deque())
        if request in requests:
            requests.remove(request)
            if not requests:
                del self._waiting[who]


def _bytes(requests: Collection[_Request]) -> int:
    return sum(each.size for each in requests)
