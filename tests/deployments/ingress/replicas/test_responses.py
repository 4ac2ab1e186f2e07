"""Responses at several ingress replicas: each retrieves, goes on from, stops and deletes those of the others."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from functools import partial
from pathlib import Path

import httpx
import pytest

from models.tasks import ChatDelta
from tests.deployments.ingress.replicas.running import Replica, fault, replicas
from tests.deployments.ingress.routes.responses.played import END, HOLD, Stage, app_over
from tests.deployments.ingress.routes.responses.streams import read

ASKED = {"model": "chat", "input": "Hi"}
NOT_FOUND = (404, "response_not_found")


@pytest.fixture
def stage() -> Stage:
    return Stage()


@pytest.fixture
async def both(tmp_path: Path, shared: dict[str, str], stage: Stage) -> AsyncIterator[list[Replica]]:
    async with replicas(tmp_path, shared, make=partial(app_over, stage)) as running:
        yield running
        stage.may_go_on.set()  # a replica ends when its requests have


@asynccontextmanager
async def streaming(replica: Replica, stage: Stage) -> AsyncIterator[tuple[str, asyncio.Task[str]]]:
    """The id of a response that goes on for as long as the test wants, and all of its stream."""
    stage.plays.append([ChatDelta("He"), HOLD, END])
    begun: asyncio.Future[str] = asyncio.get_running_loop().create_future()

    async def stream() -> str:
        async with replica.http.stream("POST", "/v1/responses", json={**ASKED, "stream": True}) as answer:
            text = ""
            async for chunk in answer.aiter_text():
                text += chunk
                if not begun.done() and '"id": "' in text:
                    begun.set_result(text.partition('"id": "')[2].partition('"')[0])
        return text

    whole = asyncio.ensure_future(stream())
    yield await asyncio.wait_for(begun, 30), whole
    stage.may_go_on.set()
    await whole


async def test_a_stored_response_is_had_gone_on_from_and_deleted_at_another_replica(
    both: list[Replica], stage: Stage
) -> None:
    one, two = both
    first = (await one.http.post("/v1/responses", json=ASKED)).json()
    path = f"/v1/responses/{first['id']}"
    assert (await two.http.get(path)).json() == first
    assert (await two.http.post(f"{path}/cancel")).json() == first
    second = (await two.http.post("/v1/responses", json={**ASKED, "previous_response_id": first["id"]})).json()
    assert len(stage.jobs[-1].messages) == 3
    assert (await one.http.get(f"/v1/responses/{second['id']}/input_items")).is_success
    assert (await two.http.delete(path)).json()["deleted"]
    assert [fault(await each.http.get(path)) for each in both] == [NOT_FOUND] * 2


async def test_a_response_that_one_replica_streams_is_seen_and_cancelled_at_another(
    both: list[Replica], stage: Stage
) -> None:
    one, two = both
    async with streaming(one, stage) as (name, whole):
        path = f"/v1/responses/{name}"
        seen = (await two.http.get(path)).json()
        assert (seen["id"], seen["status"]) == (name, "in_progress")
        assert (await two.http.get(f"{path}?stream=true")).status_code == 400
        cancelled = (await two.http.post(f"{path}/cancel")).json()
        assert (cancelled["status"], cancelled["error"]["code"]) == ("cancelled", "cancelled")
        assert read(await whole)[-1]["response"] == cancelled
        assert fault(await two.http.get(path)) == NOT_FOUND


async def test_a_response_that_one_replica_streams_is_deleted_at_another_and_never_kept(
    both: list[Replica], stage: Stage
) -> None:
    one, two = both
    async with streaming(one, stage) as (name, whole):
        assert (await two.http.delete(f"/v1/responses/{name}")).json()["deleted"]
        await whole
        assert [fault(await each.http.get(f"/v1/responses/{name}")) for each in both] == [NOT_FOUND] * 2


async def test_a_response_belongs_to_its_key_and_a_dead_replicas_is_gone(
    tmp_path: Path, shared: dict[str, str], stage: Stage, redis_url: str
) -> None:
    environ = {**shared, "ATELIER_API_KEYS": "one,other", "ATELIER_ADMIN_KEYS": "boss"}

    async def status(replica: Replica, name: str, key: str) -> httpx.Response:
        return await replica.http.get(f"/v1/responses/{name}", headers={"Authorization": f"Bearer {key}"})

    async with replicas(tmp_path, environ, make=partial(app_over, stage)) as (one, two):
        one.http.headers["Authorization"] = "Bearer one"
        async with streaming(one, stage) as (name, _):
            assert (await status(two, name, "boss")).json()["status"] == "in_progress"
            assert fault(await status(two, name, "other")) == NOT_FOUND
            await one.die(redis_url)
            assert fault(await status(two, name, "one")) == NOT_FOUND
