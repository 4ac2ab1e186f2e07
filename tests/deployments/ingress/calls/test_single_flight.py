"""What several callers want at the same time is made once, and nobody spoils it for the others."""

from __future__ import annotations

import asyncio

import pytest

from deployments.ingress.calls.single_flight import SingleFlight


class Kitchen:
    """Makes what it is asked for when it may; counts."""

    def __init__(self) -> None:
        self.single_flight = SingleFlight[str, str]()
        self.made: list[list[str]] = []
        self.may_end = asyncio.Event()
        self.left = 0
        self.fault: Exception | None = None

    async def make(self, keys: list[str]) -> dict[str, str]:
        self.made.append(keys)
        try:
            await self.may_end.wait()
        except asyncio.CancelledError:
            self.left += 1
            raise
        if self.fault is not None:
            raise self.fault
        return {key: key.upper() for key in keys}

    async def order(self, *keys: str) -> asyncio.Task[dict[str, str]]:
        """A caller, who has begun to wait."""
        task = asyncio.ensure_future(self.single_flight.get(keys, self.make))
        await asyncio.sleep(0)
        await asyncio.sleep(0)
        return task


@pytest.fixture
async def kitchen() -> Kitchen:
    return Kitchen()


async def test_the_same_at_the_same_time_is_made_once(kitchen: Kitchen) -> None:
    callers = [await kitchen.order("a") for _ in range(5)]
    kitchen.may_end.set()
    assert await asyncio.gather(*callers) == [{"a": "A"}] * 5
    assert kitchen.made == [["a"]]


async def test_only_what_is_not_on_its_way_is_made(kitchen: Kitchen) -> None:
    first, second = await kitchen.order("a", "b", "a"), await kitchen.order("b", "c")
    kitchen.may_end.set()
    assert await first == {"a": "A", "b": "B"}
    assert await second == {"b": "B", "c": "C"}
    assert kitchen.made == [["a", "b"], ["c"]]


async def test_what_has_arrived_is_made_again_for_who_comes_later(kitchen: Kitchen) -> None:
    kitchen.may_end.set()
    await (await kitchen.order("a"))
    await (await kitchen.order("a"))
    assert kitchen.made == [["a"], ["a"]]


async def test_who_leaves_changes_nothing_for_the_others(kitchen: Kitchen) -> None:
    first, second = await kitchen.order("a"), await kitchen.order("a")
    first.cancel()
    await asyncio.wait([first])
    kitchen.may_end.set()
    assert await second == {"a": "A"}
    assert (first.cancelled(), kitchen.left, kitchen.made) == (True, 0, [["a"]])


async def test_when_the_last_has_left_the_work_is_cancelled_and_the_next_begins_again(kitchen: Kitchen) -> None:
    callers = [await kitchen.order("a"), await kitchen.order("a")]
    for caller in callers:
        caller.cancel()
    await asyncio.wait(callers)
    await asyncio.sleep(0)
    assert kitchen.left == 1
    kitchen.may_end.set()
    assert await (await kitchen.order("a")) == {"a": "A"}
    assert len(kitchen.made) == 2


async def test_a_failure_reaches_all_who_wait_and_nobody_later(kitchen: Kitchen) -> None:
    kitchen.fault = ValueError("burnt")
    callers = [await kitchen.order("a"), await kitchen.order("a", "b")]
    kitchen.may_end.set()
    assert [str(each) for each in await asyncio.gather(*callers, return_exceptions=True)] == ["burnt"] * 2
    kitchen.fault = None
    assert await (await kitchen.order("a", "b")) == {"a": "A", "b": "B"}
