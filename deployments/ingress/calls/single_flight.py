"""Work side by side: of one request's many parts, and of many callers who want the same."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Hashable, Iterable, Mapping
from dataclasses import dataclass
from typing import Generic, TypeVar

from deployments.serve_internals import context_outliving_the_request

K = TypeVar("K", bound=Hashable)
S = TypeVar("S")
T = TypeVar("T")


async def side_by_side(work: Callable[[S], Awaitable[T]], parts: Iterable[S], at_once: int) -> list[T]:
    """What `work` gives for each part, in order, so many at a time; the first failure ends the others."""
    room = asyncio.Semaphore(at_once)

    async def one(part: S) -> T:
        async with room:
            return await work(part)

    tasks = [asyncio.ensure_future(one(part)) for part in parts]
    try:
        return await asyncio.gather(*tasks)
    finally:
        for task in tasks:
            task.cancel()


class SingleFlight(Generic[K, T]):
    """Values on their way, by key. To be used from one event loop.

    A caller who leaves changes nothing for the others; when the last one has left, the work is cancelled. What fails
    fails for all who wait, and for nobody who comes later.
    """

    def __init__(self) -> None:
        self._flights: dict[K, _Flight[K, T]] = {}

    async def get(self, keys: Iterable[K], make: Callable[[list[K]], Awaitable[Mapping[K, T]]]) -> dict[K, T]:
        """The value of each key; `make` is called once, with those that are not on their way yet, if there are any."""
        keys = list(dict.fromkeys(keys))
        if new := [key for key in keys if key not in self._flights]:
            context = context_outliving_the_request()
            flight = _Flight(asyncio.get_running_loop().create_task(_made(make, new), context=context))
            self._flights |= dict.fromkeys(new, flight)
        boarded = list({id(flight): flight for flight in map(self._flights.__getitem__, keys)}.values())
        for each in boarded:
            each.waiters += 1
        try:
            arrived = await asyncio.gather(*(asyncio.shield(each.values) for each in boarded))
        finally:
            for each in boarded:
                self._leave(each)
        values = {key: value for made in arrived for key, value in made.items()}
        return {key: values[key] for key in keys}

    def _leave(self, flight: _Flight[K, T]) -> None:
        flight.waiters -= 1
        if not flight.waiters or flight.values.done():
            flight.values.cancel()  # does nothing when they have arrived
            self._flights = {key: other for key, other in self._flights.items() if other is not flight}


async def _made(make: Callable[[list[K]], Awaitable[Mapping[K, T]]], keys: list[K]) -> Mapping[K, T]:
    return await make(keys)


@dataclass(eq=False)
class _Flight(Generic[K, T]):
    """Values being made together, and how many wait for them."""

    values: asyncio.Future[Mapping[K, T]]
    waiters: int = 0
