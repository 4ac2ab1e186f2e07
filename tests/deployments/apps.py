"""The real app over a real store, without models."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Mapping
from contextlib import asynccontextmanager
from pathlib import Path

import httpx
import uvicorn
from fastapi import FastAPI
from starlette.applications import Starlette

import settings as configuration
from deployments.ingress.app import create_app
from deployments.ingress.calls.model_calls import ModelCalls
from deployments.ingress.dependencies import Atelier
from deployments.storage import open_store

ARGS = {
    "models": {"clip": {"engine": "clip", "checkpoint": "builtin:clip"}},
    "image_enabled": False,
    "image_search_enabled": False,
    "voice_enabled": False,
}


def settings_of(home: Path, environ: Mapping[str, str] | None = None) -> configuration.Settings:
    return configuration.validate(ARGS, {"ATELIER_HOME": str(home), **(environ or {})})


def make_app(home: Path, environ: Mapping[str, str] | None = None) -> FastAPI:
    settings = settings_of(home, environ)
    return create_app(Atelier(settings, ModelCalls(settings, {}), open_store(settings), None))


def client(app: FastAPI, peer: str = "192.0.2.1") -> httpx.AsyncClient:
    """A client in this process that calls from `peer`."""
    transport = httpx.ASGITransport(app, client=(peer, 1234))
    return httpx.AsyncClient(transport=transport, base_url="http://atelier.test")


@asynccontextmanager
async def listening(app: Starlette) -> AsyncIterator[str]:
    """The app behind a port of this machine, with its background work; its address."""
    server = uvicorn.Server(uvicorn.Config(app, port=0, log_config=None, lifespan="on"))
    socket = server.config.bind_socket()
    socket.listen()  # who connects before the server accepts waits
    running = asyncio.create_task(server.serve([socket]))
    try:
        host, port = socket.getsockname()[:2]
        yield f"http://{host}:{port}"
    finally:
        server.should_exit = True
        await running
        socket.close()


def fault(answer: httpx.Response) -> tuple[int, str | None, str | None]:
    """Status, code and param of an error."""
    error = answer.json()["error"]
    assert {"message", "type", "param", "code"} <= set(error)
    assert error["message"]
    return answer.status_code, error["code"], error["param"]
