"""`Idempotency-Key`: which responses are repeated, and which are made again."""

from __future__ import annotations

import asyncio
import hashlib
from collections.abc import Callable
from typing import Any

import httpx
import pytest

from deployments.ingress.middleware.ledgers import Ledger, SharedLedger
from tests.deployments.ingress.middleware.idempotency.service import (
    MAKE,
    Service,
    app_of,
    client_of,
    is_replayed,
    twice,
)


async def test_the_second_call_gets_the_first_answer_and_nothing_is_made(
    service: Service, http: httpx.AsyncClient
) -> None:
    first, second = await twice(http, MAKE, json={"prompt": "a"})
    assert first.json() == [1, hashlib.sha256(first.request.content).hexdigest()], "the route still reads the body"
    assert second.content == first.content
    assert (is_replayed(first), is_replayed(second)) == (False, True)
    own = {"x-request-id", "openai-processing-ms", "idempotent-replayed"}
    assert {k: v for k, v in second.headers.items() if k not in own} == {
        k: v for k, v in first.headers.items() if k not in own
    }
    assert service.made == 1


async def test_without_a_key_everything_is_made_again(service: Service, http: httpx.AsyncClient) -> None:
    del http.headers["Idempotency-Key"]
    first, second = await twice(http, MAKE, content=b"a")
    assert (first.json()[0], second.json()[0]) == (1, 2)


async def test_another_body_is_422_and_makes_nothing(service: Service, http: httpx.AsyncClient) -> None:
    await http.post(MAKE, json={"prompt": "a"})
    answer = await http.post(MAKE, json={"prompt": "b"})
    assert answer.status_code == 422
    error = answer.json()["error"]
    assert (error["code"], error["param"], error["type"]) == (
        "idempotency_key_reused",
        "Idempotency-Key",
        "invalid_request_error",
    )
    assert service.made == 1


async def test_who_waits_for_the_answer_and_who_prefers_a_job_do_not_get_each_others(
    service: Service, http: httpx.AsyncClient
) -> None:
    later = {"Prefer": "wait=5, respond-async"}
    first, second = await twice(http, MAKE, content=b"a", headers=later)
    assert (is_replayed(first), is_replayed(second)) == (False, True)
    waiting = await http.post(MAKE, content=b"a")
    assert (waiting.status_code, waiting.json()["error"]["code"]) == (422, "idempotency_key_reused")
    assert "Prefer: respond-async" in waiting.json()["error"]["message"]
    other = {"Idempotency-Key": "k-2"}
    assert (await http.post(MAKE, content=b"a", headers={**other, "Prefer": "handling=lenient"})).status_code == 200
    assert (await http.post(MAKE, content=b"a", headers={**other, **later})).status_code == 422
    assert is_replayed(await http.post(MAKE, content=b"a", headers=other))
    assert service.made == 2


async def test_the_same_bytes_as_another_content_type_are_another_body(http: httpx.AsyncClient) -> None:
    await http.post(MAKE, content=b"{}", headers={"content-type": "application/json"})
    answer = await http.post(MAKE, content=b"{}", headers={"content-type": "text/plain"})
    assert answer.status_code == 422


@pytest.mark.parametrize("key", ["", " ", "a b", "x" * 256, "ключ", "a\x7f"])
async def test_a_key_that_is_none_is_400(service: Service, http: httpx.AsyncClient, key: str) -> None:
    answer = await http.post(MAKE, content=b"a", headers=[(b"Idempotency-Key", key.encode())])
    assert answer.status_code == 400
    assert answer.json()["error"]["param"] == "Idempotency-Key"
    assert service.made == 0


async def test_a_key_given_twice_is_400_and_the_longest_key_is_none_too_long(http: httpx.AsyncClient) -> None:
    two = [("Idempotency-Key", "a"), ("Idempotency-Key", "b")]
    del http.headers["Idempotency-Key"]
    assert (await http.post(MAKE, content=b"a", headers=two)).status_code == 400
    first, second = await twice(http, MAKE, content=b"a", headers={"Idempotency-Key": "~" * 255})
    assert (first.status_code, is_replayed(second)) == (200, True)


