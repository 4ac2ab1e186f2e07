"""The ASGI application: middleware, error handlers and one router per family."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass
from functools import cached_property
from http import HTTPStatus
from importlib.metadata import PackageNotFoundError, version
from typing import Any

from fastapi import APIRouter, FastAPI
from fastapi.routing import APIRoute
from ray.serve.handle import DeploymentHandle
from starlette.datastructures import Headers
from starlette.exceptions import HTTPException
from starlette.middleware.cors import CORSMiddleware
from starlette.requests import Request
from starlette.responses import RedirectResponse, Response
from starlette.routing import Match

from deployments.ingress import (
    captions,
    chat,
    embeddings,
    files,
    flux_files,
    health,
    images,
    jobs,
    metrics,
    models,
    process,
    search,
    speech,
    vision,
    voice,
    voices,
)
from deployments.ingress.caption_writer import CaptionWriter
from deployments.ingress.context import Keys, RequestContext
from deployments.ingress.docs import add_header, add_pages, describe
from deployments.ingress.errors import ApiError, from_exception, response
from deployments.ingress.idempotency import (
    DESCRIPTION,
    HEADER,
    REPLAYED,
    Idempotency,
    Ledger,
    makes_something,
)
from deployments.ingress.jobs import Jobs
from deployments.ingress.metrics import Measured, Metrics
from deployments.ingress.prompt_writer import PromptWriter
from deployments.ingress.retention import Retention
from deployments.ingress.roster import Roster
from deployments.storage import open_cache
from models.errors import ModelError
from settings import Settings
from stores.cache import Cache
from stores.errors import StoreError
from stores.objects import PublicStore
from stores.uploads import Uploads
from stores.voices import Voices

_EXPOSED = (
    "x-request-id", "retry-after", REPLAYED, "x-prompt-writer", "x-prompt", "x-seed", "x-mode", "x-model",
    "x-ignored-parameters",
)  # fmt: skip
"""What pages of other origins may read."""
_METHODS = ("DELETE", "GET", "POST")
_THIS_MACHINE = r"https?://(localhost|127\.0\.0\.1|\[::1\])(:\d+)?"
"""Pages from elsewhere may call only where the configuration says so: without keys, any page a browser shows could."""


@dataclass(frozen=True)
class Atelier:
    """What routes work with, found at `request.app.state.atelier`."""

    settings: Settings
    models: Roster
    files: PublicStore
    search: DeploymentHandle | None

    @property
    def metrics(self) -> Metrics:
        """What this ingress replica has counted."""
        return self.models.metrics

    @cached_property
    def prompt_writer(self) -> PromptWriter:
        """Titles and descriptions into prompts; one per ingress replica, since it remembers what it wrote."""
        return PromptWriter(self.settings.prompts, self.models)

    @cached_property
    def cache(self) -> Cache:
        """Captions that were made."""
        return open_cache(self.settings)

    @cached_property
    def caption_writer(self) -> CaptionWriter:
        """Pictures into captions; one per ingress replica, since it knows what is being made."""
        return CaptionWriter(self.models, self.cache)

    @cached_property
    def jobs(self) -> Jobs:
        """What this replica is making."""
        return Jobs()

    @cached_property
    def uploads(self) -> Uploads:
        """What was uploaded through this replica and others."""
        return Uploads(self.files)

    @cached_property
    def voices(self) -> Voices:
        """Voices that callers made, and the consents that they rest on."""
        return Voices(self.files)

    @cached_property
    def retention(self) -> Retention:
        """Removes old files while the application runs."""
        return Retention(self.files, self.settings)


def create_app(atelier: Atelier) -> FastAPI:
    """The application over its collaborators."""

    @asynccontextmanager
    async def while_running(_: FastAPI) -> AsyncIterator[None]:
        atelier.retention.start()
        yield
        await asyncio.to_thread(atelier.retention.stop)
        await atelier.cache.close()

    app = _Application(
        title="Atelier",
        summary="Pictures, vision, image search and voices for OpenAI clients, on your own machine.",
        version=_version(),
        docs_url=None,
        redoc_url=None,
        lifespan=while_running,
        # FastAPI's own spans would be of another trace than Ray Serve's, and tell whole queries, signatures included
        telemetry={"tracing": False, "metrics": False, "logs": False},
    )
    add_pages(app)
    app.add_api_route("/", _to_the_description, include_in_schema=False)
    app.state.atelier = atelier
    settings = atelier.settings
    for router in (health, metrics, models, files, flux_files, chat, vision, captions):
        app.include_router(router.router)
    for feature in (
        _Feature(images.router, settings.image_enabled, "IMAGE_ENABLED"),
        _Feature(process.router, settings.image_enabled, "IMAGE_ENABLED"),
        _Feature(jobs.router, settings.image_enabled, "IMAGE_ENABLED"),
        _Feature(voice.router, settings.voice_enabled, "VOICE_ENABLED"),
        _Feature(speech.router, settings.voice_enabled, "VOICE_ENABLED"),
        _Feature(voices.router, settings.voice_enabled, "VOICE_ENABLED"),
        _Feature(search.router, settings.image_search_enabled, "IMAGE_SEARCH_ENABLED"),
        _Feature(embeddings.router, settings.image_search_enabled, "IMAGE_SEARCH_ENABLED"),
    ):
        app.include_router(feature.router if feature.enabled else _switched_off(feature))

    ledger = Ledger(settings.folder / "idempotency", settings.idempotency_max_bytes)
    app.add_middleware(Idempotency, ledger=ledger, max_body=settings.max_content_length)
    latest = [settings.bearer_token] if settings.bearer_token else []
    app.add_middleware(Keys, user=settings.api_keys, admin=settings.admin_keys, latest=latest)
    app.add_middleware(
        _Cors,
        allow_origins=settings.cors_origins,
        allow_origin_regex=_THIS_MACHINE,
        allow_methods=["*"],
        allow_headers=["*"],
        expose_headers=_EXPOSED,
    )
    app.add_middleware(RequestContext)
    app.add_middleware(Measured, metrics=atelier.metrics)
    for kind in (ApiError, HTTPException, ModelError, StoreError):
        app.add_exception_handler(kind, _answer_error)
    return app


async def _to_the_description() -> Response:
    return RedirectResponse("/docs")


class _Application(FastAPI):
    def openapi(self) -> dict[str, Any]:
        if self.openapi_schema is None:
            add_header(super().openapi(), HEADER, DESCRIPTION, makes_something)
            describe(super().openapi())
        return super().openapi()


@dataclass(frozen=True)
class _Feature:
    router: APIRouter
    enabled: bool
    variable: str


def _switched_off(feature: _Feature) -> APIRouter:
    """The feature's routes, each answering 404 `feature_disabled`."""

    async def refuse() -> None:
        raise ApiError(404, f"this feature is switched off ({feature.variable}=0)", code="feature_disabled")

    router = APIRouter(include_in_schema=False)
    for route in feature.router.routes:
        if isinstance(route, APIRoute):
            router.add_api_route(route.path, refuse, methods=sorted(route.methods or ()))
    return router


