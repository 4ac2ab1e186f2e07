"""Calls of models in turn, held back while their room is another's, and several at once. Serve runs in this process."""

from __future__ import annotations

import asyncio
import threading
from collections.abc import AsyncIterator, Callable, Iterator
from contextlib import aclosing, suppress
from typing import Any

import pytest
from ray import serve

import settings as configuration
from deployments.ingress.admission.turns import current_caller
from deployments.ingress.calls.model_calls import ModelCalls
from deployments.ingress.errors import ApiError
from deployments.residency.board import ResidencyStatus
from models.errors import InvalidInput

AT_ONCE, QUEUED = 2, 3
MODELS = {
    "a": {"engine": "espeak", "checkpoint": "builtin:voice", "max_ongoing": AT_ONCE, "max_queued": QUEUED},
    "b": {"engine": "espeak", "checkpoint": "builtin:voice"},
    "many": {"engine": "espeak", "checkpoint": "builtin:voice", "max_ongoing": AT_ONCE, "replicas": {"max": 3}},
}


class Work:
    """What the models of a test are at, and may do."""

    def __init__(self) -> None:
        self.begun: list[str] = []
        self.at_once = self.most_at_once = 0
        self.may_end = threading.Event()
        self.came = threading.Semaphore(0)
        self.asked_whether_ready = 0

    async def comes(self, times: int = 1) -> None:
        """Return once so many more have begun."""
        for _ in range(times):
            assert await asyncio.to_thread(self.came.acquire, timeout=20)


WORK = [Work()]
"""That of the test that runs: models are started once for all."""


class Worker:
    async def work(self, job: str) -> str:
        now = WORK[0]
        now.begun.append(job)
        now.at_once += 1
        now.most_at_once = max(now.most_at_once, now.at_once)
        now.came.release()
        try:
            while not now.may_end.is_set():  # noqa: ASYNC110 - of another thread
                await asyncio.sleep(0.005)
            if job == "bad":
                raise InvalidInput("it is bad", "input")
            return f"{job} is done"
        finally:
            now.at_once -= 1

    async def pieces(self, job: str) -> AsyncIterator[str]:
        WORK[0].begun.append(job)
        WORK[0].came.release()
        yield f"{job}1"
        while not WORK[0].may_end.is_set():  # noqa: ASYNC110
            await asyncio.sleep(0.005)
        if job == "bad":
            raise InvalidInput("it is bad", "input")
        yield f"{job}2"


@pytest.fixture(scope="module")
def handles() -> dict[str, Any]:
    return {
        alias: serve.run(serve.deployment(Worker).bind(), name=f"calls-{alias}", _local_testing_mode=True)
        for alias in MODELS
    }


@pytest.fixture
def work() -> Iterator[Work]:
    WORK[0] = Work()
    yield WORK[0]
    WORK[0].may_end.set()


@pytest.fixture
def calls(handles: dict[str, Any], work: Work) -> ModelCalls:
    return calls_of(handles)


def calls_of(handles: dict[str, Any], **arguments: object) -> ModelCalls:
    settings = configuration.validate(
        {"models": MODELS, "image_search_enabled": False, "image_enabled": False, **arguments}, {}
    )
    return ModelCalls(settings, handles)


async def begins(calls: ModelCalls, *jobs: str, who: str = "") -> list[asyncio.Task[Any]]:
    """Calls of `a` that are under way, or wait for their turn in this order."""
    current_caller.set(who)
    tasks = []
    for job in jobs:
        tasks.append(asyncio.create_task(calls.call("a", Worker.work, job)))
        for _ in range(5):
            await asyncio.sleep(0)
    return tasks


async def waiting(calls: ModelCalls) -> int:
    return (await calls.standings())["a"].queue


async def refusal(task: Any) -> ApiError:
    with pytest.raises(ApiError) as refused:
        await task
    return refused.value


async def until(happens: Callable[[], bool]) -> None:
    async with asyncio.timeout(20):
        while not happens():  # noqa: ASYNC110 - of another thread
            await asyncio.sleep(0.005)


