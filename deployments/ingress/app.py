"""The ASGI application: middleware, error handlers and one router per family."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from http import HTTPStatus
from typing import Any

from fastapi import APIRouter, FastAPI
from fastapi.routing import APIRoute
from starlette.datastructures import Headers
from starlette.exceptions import HTTPException
from starlette.middleware.cors import CORSMiddleware
from starlette.requests import Request
from starlette.responses import JSONResponse, Response
from starlette.routing import Match
from starlette.types import ASGIApp, Receive, Scope, Send

from deployments.executors import ExecutorFull
from deployments.ingress.dependencies import Atelier
from deployments.ingress.errors import ApiError, envelope, from_exception, response
from deployments.ingress.metrics import Measured
from deployments.ingress.middleware.authentication import Keys
from deployments.ingress.middleware.bodies import Bodies, room_of_this_machine
from deployments.ingress.middleware.caller_limits import RATE_HEADERS, CallerLimits
from deployments.ingress.middleware.idempotency import (
    DESCRIPTION,
    HEADER,
    REPLAYED,
    Idempotency,
    takes_key,
)
from deployments.ingress.middleware.paths import Paths
from deployments.ingress.middleware.request_context import RequestContext
from deployments.ingress.openapi import add_header, add_pages, describe
from deployments.ingress.policy import apply, policy_of
from deployments.ingress.prefer import DESCRIPTION as PREFER_DESCRIPTION
from deployments.ingress.prefer import HEADER as PREFER
from deployments.ingress.routes import FAMILIES, Family
from deployments.ingress.routes.images import MAY_OUTLIVE
from deployments.ingress.services.publishing import base_url
from deployments.names import look_up_apart
from models.errors import ModelError
from settings.version import version
from stores.errors import StoreError

_EXPOSED = (
    "x-request-id", "request-id", "retry-after", "location", "preference-applied", REPLAYED, "x-prompt-writer",
    "x-prompt", "x-seed", "x-mode", "x-model", "x-ignored-parameters", "x-truncated", *RATE_HEADERS,
)  # fmt: skip
"""What pages of other origins may read."""
_METHODS = ("DELETE", "GET", "POST")
_HARMLESS = ("GET", "HEAD", "OPTIONS")
_THIS_MACHINE = (
    r"https?://(([a-z0-9-]+\.)*localhost|127\.0\.0\.1|\[::1\])(:\d+)?"
    r"|(app|tauri|capacitor|file|vscode-webview)://[^/]*"
)
"""Pages of this machine, and of programs installed on it, which no web page can pretend to be.

Pages from elsewhere may call only where the configuration says so: without keys, any page a browser shows could.
"""


def create_app(atelier: Atelier) -> FastAPI:
    """The application over its collaborators."""

    @asynccontextmanager
    async def while_running(_: FastAPI) -> AsyncIterator[None]:
        look_up_apart(asyncio.get_running_loop())
        async with atelier.running():
            yield

    app = _Application(
        title="Atelier",
        summary="Pictures, vision, image search and voices for OpenAI clients, on your own machine.",
        version=version(),
        docs_url=None,
        redoc_url=None,
        redirect_slashes=False,
        lifespan=while_running,
        # FastAPI's own spans would be of another trace than Ray Serve's, and show whole queries, signatures included
        telemetry={"tracing": False, "metrics": False, "logs": False},
    )
    add_pages(app)
    app.state.atelier = atelier
    settings = atelier.settings
    for family in FAMILIES:
        is_enabled = family.feature is None or getattr(settings, family.feature)
        for route in family.router.routes:
            apply(route.endpoint, family.policy)  # type: ignore[attr-defined]  # a router has nothing but routes
        # not `include_router`, which hides the routes from who looks for the one that a request matches
        app.router.routes.extend((family.router if is_enabled else _switched_off(family)).routes)

    app.add_middleware(_Heads)
    app.add_middleware(Idempotency, ledger=atelier.ledger, max_body=settings.max_content_length)
    app.add_middleware(
        Bodies,
        most_bytes=settings.bodies_max_bytes or room_of_this_machine(),
        max_body=settings.max_content_length,
    )
    app.add_middleware(CallerLimits, trusted_proxies=settings.trusted_proxies, counts=atelier.counts)
    app.add_middleware(Keys, access=atelier.access)
    app.add_middleware(
        _Cors,
        allow_origins=settings.cors_origins,
        allow_origin_regex=_THIS_MACHINE,
        allow_methods=["*"],
        allow_headers=["*"],
        expose_headers=_EXPOSED,
    )
    app.add_middleware(RequestContext, recent=atelier.recent_requests)
    app.add_middleware(Measured, metrics=atelier.metrics)
    app.add_middleware(Paths)
    for kind in (ApiError, ExecutorFull, HTTPException, ModelError, StoreError):
        app.add_exception_handler(kind, _answer_error)
    return app


class _Application(FastAPI):
    def openapi(self) -> dict[str, Any]:
        if self.openapi_schema is None:
            add_header(super().openapi(), HEADER, DESCRIPTION, self._takes_key)
            add_header(super().openapi(), PREFER, PREFER_DESCRIPTION, lambda _, path: path in MAY_OUTLIVE)
            describe(super().openapi())
        return super().openapi()

    def _takes_key(self, method: str, path: str) -> bool:
        asked = {"type": "http", "method": method, "path": path, "app": self, "headers": []}
        return takes_key(method, policy_of(asked))


def _switched_off(family: Family) -> APIRouter:
    """The family's routes, each answering 404 `feature_disabled`."""

    router = APIRouter(include_in_schema=False)
    for route in family.router.routes:
        if isinstance(route, APIRoute):
            refuse = _refusal(family)
            apply(refuse, family.policy, like=route.endpoint)
            router.add_api_route(route.path, refuse, methods=sorted(route.methods or ()))
    return router


