"""A service whose answers are kept."""

from __future__ import annotations

from collections.abc import AsyncIterator, Iterator
from pathlib import Path

import httpx
import pytest

from deployments.ingress.middleware.idempotency import Ledger
from tests.deployments.ingress.middleware.idempotency.service import Service, app_of, client_of


@pytest.fixture
def ledger(tmp_path: Path) -> Iterator[Ledger]:
    ledger = Ledger(tmp_path / "idempotency", 2**30)
    yield ledger
    ledger.close()


@pytest.fixture
async def service(tmp_path: Path) -> Service:
    return Service(tmp_path)


@pytest.fixture
async def http(service: Service, ledger: Ledger) -> AsyncIterator[httpx.AsyncClient]:
    async with client_of(app_of(service, ledger)) as client:
        yield client