async def test_no_more_work_at_once_than_a_replica_holds_and_the_others_wait(calls: ModelCalls, work: Work) -> None:
    tasks = await begins(calls, "1", "2", "3", "4")
    await work.comes(AT_ONCE)
    assert await waiting(calls) == 2
    work.may_end.set()
    assert await asyncio.gather(*tasks) == ["1 is done", "2 is done", "3 is done", "4 is done"]
    assert (work.most_at_once, await waiting(calls)) == (AT_ONCE, 0)


async def test_one_more_than_may_wait_is_refused_with_when_to_come_again(calls: ModelCalls, work: Work) -> None:
    tasks = await begins(calls, *map(str, range(AT_ONCE + QUEUED)))
    refused = await refusal(calls.call("a", Worker.work, "one more"))
    assert (refused.status, refused.code) == (429, "rate_limit_exceeded")
    assert 1 <= int(refused.headers["Retry-After"]) <= 60
    work.may_end.set()
    await asyncio.gather(*tasks)
    assert "one more" not in work.begun


async def test_who_asks_once_is_next_after_one_of_who_asks_much(calls: ModelCalls, work: Work) -> None:
    many = await begins(calls, "ann1", "ann2", "ann3", "ann4", who="ann")
    await work.comes(AT_ONCE)
    (one,) = await begins(calls, "bob1", who="bob")
    work.may_end.set()
    await asyncio.gather(*many, one)
    assert set(work.begun[:2]) == {"ann1", "ann2"}
    assert work.begun.index("bob1") < work.begun.index("ann4")


async def test_a_turn_that_does_not_come_in_time_is_a_503_and_its_place_is_free_again(
    handles: dict[str, Any], work: Work
) -> None:
    calls = calls_of(handles, queue_timeout=0.2)
    tasks = await begins(calls, "1", "2")
    await work.comes(AT_ONCE)
    refused = await refusal(calls.call("a", Worker.work, "late"))
    assert (refused.status, refused.code, refused.headers["Retry-After"]) == (503, "queue_timeout", "10")
    assert await waiting(calls) == 0
    work.may_end.set()
    await asyncio.gather(*tasks)
    assert await calls.call("a", Worker.work, "next") == "next is done"
    assert "late" not in work.begun


async def test_who_leaves_while_he_waits_is_never_worked_for(calls: ModelCalls, work: Work) -> None:
    *tasks, leaving = await begins(calls, "1", "2", "leaving")
    await work.comes(AT_ONCE)
    leaving.cancel()
    with suppress(asyncio.CancelledError):
        await leaving
    assert await waiting(calls) == 0
    work.may_end.set()
    await asyncio.gather(*tasks)
    assert "leaving" not in work.begun


async def test_the_work_of_who_leaves_stops_and_its_turn_goes_to_the_next(calls: ModelCalls, work: Work) -> None:
    leaving, staying, waits = await begins(calls, "leaving", "staying", "waits")
    await work.comes(AT_ONCE)
    leaving.cancel()
    await work.comes()
    assert work.begun[-1] == "waits"
    work.may_end.set()
    assert [await staying, await waits] == ["staying is done", "waits is done"]


async def test_what_the_model_refuses_ends_the_turn(calls: ModelCalls, work: Work) -> None:
    work.may_end.set()
    for _ in range(AT_ONCE + 1):
        assert (await refusal(calls.call("a", Worker.work, "bad"))).code == "invalid_value"
    assert await calls.call("a", Worker.work, "good") == "good is done"


async def test_a_model_whose_room_is_another_s_is_asked_nothing_until_that_one_is_there(
    calls: ModelCalls, work: Work, monkeypatch: pytest.MonkeyPatch
) -> None:
    held, looked = {"a"}, asyncio.Semaphore(0)

    async def read() -> dict[str, ResidencyStatus]:
        looked.release()
        return {alias: ResidencyStatus(held_for="b") for alias in held}

    monkeypatch.setattr(calls.known, "verdicts", read)
    other = asyncio.create_task(calls.call("b", Worker.work, "other"))
    await work.comes()
    await looked.acquire()
    (held_back,) = await begins(calls, "held")
    for _ in range(3):
        await looked.acquire()
    assert work.begun == ["other"]
    held.clear()
    await work.comes()
    assert work.begun == ["other", "held"]
    work.may_end.set()
    assert [await other, await held_back] == ["other is done", "held is done"]


