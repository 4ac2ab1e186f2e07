"""Calls of image search: turns, refusals, a replica that dies or does not answer, and the state that clients see."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from ray.exceptions import RayActorError

import settings as configuration
from deployments.ingress.calls import search_calls
from deployments.ingress.calls.search_calls import SearchCalls
from deployments.ingress.calls.states import ModelStates, Snapshot
from deployments.ingress.errors import ApiError
from deployments.ingress.metrics import Metrics
from deployments.search_answers import Report
from models.errors import InvalidImage
from stores.errors import NotFound, StoreUnavailable
from tests.deployments.apps import ARGS
from tests.deployments.ingress.calls.test_model_handle import deployment
from tests.deployments.ingress.test_metrics import samples

RUNS = Snapshot({"search": deployment("RUNNING")}, [], {})


class Replica:
    """What Serve gives for the search deployment: each method does what was put under its name."""

    def __init__(self, **methods: Callable[..., Any]) -> None:
        self._methods = {"report": _report, **methods}
        self.calls: list[tuple[Any, ...]] = []

    def __getattr__(self, name: str) -> Remote:
        return Remote(self, name)


async def _report() -> Report:
    return Report({"state": "ready"}, {"ok": 3})


class Remote:
    def __init__(self, replica: Replica, name: str) -> None:
        self._replica, self._name = replica, name

    def remote(self, *args: Any) -> Answer:
        self._replica.calls.append((self._name, *args))
        return Answer(self._replica._methods[self._name](*args))


class Answer:
    def __init__(self, work: Any) -> None:
        self._work = work

    def __await__(self) -> Any:
        return self._work.__await__()

    def cancel(self) -> None:
        return


def calls_of(replica: Replica, home: Path, snapshot: Snapshot = RUNS, **bounds: Any) -> SearchCalls:
    args = {**ARGS, "image_search_enabled": True, "home": str(home), "search": bounds}
    settings = configuration.validate(args, {})
    return SearchCalls(settings, replica, ModelStates([], lambda: snapshot), Metrics())


async def refusal(work: Any) -> tuple[int, str | None]:
    with pytest.raises(ApiError) as refused:
        await work
    return refused.value.status, refused.value.code


async def settled() -> None:
    for _ in range(10):
        await asyncio.sleep(0)


async def test_a_full_queue_of_uploads_is_a_429_and_holds_up_no_lookup(tmp_path: Path) -> None:
    over = asyncio.Event()

    async def add(*_: Any) -> str:
        await over.wait()
        return "added"

    async def search_text(*_: Any) -> str:
        return "found"

    search = calls_of(Replica(add=add, search_text=search_text), tmp_path, max_ongoing=2, max_queued=1)
    adding = [asyncio.create_task(search.call("add", "p", "a.png", b"", size=7)) for _ in range(3)]
    await settled()
    assert await refusal(search.call("add", "p", "a.png", b"", size=7)) == (429, "rate_limit_exceeded")
    assert await search.call("search_text", "p", "red", 1) == "found"
    assert search.queues["changes"] == {"running": 2, "waiting": 1, "waiting_bytes": 7}
    facts = await search.facts()
    assert (facts.running, facts.waiting) == (2, 1)
    over.set()
    assert await asyncio.gather(*adding) == ["added"] * 3
    page = samples(search._metrics.render({}, {}))
    for outcome, count in (("ok", 4), ("queue_full", 1)):
        assert page["atelier_model_calls_total", frozenset({("alias", "search"), ("outcome", outcome)})] == count


async def test_a_request_of_a_replica_that_dies_is_given_to_the_next_where_it_may_be_repeated(tmp_path: Path) -> None:
    alive = iter([False, True, False, True])

    async def answer(*_: Any) -> str:
        if not next(alive):
            raise RayActorError
        return "answer"

    search = calls_of(Replica(page=answer, delete=answer), tmp_path)
    assert await search.call("page", "p", 10, None) == "answer"
    assert await refusal(search.call("delete", "p", "1")) == (503, "model_restarting")


async def test_what_search_refuses_keeps_its_words_and_a_store_that_fails_is_counted(tmp_path: Path) -> None:
    errors = {
        "page": NotFound("no such image"),
        "search_image": InvalidImage("not a picture", "image"),
        "projects": StoreUnavailable("the index does not answer"),
    }

    def raising(name: str) -> Callable[..., Any]:
        async def method(*_: Any) -> None:
            raise errors[name]

        return method

    search = calls_of(Replica(**{name: raising(name) for name in errors}), tmp_path)
    assert await refusal(search.call("page")) == (404, "NOT_FOUND")
    assert await refusal(search.call("search_image")) == (400, "invalid_image")
    assert await refusal(search.call("projects")) == (503, "SEARCH_UNAVAILABLE")
    page = samples(search._metrics.render({}, {}))
    failures = {labels: count for (name, labels), count in page.items() if name == "atelier_store_failures_total"}
    assert failures == {frozenset({("code", "SEARCH_UNAVAILABLE")}): 1}


async def test_however_many_ask_for_the_state_search_is_asked_once_a_second(tmp_path: Path) -> None:
    replica = Replica()
    search = calls_of(replica, tmp_path)
    assert await asyncio.gather(*(search.state() for _ in range(100))) == [{"state": "ready"}] * 100
    assert await search.state() == {"state": "ready"}
    assert (await search.facts()).calls_of_embedder == {"ok": 3}
    assert len(replica.calls) == 1
    search._state_at -= 1.0  # a second later
    await search.state()
    assert len(replica.calls) == 2


async def test_a_search_that_says_nothing_is_busy_and_one_that_has_not_begun_is_starting(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(search_calls, "_STATE_SECONDS", 0.05)

    async def report() -> None:
        await asyncio.Event().wait()

    assert await calls_of(Replica(report=report), tmp_path).state() == {"state": "busy"}
    cold = Snapshot({"search": deployment("STARTING")}, [], {})
    assert await calls_of(Replica(), tmp_path, cold).state() == {"state": "starting"}
