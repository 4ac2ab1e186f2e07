"""A service whose answers are kept, by one machine or for several ingress replicas."""

from __future__ import annotations

from collections.abc import AsyncIterator, Callable
from pathlib import Path

import httpx
import pytest

from deployments.ingress.middleware.ledgers import Ledger, LocalLedger, SharedLedger
from stores.answers import Answers, open_answers
from stores.claims import Claims
from stores.shared_postgres import SharedPostgres
from stores.shared_redis import SharedRedis
from tests.deployments.ingress.middleware.idempotency.service import Service, app_of, client_of


@pytest.fixture(params=["machine", "replicas"])
async def open_ledger(request: pytest.FixtureRequest, tmp_path: Path) -> AsyncIterator[Callable[[], Ledger]]:
    """Opens ledgers that know of each other."""
    opened: list[Ledger] = []
    redises: list[SharedRedis] = []

    def local() -> Ledger:
        answers = Answers(
            open_answers(tmp_path / "idempotency" / "answers.db"), seconds=86_400, max_answers=1000, max_bytes=2**30
        )
        return LocalLedger(Claims(tmp_path / "idempotency" / "running"), answers)

    def shared() -> Ledger:
        redises.append(SharedRedis(request.getfixturevalue("redis_url")))
        database = SharedPostgres(request.getfixturevalue("database_url"), contents="the kept answers")
        answers = Answers(database, seconds=86_400, max_answers=1000, max_bytes=2**30)
        return SharedLedger(redises[-1], answers)

    def open_one() -> Ledger:
        opened.append(local() if request.param == "machine" else shared())
        return opened[-1]

    if request.param == "replicas":
        for name in ("redis_url", "database_url"):
            request.getfixturevalue(name)
    yield open_one
    for ledger in opened:
        ledger.close()
    for redis in redises:
        await redis.close()


@pytest.fixture
async def ledger(open_ledger: Callable[[], Ledger]) -> Ledger:
    return open_ledger()


@pytest.fixture
async def service(tmp_path: Path) -> Service:
    return Service(tmp_path)


@pytest.fixture
async def http(service: Service, ledger: Ledger) -> AsyncIterator[httpx.AsyncClient]:
    async with client_of(app_of(service, ledger)) as client:
        yield client
