"""A client of the app, and voices that it has made."""

from __future__ import annotations

from collections.abc import AsyncIterator
from pathlib import Path

import httpx
import pytest

from tests.deployments.ingress.routes.voices.speakers import client, make_app


@pytest.fixture
async def http(tmp_path: Path) -> AsyncIterator[httpx.AsyncClient]:
    app, _ = make_app(tmp_path)
    async with client(app) as made:
        yield made
