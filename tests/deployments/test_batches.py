"""Who asks while work goes on is answered next, together with the others; over work that is done by hand."""

from __future__ import annotations

import asyncio
import threading
from concurrent.futures import ThreadPoolExecutor
from contextvars import ContextVar

import pytest

from deployments.batches import Batcher, HaveLeft

REQUEST: ContextVar[str] = ContextVar("request", default="none")


class Doubling:
    """Doubles numbers once it is let; negative numbers are faults."""

    def __init__(self) -> None:
        self.batches: list[list[int]] = []
        self.requests: list[str] = []
        self.left: list[HaveLeft] = []
        self.may_end = asyncio.Event()
        self.batcher = Batcher(self.double, lambda taken, more: sum(taken) + more <= 10)

    async def double(self, numbers: list[int], have_left: HaveLeft) -> list[int]:
        self.batches.append(numbers)
        self.requests.append(REQUEST.get())
        self.left.append(have_left)
        await self.may_end.wait()
        if any(number < 0 for number in numbers):
            raise ValueError(f"{min(numbers)} is negative")
        return [2 * number for number in numbers]

    def ask(self, *numbers: int) -> list[asyncio.Task[int]]:
        return [asyncio.create_task(self.batcher.ask(number)) for number in numbers]


async def turns(count: int = 5) -> None:
    """Let all that can go on do so."""
    for _ in range(count):
        await asyncio.sleep(0)


async def test_a_lone_question_waits_for_nobody_and_the_next_go_together() -> None:
    work = Doubling()
    asked = work.ask(1)
    await turns()
    asked += work.ask(2, 3, 4)
    await turns()
    assert work.batches == [[1]]
    work.may_end.set()
    assert await asyncio.gather(*asked) == [2, 4, 6, 8]
    assert work.batches == [[1], [2, 3, 4]]


async def test_the_longest_waiting_goes_first_with_those_behind_it_that_fit() -> None:
    work = Doubling()
    work.may_end.set()
    asked = work.ask(1, 6, 5, 4, 5, 100, 1)
    assert await asyncio.gather(*asked) == [2, 12, 10, 8, 10, 200, 2]
    assert work.batches == [[1], [6, 4], [5, 5], [100], [1]]  # what fits nowhere goes alone


async def test_a_fault_is_its_askers_own() -> None:
    work = Doubling()
    work.may_end.set()
    answers = await asyncio.gather(*work.ask(1, 2, -3, 4), return_exceptions=True)
    assert [answers[i] for i in (0, 1, 3)] == [2, 4, 8]
    assert isinstance(answers[2], ValueError)
    assert work.batches == [[1], [2, -3, 4], [2], [-3], [4]]
    assert await work.batcher.ask(5) == 10


async def test_who_leaves_while_waiting_is_not_worked_for() -> None:
    work = Doubling()
    asked = work.ask(1, 2, 3)
    await turns()
    asked[1].cancel()
    await turns()
    work.may_end.set()
    assert [await asked[i] for i in (0, 2)] == [2, 6]
    assert work.batches == [[1], [3]]


async def test_who_leaves_a_batch_that_fails_is_not_worked_for_again() -> None:
    work = Doubling()
    asked = work.ask(1)
    await turns()
    asked += work.ask(2, -3, 4)
    await turns()
    work.may_end.set()
    await asked[0]
    asked[1].cancel()
    assert await asked[3] == 8
    assert work.batches == [[1], [2, -3, 4], [-3], [4]]
    assert isinstance(asked[2].exception(), ValueError)


async def test_work_is_reported_when_all_of_its_batch_have_left_and_not_before() -> None:
    work = Doubling()
    asked = work.ask(1)
    await turns()
    asked += work.ask(2, 3)
    work.may_end.set()
    await asked[0]
    work.may_end.clear()
    await turns()
    assert work.batches == [[1], [2, 3]]
    told = [work.left[1]()]
    for task in asked[1:]:
        task.cancel()
        await turns()
        told.append(work.left[1]())
    assert told == [False, False, True]
    work.may_end.set()
    assert await work.batcher.ask(4) == 8


async def test_work_bears_the_request_of_the_first_asker_and_alone_that_of_its_own() -> None:
    work = Doubling()
    work.may_end.set()

    async def ask(number: int) -> int:
        REQUEST.set(f"request {number}")
        return await work.batcher.ask(number)

    await asyncio.gather(*map(ask, (1, 2, -3)), return_exceptions=True)
    assert work.requests == ["request 1", "request 2", "request 2", "request -3"]


async def test_too_few_answers_are_a_fault_that_all_hear() -> None:
    async def nothing(questions: list[int], have_left: HaveLeft) -> list[int]:
        return []

    batcher = Batcher(nothing, lambda taken, more: True)
    for answer in await asyncio.gather(*(batcher.ask(i) for i in range(3)), return_exceptions=True):
        assert isinstance(answer, ValueError)


async def test_what_is_no_ordinary_error_reaches_its_asker_too() -> None:
    class PanicError(BaseException):
        """As libraries in Rust raise it."""

    async def panic(questions: list[int], have_left: HaveLeft) -> list[int]:
        raise PanicError

    batcher = Batcher(panic, lambda taken, more: True)
    with pytest.raises(PanicError):
        await batcher.ask(1)
    with pytest.raises(PanicError):
        await batcher.ask(2)


async def test_a_thread_that_works_sees_that_its_askers_have_left() -> None:
    begun, ended = threading.Event(), asyncio.Event()
    loop = asyncio.get_running_loop()

    def look(have_left: HaveLeft) -> list[None]:
        begun.set()
        while not have_left():
            continue
        loop.call_soon_threadsafe(ended.set)
        return [None]

    with ThreadPoolExecutor(1) as pool:

        async def work(questions: list[int], have_left: HaveLeft) -> list[None]:
            return await loop.run_in_executor(pool, look, have_left)

        asked = asyncio.create_task(Batcher(work, lambda taken, more: True).ask(1))
        await asyncio.to_thread(begun.wait)
        asked.cancel()
        async with asyncio.timeout(60):
            await ended.wait()