@pytest.mark.parametrize(
    "other",
    [
        {"headers": {"Authorization": "Bearer someone-else"}},
        {"headers": {"X-API-Key": "someone-else"}},
        {"headers": {"Idempotency-Key": "k-2"}},
        {"params": {"model": "blip"}},
    ],
)
async def test_another_caller_key_or_query_never_gets_that_answer(http: httpx.AsyncClient, other: Any) -> None:
    await http.post(MAKE, content=b"a")
    answer = await http.post(MAKE, content=b"a", **other)
    assert (answer.json()[0], is_replayed(answer)) == (2, False)


async def test_a_caller_is_the_same_however_the_api_key_is_sent(http: httpx.AsyncClient) -> None:
    await http.post(MAKE, content=b"a", headers={"Authorization": "Bearer me"})
    assert is_replayed(await http.post(MAKE, content=b"a", headers={"X-API-Key": "me"}))


async def test_another_route_has_keys_of_its_own(service: Service, http: httpx.AsyncClient) -> None:
    await http.post(MAKE, content=b"2")
    assert not is_replayed(await http.post("/upload", content=b"2"))
    assert service.made == 2


async def test_routes_that_make_nothing_answer_again(http: httpx.AsyncClient) -> None:
    first, second = await twice(http, "/v1/images/search", content=b"a")
    assert (first.json()[0], second.json()[0]) == (1, 2)


async def test_a_get_is_left_alone(http: httpx.AsyncClient) -> None:
    assert [(await http.get(MAKE)).json()[0] for _ in range(2)] == [1, 2]


@pytest.mark.parametrize("status", [400, 404, 422, 429, 500, 503])
async def test_what_failed_is_not_kept(service: Service, http: httpx.AsyncClient, status: int) -> None:
    service.status = status
    assert (await http.post(MAKE, content=b"a")).status_code == status
    service.status = 200
    second, third = await twice(http, MAKE, content=b"a")
    assert (second.json()[0], is_replayed(second), is_replayed(third)) == (2, False, True)


async def test_after_a_failure_the_key_is_free_for_another_body(service: Service, http: httpx.AsyncClient) -> None:
    service.status = 400
    await http.post(MAKE, content=b"a mistake")
    service.status = 200
    assert (await http.post(MAKE, content=b"mended")).status_code == 200


async def test_a_route_that_breaks_is_500_each_time(service: Service, http: httpx.AsyncClient) -> None:
    first, second = await twice(http, "/process", content=b"a")
    assert (first.status_code, second.status_code, service.made) == (500, 500, 2)


async def test_an_answer_outlives_its_server_and_is_shared_by_its_neighbours(
    service: Service, open_ledger: Callable[[], Ledger], http: httpx.AsyncClient
) -> None:
    first = await http.post(MAKE, content=b"a")
    neighbour = open_ledger()
    async with client_of(app_of(service, neighbour)) as other:
        second = await other.post(MAKE, content=b"a")
        assert (second.content, is_replayed(second)) == (first.content, True)
        service.may_end.clear()
        service.begun.clear()
        third = asyncio.ensure_future(http.post(MAKE, content=b"b", headers={"Idempotency-Key": "k-3"}))
        await service.begun.wait()
        fourth = asyncio.ensure_future(other.post(MAKE, content=b"b", headers={"Idempotency-Key": "k-3"}))
        assert not (await asyncio.wait([fourth], timeout=0.2))[0]
        service.may_end.set()
        assert (await third).content == (await fourth).content
    assert service.made == 2


async def test_a_store_that_cannot_keep_answers_costs_nobody_theirs(
    service: Service, ledger: Ledger, http: httpx.AsyncClient
) -> None:
    await http.post(MAKE, content=b"a")
    ledger.close()
    answer = await http.post(MAKE, content=b"b", headers={"Idempotency-Key": "k-2"})
    away = (503, "SHARED_STATE_UNAVAILABLE")
    expected = away if isinstance(ledger, SharedLedger) else (500, "STORE_FAILED")
    assert (answer.status_code, answer.json()["error"]["code"]) == expected
    assert service.made == 1
