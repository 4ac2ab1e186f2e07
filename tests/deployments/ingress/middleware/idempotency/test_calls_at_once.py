"""Calls with the same key that come while the first is still answered, or whose caller has left."""

from __future__ import annotations

import asyncio
from typing import Any

import httpx
import pytest

from deployments.ingress.middleware.ledgers import Ledger
from tests.deployments.ingress.middleware.idempotency.service import MAKE, Service, app_of, is_replayed


async def test_a_second_call_waits_for_the_first_and_one_thing_is_made(
    service: Service, http: httpx.AsyncClient
) -> None:
    service.may_end.clear()
    calls = [asyncio.ensure_future(http.post(MAKE, content=b"a")) for _ in range(5)]
    await service.begun.wait()
    assert not (await asyncio.wait(calls, timeout=0.3))[0]
    service.may_end.set()
    answers = await asyncio.gather(*calls)
    assert {answer.content for answer in answers} == {answers[0].content}
    assert sorted(is_replayed(answer) for answer in answers) == [False, True, True, True, True]
    assert service.made == 1


async def test_another_body_is_refused_while_the_first_still_runs(service: Service, http: httpx.AsyncClient) -> None:
    service.may_end.clear()
    first = asyncio.ensure_future(http.post(MAKE, content=b"a"))
    await service.begun.wait()
    assert (await http.post(MAKE, content=b"b")).status_code == 422
    service.may_end.set()
    assert (await first).status_code == 200


async def test_when_the_first_fails_one_who_waits_makes_it(service: Service, http: httpx.AsyncClient) -> None:
    service.may_end.clear()
    service.status = 503
    first = asyncio.ensure_future(http.post(MAKE, content=b"a"))
    await service.begun.wait()
    second = asyncio.ensure_future(http.post(MAKE, content=b"a"))
    assert not (await asyncio.wait([second], timeout=0.2))[0]
    service.may_end.set()
    assert (await first).status_code == 503
    service.status = 200
    assert (await second).status_code in (200, 503)  # by when it looked
    assert service.made == 2


async def test_a_first_that_is_cancelled_frees_the_key(service: Service, http: httpx.AsyncClient) -> None:
    service.may_end.clear()
    first = asyncio.ensure_future(http.post(MAKE, content=b"a"))
    await service.begun.wait()
    second = asyncio.ensure_future(http.post(MAKE, content=b"a"))
    first.cancel()
    await asyncio.wait([first])
    service.may_end.set()
    answer = await second
    assert (answer.json()[0], is_replayed(answer)) == (2, False)


async def test_one_who_leaves_while_waiting_leaves_nothing_behind(
    service: Service, ledger: Ledger, http: httpx.AsyncClient
) -> None:
    service.may_end.clear()
    first = asyncio.ensure_future(http.post(MAKE, content=b"a"))
    await service.begun.wait()
    left = asyncio.Event()
    messages = iter([{"type": "http.request", "body": b"a", "more_body": False}])

    async def receive() -> Any:
        if message := next(messages, None):
            return message
        await left.wait()
        return {"type": "http.disconnect"}

    sent: list[Any] = []

    async def send(message: Any) -> None:
        sent.append(message)

    scope = {
        "type": "http", "method": "POST", "path": MAKE, "query_string": b"", "headers": [(b"idempotency-key", b"k-1")],
    }  # fmt: skip
    waiting = asyncio.ensure_future(app_of(service, ledger)(scope, receive, send))
    assert not (await asyncio.wait([waiting], timeout=0.2))[0]
    left.set()
    await waiting
    assert sent == []
    service.may_end.set()
    assert (await first).status_code == 200
    assert service.made == 1


async def test_a_caller_whose_connection_breaks_finds_the_answer_with_the_next_call(
    service: Service, ledger: Ledger, http: httpx.AsyncClient
) -> None:
    messages = iter([{"type": "http.request", "body": b"a", "more_body": False}])

    async def receive() -> Any:
        return next(messages, None) or {"type": "http.disconnect"}

    async def send(message: Any) -> None:
        raise OSError("the connection is closed")

    scope = {
        "type": "http", "method": "POST", "path": MAKE, "query_string": b"", "headers": [(b"idempotency-key", b"k-1")],
    }  # fmt: skip
    with pytest.raises(OSError, match="closed"):
        await app_of(service, ledger)(scope, receive, send)
    again = await http.post(MAKE, content=b"a")
    assert (again.json()[0], is_replayed(again), service.made) == (1, True, 1)
