"""Redis or PostgreSQL is away, or accepts and never answers: who needs it gets an error in time, and nobody else."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager, closing, suppress
from pathlib import Path

import httpx
import psutil
import psycopg
import pytest
from starlette.requests import Request

from stores import shared_postgres, shared_redis
from stores.api_key_table import open_table
from stores.api_keys import Limits
from tests.deployments.ingress.replicas.running import Replica, fault, replicas
from tests.redis_server import RedisServer

AWAY = (503, "SHARED_STATE_UNAVAILABLE")
LONGEST = 30.0
"""Seconds after which a client would have given up; each refusal comes in two, or of PostgreSQL in ten."""


async def do(request: Request) -> dict[str, int]:
    await request.body()
    return {"done": 1}


@pytest.fixture(autouse=True)
def impatience(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(shared_redis, "REPLY_SECONDS", 0.5)
    monkeypatch.setattr(shared_postgres, "_STATEMENT_SECONDS", 0.5)
    monkeypatch.setattr(shared_postgres, "_PAUSE_SECONDS", 0.1)


class Callers:
    """One with limits and one without, at one replica."""

    def __init__(self, replica: Replica, limited: str, free: str) -> None:
        self._replica = replica
        self.limited = {"Authorization": f"Bearer {limited}"}
        self.free = {"Authorization": f"Bearer {free}"}

    async def ask(self, headers: dict[str, str], key: str = "") -> httpx.Response:
        repeatable = {"Idempotency-Key": key} if key else {}
        async with asyncio.timeout(LONGEST):
            return await self._replica.http.post("/work", headers={**headers, **repeatable})

    async def until_well(self, key: str) -> None:
        async with asyncio.timeout(LONGEST):
            while not (await self.ask(self.limited, key)).is_success:  # noqa: ASYNC110 - nothing tells when
                await asyncio.sleep(0.05)


@pytest.fixture
async def callers(tmp_path: Path, shared: dict[str, str], database_url: str) -> AsyncIterator[Callers]:
    with closing(open_table(database_url)) as table:
        limited = table.add("limited", Limits(rate="1000/hour", concurrency=5))
        free = table.add("free", Limits())
    async with replicas(tmp_path, shared, {"/work": do}) as (one, _):
        found = Callers(one, limited, free)
        await found.until_well("k-0")
        yield found


async def needs_redis(callers: Callers) -> None:
    """Who needs it is refused with when to come again, who does not is served."""
    for headers, key in ((callers.limited, ""), (callers.free, "k-1")):
        refused = await callers.ask(headers, key)
        assert fault(refused) == AWAY
        assert int(refused.headers["retry-after"]) > 0
    assert (await callers.ask(callers.free)).status_code == 200


async def test_a_redis_that_is_gone_refuses_who_needs_it_until_it_is_back(callers: Callers, redis: RedisServer) -> None:
    redis.kill()
    try:
        for _ in range(3):
            await needs_redis(callers)
    finally:
        redis.start()
    await callers.until_well("k-2")


async def test_a_redis_that_never_answers_refuses_who_needs_it_until_it_does(
    callers: Callers, redis: RedisServer
) -> None:
    redis.stop()
    try:
        for _ in range(3):
            await needs_redis(callers)
    finally:
        redis.go_on()
    await callers.until_well("k-2")


@asynccontextmanager
async def stopped(postgres: str) -> AsyncIterator[None]:
    """PostgreSQL keeps its connections, takes new ones, and answers nothing."""
    postmaster = await asyncio.to_thread(postmaster_of, postgres)
    postmaster.suspend()  # first, so that no more processes begin
    others = postmaster.children(recursive=True)
    for each in others:
        with suppress(psutil.NoSuchProcess):  # one that was just ending
            each.suspend()
    try:
        yield
    finally:
        for each in (*others, postmaster):
            with suppress(psutil.NoSuchProcess):
                each.resume()


def postmaster_of(postgres: str) -> psutil.Process:
    with psycopg.connect(postgres) as db:
        parent = psutil.Process(db.info.backend_pid).parent()
    assert parent is not None
    return parent


async def test_a_postgresql_that_never_answers_refuses_repeatable_requests_only(
    callers: Callers, postgres: str
) -> None:
    async with stopped(postgres):
        for _ in range(3):
            refused = await callers.ask(callers.free, "k-1")
            assert fault(refused) == AWAY
            assert "the kept answers" in refused.json()["error"]["message"]
            assert (await callers.ask(callers.free)).status_code == 200
            assert (await callers.ask(callers.limited)).status_code == 200, "keys are those that were known"
    await callers.until_well("k-2")
