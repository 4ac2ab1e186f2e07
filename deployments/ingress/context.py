"""Around every request: its id, its log line, its keys, and the envelope for whatever nobody caught."""

from __future__ import annotations

import hashlib
import hmac
import logging
import re
import time
import uuid
from collections.abc import Iterable
from contextvars import ContextVar
from dataclasses import replace
from urllib.parse import quote

from pydantic import SecretStr
from ray.serve._private.thirdparty.get_asgi_route_name import get_asgi_route_name
from ray.serve.context import _get_serve_request_context, _serve_request_context
from starlette.datastructures import Headers, MutableHeaders
from starlette.requests import ClientDisconnect
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from deployments import tracing
from deployments.ingress.errors import ApiError, from_exception, response

logger = logging.getLogger("ray.serve")

_SANE_ID = re.compile(r"[A-Za-z0-9._:-]{1,128}")
_OPEN = ("/healthz", "/readyz", "/files/", "/i/", "/static/")
_LATEST = ("/latest",)
_NO_ROUTE = "none"
_noted: ContextVar[dict[str, str] | None] = ContextVar("noted", default=None)
_ADMIN = ("/v1/system/evict", "/v1/system/load", "/api/admin")


class RequestContext:
    """Gives every response an `x-request-id`, and every error that nothing else caught the envelope.

    Ray Serve writes an id into requests that bring none, and repeats it in the response by itself; a second header
    would reach clients as "id, id". What is added here is the id of a request whose own was not fit to be repeated.
    """

    def __init__(self, app: ASGIApp) -> None:
        self.app = app

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Serve one connection."""
        if scope["type"] != "http":
            await self.app(scope, receive, send)
            return
        given = Headers(scope=scope).get("x-request-id", "")
        is_sane = _SANE_ID.fullmatch(given) is not None
        request_id = given if is_sane else uuid.uuid4().hex
        state = scope.setdefault("state", {})
        # what log lines bear, here and in the models' replicas; behind Serve's proxy, Serve does not know the route
        known = replace(_get_serve_request_context(), request_id=request_id, route=route_of(scope))
        _serve_request_context.set(known)
        state["request_id"] = request_id
        noted: dict[str, str] = {}
        _noted.set(noted)
        begun = time.perf_counter()
        status = 0

        async def send_with_headers(message: Message) -> None:
            nonlocal status
            if message["type"] == "http.response.start":
                status = message["status"]
                headers = MutableHeaders(scope=message)
                if not is_sane:
                    headers["x-request-id"] = request_id
                headers["openai-processing-ms"] = str(round((time.perf_counter() - begun) * 1000))
                headers.raw.extend(ignored_parameters(scope))
            await send(message)

        with tracing.request_span() as span:
            try:
                await self.app(scope, receive, send_with_headers)
            except ClientDisconnect:
                logger.info("%s: the client left before its request was complete", request_id)
            except Exception as error:
                if status:  # too late for another answer: the server closes the connection
                    raise
                await response(from_exception(error), scope["path"])(scope, receive, send_with_headers)
            finally:
                milliseconds = (time.perf_counter() - begun) * 1000
                told = {"method": scope["method"], "route": route_of(scope), "status": status, **noted}
                if caller := state.get("caller"):
                    told["caller"] = caller
                span.update_name(f"{scope['method']} {told['route']}")
                span.set_attributes({f"atelier.{name}": value for name, value in told.items()})
                logger.info(
                    "%s %s %s %.1fms %s",
                    scope["method"], quote(scope["path"]), status, milliseconds, request_id,
                    extra={**told, "milliseconds": round(milliseconds, 1)},
                )  # fmt: skip


class Keys:
    """Lets in who has a key; open to all while no key is configured (API.md section 1, "Auth").

    `latest` are keys of `/latest` alone, which asks for one as soon as there is a key of any kind (section 3C).
    """

    def __init__(
        self, app: ASGIApp, user: Iterable[SecretStr], admin: Iterable[SecretStr], latest: Iterable[SecretStr] = ()
    ) -> None:
        self.app = app
        self._admin = [key.get_secret_value().encode() for key in admin]
        self._any = [key.get_secret_value().encode() for key in user] + self._admin
        self._latest = [key.get_secret_value().encode() for key in latest] + self._any

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Serve one connection."""
        refusal = self._refusal(scope) if scope["type"] == "http" else None
        if refusal is None:
            if self._any and scope["type"] == "http" and (given := given_key(Headers(scope=scope))):
                scope.setdefault("state", {})["caller"] = digest_of(given)
            await self.app(scope, receive, send)
        else:
            await response(refusal, scope["path"])(scope, receive, send)

    def _refusal(self, scope: Scope) -> ApiError | None:
        path: str = scope["path"]
        if path == "/" or path.startswith(_OPEN) or scope["method"] == "OPTIONS":
            return None
        given = given_key(Headers(scope=scope))
        if path.startswith(_LATEST) and given and self._latest:
            is_right = _among(given.encode(), self._latest)
            return None if is_right else ApiError(403, "the API key is not valid here", code="invalid_api_key")
        if not (self._latest if path.startswith(_LATEST) else self._any):
            return None
        if not _among(given.encode(), self._any):
            message = "the API key is not valid" if given else "an API key is needed: Authorization: Bearer KEY"
            return ApiError(401, message, code="invalid_api_key", headers={"WWW-Authenticate": "Bearer"})
        for_admins = path.startswith(_ADMIN) or (scope["method"] == "DELETE" and _is_project(path))
        if for_admins and not _among(given.encode(), self._admin):
            return ApiError(403, "this key's scope does not reach here; an admin key is needed", code="forbidden")
        return None


def given_key(headers: Headers) -> str:
    """The API key that a request brings, valid or not; empty when it brings none."""
    scheme, _, bearer = headers.get("authorization", "").partition(" ")
    return bearer.strip() if scheme.lower() == "bearer" and bearer else headers.get("x-api-key", "")


def digest_of(key: str) -> str:
    """What names a caller in logs and records without telling their key."""
    return hashlib.sha256(key.encode()).hexdigest()[:32]


def note_model(alias: str) -> None:
    """Say in the current request's log line and span which model it is for."""
    if (noted := _noted.get()) is not None:
        noted["model"] = alias


def route_of(scope: Scope) -> str:
    """The template of a request's route, wherever the request was answered; `none` where none takes path and method."""
    state: dict[str, str] = scope.setdefault("state", {})
    if "route" not in state:
        state["route"] = get_asgi_route_name(scope["app"], scope) or _NO_ROUTE
    return state["route"]


def is_among(given: str, keys: Iterable[SecretStr]) -> bool:
    """Whether a key is one of the configured ones, in a time that tells nothing of them."""
    return _among(given.encode(), [key.get_secret_value().encode() for key in keys])


def ignored_parameters(scope: Scope) -> list[tuple[bytes, bytes]]:
    """The header that names the unknown fields which a request's body had; none when there were none."""
    names = scope.get("state", {}).get("ignored_parameters")
    return [(b"x-ignored-parameters", ", ".join(_header_safe(names)).encode())] if names else []


def _among(given: bytes, keys: Iterable[bytes]) -> bool:
    found = False
    for key in keys:  # all are compared, so that the time tells nothing
        found |= hmac.compare_digest(given, key)
    return found


def _is_project(path: str) -> bool:
    return re.fullmatch(r"/v1/projects/[^/]+/?", path) is not None


def _header_safe(names: Iterable[str]) -> list[str]:
    return [re.sub(r"[^\x21-\x7e]", "?", name)[:64] for name in names]
