"""Callers of several ingress replicas: their keys and limits are the same at each."""

from __future__ import annotations

import asyncio
from contextlib import closing
from pathlib import Path

import pytest
from starlette.requests import Request

from deployments.ingress.middleware import access
from stores.api_key_table import ApiKeyTable, open_table
from stores.api_keys import ApiKeyFile, Limits
from stores.errors import StoreUnusable
from tests.deployments.apps import make_app
from tests.deployments.ingress.replicas.running import Replica, fault, replicas


class Work:
    """A route's work, which ends when the test says so."""

    def __init__(self) -> None:
        self.begun = asyncio.Semaphore(0)
        self.may_end = asyncio.Event()

    async def do(self, _: Request) -> dict[str, bool]:
        self.begun.release()
        await self.may_end.wait()
        return {"done": True}


def bearer(key: str) -> dict[str, str]:
    return {"Authorization": f"Bearer {key}"}


async def status(replica: Replica, key: str = "") -> int:
    return (await replica.http.get("/docs", headers=bearer(key) if key else {})).status_code


async def until(replica: Replica, key: str, expected: int) -> None:
    """Return once a replica answers so, which looks at the keys once a second."""
    async with asyncio.timeout(30):
        while await status(replica, key) != expected:  # noqa: ASYNC110 - nothing tells when
            await asyncio.sleep(0.05)


async def test_a_key_that_is_made_opens_every_replica_and_a_revoked_one_none(
    tmp_path: Path, shared: dict[str, str], database_url: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(access, "_LOOK_SECONDS", 0.01)
    async with replicas(tmp_path, shared) as (one, two):
        assert (await status(one), await status(two)) == (200, 200)
        with closing(open_table(database_url)) as table:
            phone, boss = table.add("phone", Limits()), table.add("boss", Limits(), admin=True)
            for each in (one, two):
                await until(each, "", 401)
                assert (await status(each, phone), await status(each, boss)) == (200, 200)
            table.revoke("phone")
            table.revoke("boss")
        for each in (one, two):
            await until(each, phone, 401)
            await until(each, "", 401)
    async with replicas(tmp_path, shared) as (later, _):
        assert await status(later) == 401, "there were keys once"


async def test_replicas_do_not_start_beside_a_file_with_keys_that_they_would_not_know(
    tmp_path: Path, shared: dict[str, str]
) -> None:
    ApiKeyFile(tmp_path / "keys.json").add("phone", Limits())
    with pytest.raises(StoreUnusable, match=r"has API keys.*`atelier keys move`"):
        make_app(tmp_path, shared)
    named = ApiKeyFile(tmp_path / "named.json")
    key = named.add("phone", Limits())
    async with replicas(tmp_path / "home", {**shared, "ATELIER_KEYS_FILE": str(named.path)}) as both:
        assert [await status(each, key) for each in both] == [200, 200]


async def test_keys_of_the_database_are_known_until_it_answers_again(
    tmp_path: Path, shared: dict[str, str], database_url: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(access, "_LOOK_SECONDS", 0.01)
    with closing(open_table(database_url)) as table:
        key = table.add("phone", Limits())
        async with replicas(tmp_path, shared) as (one, _):
            keys = one.atelier.access._keys
            assert isinstance(keys, ApiKeyTable)
            real = keys._db
            with closing(open_table("postgresql://127.0.0.1:9/away")) as away:
                keys._db = away._db
                for _ in range(3):
                    assert (await status(one, key), await status(one, "other")) == (200, 401)
                    await asyncio.sleep(0.05)
            keys._db = real
            table.revoke("phone")
            await until(one, key, 401)


async def test_a_rate_counts_what_was_sent_to_any_replica(tmp_path: Path, shared: dict[str, str]) -> None:
    async with replicas(tmp_path, {**shared, "ATELIER_RATE": "3/hour"}) as (one, two):
        left = [
            (await each.http.get("/v1/models")).headers["x-ratelimit-remaining-requests"] for each in (one, two, one)
        ]
        assert left == ["2", "1", "0"]
        refused = await two.http.get("/v1/models")
        assert fault(refused) == (429, "rate_limit_exceeded")
        assert 0 < int(refused.headers["retry-after"]) <= 60


async def test_requests_under_way_count_wherever_they_are_and_until_they_end(
    tmp_path: Path, shared: dict[str, str]
) -> None:
    work = Work()
    async with replicas(tmp_path, {**shared, "ATELIER_CONCURRENCY": "2"}, {"/work": work.do}) as (one, two):
        under_way = [asyncio.ensure_future(each.http.post("/work")) for each in (one, two)]
        for _ in under_way:
            await work.begun.acquire()
        for each in (one, two):
            assert fault(await each.http.post("/work")) == (429, "rate_limit_exceeded")
            assert (await each.http.get("/v1/jobs/none")).status_code == 404, "looking takes no place"
        work.may_end.set()
        assert [(await each).status_code for each in under_way] == [200, 200]
        assert [(await each.http.post("/work")).status_code for each in (one, two) * 3] == [200] * 6


async def test_what_a_dead_replica_had_under_way_counts_no_more(
    tmp_path: Path, shared: dict[str, str], redis_url: str
) -> None:
    work = Work()
    async with replicas(tmp_path, {**shared, "ATELIER_CONCURRENCY": "1"}, {"/work": work.do}) as (one, two):
        lost = asyncio.ensure_future(one.http.post("/work"))
        await work.begun.acquire()
        assert fault(await two.http.post("/work")) == (429, "rate_limit_exceeded")
        await one.die(redis_url)
        work.may_end.set()
        assert (await two.http.post("/work")).status_code == 200
        await lost


async def test_a_place_whose_caller_leaves_is_free(tmp_path: Path, shared: dict[str, str]) -> None:
    work = Work()
    async with replicas(tmp_path, {**shared, "ATELIER_CONCURRENCY": "1"}, {"/work": work.do}) as (one, two):
        left = asyncio.ensure_future(one.http.post("/work"))
        await work.begun.acquire()
        left.cancel()
        await asyncio.wait([left])
        work.may_end.set()
        assert (await two.http.post("/work")).status_code == 200
