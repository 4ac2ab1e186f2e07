"""Threads for what blocks: bounded, apart from each other, and counted until they are done."""

from __future__ import annotations

import asyncio
import contextvars
import threading
from pathlib import Path

import pytest

from deployments.executors import FILES, BoundedExecutor, ExecutorFull
from tests.deployments.apps import client, make_app

WHO: contextvars.ContextVar[str] = contextvars.ContextVar("who")


@pytest.fixture
def answers() -> threading.Event:
    return threading.Event()


async def test_work_runs_with_the_context_of_its_caller() -> None:
    WHO.set("the caller")
    assert await BoundedExecutor("a", 1, 0).run(WHO.get) == "the caller"


async def test_no_more_calls_wait_than_may_and_those_that_end_make_room(answers: threading.Event) -> None:
    pool = BoundedExecutor("slow", threads=1, max_waiting=1)
    waiting = [asyncio.ensure_future(pool.run(answers.wait, 20)) for _ in range(2)]
    await asyncio.sleep(0)
    with pytest.raises(ExecutorFull) as full:
        await pool.run(len, "")
    assert full.value.name == "slow"
    answers.set()
    assert await asyncio.gather(*waiting) == [True, True]
    assert await pool.run(len, "abc") == 3
    assert pool.calls == 0


async def test_a_thread_that_hangs_is_taken_although_its_caller_has_gone(answers: threading.Event) -> None:
    pool = BoundedExecutor("hangs", threads=1, max_waiting=0)
    begun = threading.Event()

    def hang() -> None:
        begun.set()
        answers.wait(20)

    leaving = asyncio.ensure_future(pool.run(hang))
    await asyncio.to_thread(begun.wait, 20)
    leaving.cancel()
    with pytest.raises(asyncio.CancelledError):
        await leaving
    with pytest.raises(ExecutorFull):
        await pool.run(len, "")
    answers.set()


async def test_a_store_that_never_answers_holds_up_only_those_who_need_it(
    tmp_path: Path, answers: threading.Event
) -> None:
    app = make_app(tmp_path)
    hung = [asyncio.ensure_future(FILES.run(answers.wait, 60)) for _ in range(80)]
    try:
        await asyncio.sleep(0)
        async with client(app) as c:
            refused = await c.get("/latest")
            # an answer for whose key the ledger's threads are needed
            other = await c.post("/v1/embeddings", json={}, headers={"idempotency-key": "a"})
    finally:
        answers.set()
        await asyncio.gather(*hung)
    assert (refused.status_code, refused.json()["error"]["code"]) == (503, "busy")
    assert int(refused.headers["retry-after"]) > 0
    assert (other.status_code, other.json()["error"]["code"]) == (404, "feature_disabled")
