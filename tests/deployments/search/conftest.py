"""An embedder that sees colours, and the search part with it."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from pathlib import Path

import pytest
from ray import serve
from ray.serve.handle import DeploymentHandle

from deployments.search.deployment import Search
from tests.deployments.search.searching import ColourEmbedder, open_search


@pytest.fixture
def embedder() -> DeploymentHandle:
    return serve.run(serve.deployment(ColourEmbedder).bind(), _local_testing_mode=True)


@pytest.fixture(params=["sqlite", "postgres"])
async def search(request: pytest.FixtureRequest, tmp_path: Path, embedder: DeploymentHandle) -> AsyncIterator[Search]:
    where = request.getfixturevalue("database_url") if request.param == "postgres" else None
    search = open_search(tmp_path, embedder, where=where)
    yield search
    await asyncio.to_thread(search.close)
