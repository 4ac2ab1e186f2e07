"""A turn at a part of the server, or a refusal that says when to come again."""

from __future__ import annotations

import asyncio

import pytest

from deployments.ingress.admission.admission import Admission
from deployments.ingress.admission.turns import current_caller
from deployments.ingress.errors import ApiError


class Part:
    """A part of the server where one works until `may_end`, and others wait."""

    def __init__(self, **bounds: float) -> None:
        self.admission = Admission("the part", **{"at_once": 1, "longest": 2, "patience": 60, **bounds})  # type: ignore[arg-type]
        self.may_end = asyncio.Event()

    async def work(self, who: str = "ann", size: int = 0) -> str:
        current_caller.set(who)
        async with self.admission.turn(size):
            await self.may_end.wait()
        return who

    async def begin(self, who: str = "ann", size: int = 0) -> asyncio.Task[str]:
        task = asyncio.create_task(self.work(who, size))
        for _ in range(5):
            await asyncio.sleep(0)
        return task


async def refusal(task: asyncio.Task[str]) -> ApiError:
    with pytest.raises(ApiError) as refused:
        await task
    return refused.value


async def test_past_the_bound_of_waiting_requests_one_gets_429_and_when_to_come_again() -> None:
    part = Part()
    tasks = [await part.begin() for _ in range(4)]
    refused = await refusal(tasks.pop())
    assert (refused.status, refused.code) == (429, "rate_limit_exceeded")
    assert 1 <= int(refused.headers["Retry-After"]) <= 60
    assert (part.admission.running, part.admission.waiting) == (1, 2)
    part.may_end.set()
    assert await asyncio.gather(*tasks) == ["ann"] * 3
    assert (part.admission.running, part.admission.waiting) == (0, 0)


async def test_past_the_bound_of_waiting_bytes_the_newest_of_who_has_most_makes_room() -> None:
    part = Part(longest=100, most_bytes=100)
    tasks = [await part.begin("ann", size) for size in (500, 60, 40)]
    assert part.admission.waiting_bytes == 100  # the one at work no longer waits
    assert (await refusal(await part.begin("ann", 1))).status == 429
    bob = await part.begin("bob", 30)
    assert (await refusal(tasks.pop())).status == 429
    assert part.admission.waiting_bytes == 90
    part.may_end.set()
    assert await asyncio.gather(*tasks, bob) == ["ann", "ann", "bob"]
    assert part.admission.waiting_bytes == 0


async def test_one_that_is_larger_than_all_that_may_wait_waits_alone() -> None:
    part = Part(longest=100, most_bytes=100)
    first, large = await part.begin(), await part.begin("ann", 101)
    assert (await refusal(await part.begin("ann", 1))).status == 429
    part.may_end.set()
    assert [await first, await large] == ["ann", "ann"]


async def test_a_turn_that_does_not_come_in_time_is_a_503() -> None:
    part = Part(patience=0.01)
    working = await part.begin()
    refused = await refusal(await part.begin())
    assert (refused.status, refused.code) == (503, "queue_timeout")
    assert "Retry-After" in refused.headers
    part.may_end.set()
    await working
    assert await (await part.begin("bob")) == "bob"


async def test_who_leaves_while_another_thing_is_waited_for_gives_the_turn_back() -> None:
    admission = Admission("the part", at_once=1, longest=2, patience=60)

    async def held() -> None:
        async with admission.turn(until=asyncio.Event().wait):  # type: ignore[arg-type]
            raise AssertionError("never its turn")

    task = asyncio.create_task(held())
    await asyncio.sleep(0)
    task.cancel()
    with pytest.raises(asyncio.CancelledError):
        await task
    async with admission.turn():
        assert admission.running == 1
