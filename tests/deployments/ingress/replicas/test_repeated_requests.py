"""`Idempotency-Key` at several ingress replicas: what is sent to two of them is executed once."""

from __future__ import annotations

import asyncio
from pathlib import Path

import httpx
from starlette.requests import Request

from deployments.ingress.errors import ApiError
from tests.deployments.ingress.replicas.running import Replica, fault, replicas

KEY = {"Idempotency-Key": "k-1"}


class Work:
    """A route that counts its runs, which end when the test says so."""

    def __init__(self) -> None:
        self.runs = 0
        self.begun = asyncio.Semaphore(0)
        self.may_end = asyncio.Event()
        self.error: ApiError | None = None
        """How the next run ends."""

    async def do(self, request: Request) -> dict[str, int]:
        await request.body()
        self.runs += 1
        run, error, self.error = self.runs, self.error, None
        self.begun.release()
        await self.may_end.wait()
        if error is not None:
            raise error
        return {"run": run}


def asked(replica: Replica, body: bytes = b"a") -> asyncio.Task[httpx.Response]:
    return asyncio.ensure_future(replica.http.post("/work", content=body, headers=KEY))


async def test_the_same_request_at_two_replicas_at_once_is_executed_once(
    tmp_path: Path, shared: dict[str, str]
) -> None:
    work = Work()
    async with replicas(tmp_path, shared, {"/work": work.do}) as (one, two):
        first, second = asked(one), asked(two)
        await work.begun.acquire()
        assert not (await asyncio.wait([first, second], timeout=0.3))[0]
        assert fault(await two.http.post("/work", content=b"b", headers=KEY)) == (422, "idempotency_key_reused")
        work.may_end.set()
        answers = [await first, await second]
        assert [each.json() for each in answers] == [{"run": 1}] * 2
        assert sorted("idempotent-replayed" in each.headers for each in answers) == [False, True]
        later = await asked(two)
        assert (later.json(), later.headers["idempotent-replayed"], work.runs) == ({"run": 1}, "true", 1)
        assert fault(await asked(one, b"b")) == (422, "idempotency_key_reused")


async def test_what_a_dead_replica_was_at_is_executed_by_another(
    tmp_path: Path, shared: dict[str, str], redis_url: str
) -> None:
    work = Work()
    async with replicas(tmp_path, shared, {"/work": work.do}) as (one, two):
        lost = asked(one)
        await work.begun.acquire()
        second = asked(two)
        assert not (await asyncio.wait([second], timeout=0.3))[0]
        await one.die(redis_url)
        await work.begun.acquire()
        work.may_end.set()
        assert (await second).json() == {"run": 2}
        await lost
        assert (await asked(two)).headers["idempotent-replayed"] == "true"


async def test_a_request_that_fails_at_one_replica_is_executed_by_another(
    tmp_path: Path, shared: dict[str, str]
) -> None:
    work = Work()
    async with replicas(tmp_path, shared, {"/work": work.do}) as (one, two):
        work.error = ApiError(502, "it broke", code="UPSTREAM_FAILED")
        first = asked(one)
        await work.begun.acquire()
        second = asked(two)
        assert not (await asyncio.wait([second], timeout=0.3))[0]
        work.may_end.set()
        assert fault(await first) == (502, "UPSTREAM_FAILED")
        assert (await second).json() == {"run": 2}