def _refusal(family: Family) -> Callable[[], Awaitable[None]]:
    async def refuse() -> None:
        variable = str(family.feature).upper()
        raise ApiError(404, f"this feature is switched off ({variable}=0)", code="feature_disabled")

    return refuse


class _Heads:
    """Answers HEAD as GET where a route has only GET (RFC 9110, 9.3.2); the HTTP server sends no body to HEAD."""

    def __init__(self, app: ASGIApp) -> None:
        self.app = app

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        is_head = scope["type"] == "http" and scope["method"] == "HEAD"
        if is_head and not _has_route(Request(scope), "HEAD") and _has_route(Request(scope), "GET"):
            scope = {**scope, "method": "GET"}
        await self.app(scope, receive, send)


class _Cors(CORSMiddleware):
    """Starlette's, whose refusals are plain text and whose care ends with what browsers ask for beforehand.

    They do not ask before they send a form, so a page from elsewhere could make an open server work, or forget.
    """

    def preflight_response(self, request_headers: Headers) -> Response:
        allowed = super().preflight_response(request_headers)
        if allowed.status_code < 400:
            return allowed
        return _origin_refused(request_headers["origin"], request_headers["access-control-request-method"])

    async def simple_response(self, scope: Scope, receive: Receive, send: Send, request_headers: Headers) -> None:
        if scope["method"] not in _HARMLESS and (origin := request_headers.get("origin")):
            of_server = {
                request_headers.get("host"),
                _host(base_url(Request(scope), scope["app"].state.atelier.settings)),
            }
            if not self.is_allowed_origin(origin) and _host(origin) not in of_server:
                await _origin_refused(origin, scope["method"])(scope, receive, send)
                return
        await super().simple_response(scope, receive, send, request_headers)


def _host(url: str) -> str:
    return url.partition("://")[2].partition("/")[0]


def _origin_refused(origin: str, method: str) -> Response:
    message = f"pages of this origin may not call here: {f'{origin} {method}'[:200]}; ATELIER_CORS_ORIGINS allows some"
    refusal = ApiError(403, message, code="origin_not_allowed")
    return JSONResponse(envelope(refusal), status_code=refusal.status, headers={"Vary": "Origin"})


def _has_route(request: Request, method: str) -> bool:
    asked = {**request.scope, "method": method}
    return any(route.matches(asked)[0] == Match.FULL for route in request.app.routes)


async def _answer_error(request: Request, error: Exception) -> Response:
    if isinstance(error, HTTPException) and error.status_code == HTTPStatus.METHOD_NOT_ALLOWED:
        # Starlette names the methods of the first route of this path only
        methods = {method for method in _METHODS if _has_route(request, method)}
        if "GET" in methods:
            methods.add("HEAD")
        error = HTTPException(error.status_code, headers={"Allow": ", ".join(sorted(methods))})
    answer = from_exception(error)
    if isinstance(error, StoreError) and answer.status >= HTTPStatus.INTERNAL_SERVER_ERROR:
        request.app.state.atelier.metrics.store_failed(answer.code or "STORE_FAILED")
    return response(answer, request.scope)