class _Cors(CORSMiddleware):
    """Starlette's, whose refusals are plain text."""

    def preflight_response(self, request_headers: Headers) -> Response:
        allowed = super().preflight_response(request_headers)
        if allowed.status_code < 400:
            return allowed
        asked = f"{request_headers['origin']} {request_headers['access-control-request-method']}"
        refusal = ApiError(403, f"pages of this origin may not call here: {asked[:200]}", code="origin_not_allowed")
        refusal.headers["Vary"] = "Origin"
        return response(refusal, "")


def _has_route(request: Request, method: str) -> bool:
    asked = {**request.scope, "method": method}
    return any(route.matches(asked)[0] == Match.FULL for route in request.app.routes)


async def _answer_error(request: Request, error: Exception) -> Response:
    if isinstance(error, HTTPException) and error.status_code == HTTPStatus.METHOD_NOT_ALLOWED:
        # Starlette names the methods of the first route of this path only
        methods = [method for method in _METHODS if _has_route(request, method)]
        error = HTTPException(error.status_code, headers={"Allow": ", ".join(methods)})
    told = from_exception(error)
    if isinstance(error, StoreError) and told.status >= HTTPStatus.INTERNAL_SERVER_ERROR:
        request.app.state.atelier.metrics.store_failed(told.code or "STORE_FAILED")
    return response(told, request.url.path)


def _version() -> str:
    try:
        return version("atelier")
    except PackageNotFoundError:
        return "0.1.0"