async def test_a_model_gets_as_many_at_once_as_its_replicas_hold_and_one_s_more_while_there_may_be_another(
    calls: ModelCalls, work: Work, monkeypatch: pytest.MonkeyPatch
) -> None:
    looked, replicas = asyncio.Semaphore(0), [1]

    async def read() -> dict[str, ResidencyStatus]:
        looked.release()
        return {"many": ResidencyStatus(replicas=replicas[0])}

    async def now_there_are(number: int) -> None:
        replicas[0] = number
        for _ in range(2):  # the first may have begun before
            await looked.acquire()

    monkeypatch.setattr(calls.known, "verdicts", read)
    tasks = [asyncio.create_task(calls.call("many", Worker.work, str(number))) for number in range(5 * AT_ONCE)]
    await work.comes(2 * AT_ONCE)
    assert (await calls.standings())["many"].queue == 3 * AT_ONCE
    await now_there_are(2)
    await work.comes(AT_ONCE)
    await now_there_are(3)  # which are all that there may be
    assert (await calls.standings())["many"].queue == 2 * AT_ONCE
    await now_there_are(1)
    work.may_end.set()
    assert len(await asyncio.gather(*tasks)) == 5 * AT_ONCE
    assert work.most_at_once == 3 * AT_ONCE


async def test_a_board_that_cannot_be_read_holds_nobody_back(
    calls: ModelCalls, work: Work, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    async def fails() -> dict[str, ResidencyStatus]:
        raise RuntimeError("no answer")

    monkeypatch.setattr(calls.known, "verdicts", fails)
    work.may_end.set()
    assert await calls.call("a", Worker.work, "1") == "1 is done"


async def test_the_jobs_of_one_request_are_answered_in_order_and_never_fill_the_queue(
    calls: ModelCalls, work: Work
) -> None:
    jobs = [str(number) for number in range(3 * (AT_ONCE + QUEUED))]
    work.may_end.set()
    assert await calls.call_each("a", Worker.work, jobs) == [f"{job} is done" for job in jobs]
    assert work.most_at_once <= AT_ONCE


async def test_the_first_of_several_jobs_that_fails_ends_the_others(calls: ModelCalls, work: Work) -> None:
    work.may_end.set()
    refused = await refusal(calls.call_each("a", Worker.work, ["bad", *map(str, range(20))]))
    assert (refused.status, refused.code) == (400, "invalid_value")
    assert len(work.begun) < 20
    await until(lambda: work.at_once == 0)
    assert await waiting(calls) == 0


async def test_several_streams_come_as_they_are_made_with_the_number_of_their_job(
    calls: ModelCalls, work: Work
) -> None:
    got: list[tuple[int, Any]] = []
    async for piece in calls.stream_each("a", Worker.pieces, ["x", "y", "z"]):
        got.append(piece)
        if len(got) == AT_ONCE:  # the third has no turn until one of the others has ended
            assert set(got) == {(0, "x1"), (1, "y1")}
            work.may_end.set()
    assert sorted(got) == [(0, "x1"), (0, "x2"), (1, "y1"), (1, "y2"), (2, "z1"), (2, "z2")]


async def test_a_stream_that_fails_ends_the_others_of_its_request(calls: ModelCalls, work: Work) -> None:
    async def read() -> None:
        async with aclosing(calls.stream_each("a", Worker.pieces, ["bad", "x", "y"])) as pieces:
            async for _ in pieces:
                work.may_end.set()

    assert (await refusal(read())).code == "invalid_value"
    assert await calls.call("a", Worker.work, "next") == "next is done"


async def test_a_reader_who_leaves_several_streams_gives_their_turns_back(calls: ModelCalls, work: Work) -> None:
    async with aclosing(calls.stream_each("a", Worker.pieces, ["x", "y", "z"])) as pieces:
        await anext(pieces)
    work.may_end.set()
    assert await asyncio.gather(*(calls.call("a", Worker.work, str(n)) for n in range(AT_ONCE))) == [
        "0 is done",
        "1 is done",
    ]
