"""A service whose answers are kept, and its clients."""

from __future__ import annotations

import asyncio
import hashlib
import json
from collections.abc import AsyncIterator, Awaitable, Callable
from pathlib import Path
from typing import Any

import httpx
from starlette.applications import Starlette
from starlette.background import BackgroundTask
from starlette.middleware import Middleware
from starlette.requests import Request
from starlette.responses import FileResponse, JSONResponse, Response, StreamingResponse
from starlette.routing import Route

from deployments.ingress.middleware.access import Access
from deployments.ingress.middleware.authentication import Keys
from deployments.ingress.middleware.idempotency import Idempotency
from deployments.ingress.middleware.ledgers import Ledger
from deployments.ingress.middleware.request_context import RequestContext
from deployments.ingress.policy import Policy, apply
from tests.deployments.apps import settings_of

LIMIT = 100_000


KEY = {"Idempotency-Key": "k-1"}


class Service:
    """A small service that counts what it makes, one result a run."""

    def __init__(self, folder: Path) -> None:
        self.made = 0
        self.begun = asyncio.Event()
        self.may_end = asyncio.Event()
        self.may_end.set()
        self.status = 200
        self.file = folder / "made.bin"

    async def make(self, request: Request) -> Response:
        """What was sent, and the how-manieth thing this is."""
        sent = await request.body()
        self.made += 1
        self.begun.set()
        await self.may_end.wait()
        headers = {"X-Seed": str(self.made), "X-Two": "1"}
        return JSONResponse([self.made, hashlib.sha256(sent).hexdigest()], self.status, headers)

    async def form(self, request: Request) -> Response:
        async with request.form() as form:
            self.made += 1
            return JSONResponse([self.made, sorted(form)])

    async def stream(self, request: Request) -> Response:
        self.made += 1
        asked = json.loads(await request.body())

        async def events() -> AsyncIterator[bytes]:
            for event in asked["events"]:
                yield f"data: {json.dumps(event)}\n\n".encode()
            if asked.get("breaks"):
                raise RuntimeError("in the middle")
            await self.may_end.wait()

        return StreamingResponse(events(), media_type="text/event-stream")

    async def large(self, request: Request) -> Response:
        self.made += 1
        self.file.write_bytes(bytes([self.made]) * int((await request.body()).decode()))
        return FileResponse(self.file, media_type="image/png", background=BackgroundTask(self.file.unlink))

    async def breaks(self, request: Request) -> Response:
        self.made += 1
        raise RuntimeError("a mistake")

    async def careless(self, request: Request) -> Response:
        self.made += 1
        request.state.ignored_parameters = ["frames"]
        return JSONResponse(self.made)


def app_of(service: Service, ledger: Ledger) -> Starlette:
    async def not_repeatable(request: Request) -> Response:
        return await service.make(request)

    apply(not_repeatable, Policy(is_repeatable=False))
    routes: dict[str, Callable[[Request], Awaitable[Response]]] = {
        "/v1/images/generations": service.make,
        "/v1/images": service.form,
        "/v1/images/search": not_repeatable,
        "/v1/chat/completions": service.stream,
        "/upload": service.large,
        "/process": service.breaks,
        "/v1/voice/generate": service.careless,
    }
    return Starlette(
        routes=[Route(path, route, methods=["POST", "GET"]) for path, route in routes.items()],
        middleware=[
            Middleware(RequestContext),
            Middleware(Keys, access=Access(settings_of(service.file.parent))),
            Middleware(Idempotency, ledger=ledger, max_body=LIMIT),
        ],
    )


def client_of(app: Starlette) -> httpx.AsyncClient:
    return httpx.AsyncClient(
        transport=httpx.ASGITransport(app, raise_app_exceptions=False), base_url="http://test", headers=KEY
    )


MAKE = "/v1/images/generations"


async def twice(http: httpx.AsyncClient, path: str, **kwargs: Any) -> tuple[httpx.Response, httpx.Response]:
    return await http.post(path, **kwargs), await http.post(path, **kwargs)


def is_replayed(answer: httpx.Response) -> bool:
    return "true" in answer.headers.get_list("idempotent-replayed")
