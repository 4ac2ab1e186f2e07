"""Replicas in this process, each with a home of its own, as on machines of their own."""

from __future__ import annotations

from collections.abc import AsyncIterator, Awaitable, Callable, Mapping
from contextlib import AsyncExitStack, asynccontextmanager
from pathlib import Path
from typing import Any

import httpx
from fastapi import FastAPI
from redis import Redis
from starlette.requests import Request
from starlette.responses import Response

from deployments.ingress.dependencies import Atelier
from deployments.ingress.policy import Policy, apply
from stores.shared_redis import SharedRedis, end_tasks
from tests.deployments.apps import listening, make_app

Route = Callable[[Request], Awaitable[Response | dict[str, Any]]]


class Replica:
    """One of them behind a port of its own, and a client of it."""

    def __init__(self, app: FastAPI, http: httpx.AsyncClient) -> None:
        self.app = app
        self.http = http

    @property
    def atelier(self) -> Atelier:
        found: Atelier = self.app.state.atelier
        return found

    @property
    def redis(self) -> SharedRedis:
        assert self.atelier.shared is not None
        return self.atelier.shared

    async def die(self, redis_url: str) -> None:
        """What is seen of a killed one, once its time is over: it renews nothing, and its key has expired."""
        if self.redis._beating is not None:
            await end_tasks([self.redis._beating])
        with Redis.from_url(redis_url) as redis:
            redis.delete(self.redis.alive_key)


def add_route(app: FastAPI, path: str, route: Route, policy: Policy | None = None) -> None:
    """A POST route of the test's own."""

    async def do(request: Request) -> Any:
        return await route(request)

    apply(do, policy or Policy())
    app.post(path)(do)


@asynccontextmanager
async def replicas(
    home: Path,
    environ: Mapping[str, str],
    routes: Mapping[str, Route] | None = None,
    make: Callable[[Path, Mapping[str, str]], FastAPI] = make_app,
) -> AsyncIterator[list[Replica]]:
    """Two replicas, while they run."""
    async with AsyncExitStack() as stack:
        running = []
        for number in range(2):
            app = make(home / f"machine-{number}", environ)
            for path, route in (routes or {}).items():
                add_route(app, path, route)
            url = await stack.enter_async_context(listening(app))
            http = httpx.AsyncClient(base_url=url, timeout=60)
            running.append(Replica(app, await stack.enter_async_context(http)))
        yield running


def fault(answer: httpx.Response) -> tuple[int, str]:
    return answer.status_code, answer.json()["error"]["code"]
