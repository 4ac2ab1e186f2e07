"""Around every request: its id, its log line, its keys, and the envelope for whatever nobody caught."""

from __future__ import annotations

import logging
import re
import time
import uuid
from collections.abc import Iterable
from contextvars import ContextVar
from urllib.parse import quote

from starlette.datastructures import Headers, MutableHeaders
from starlette.requests import ClientDisconnect
from starlette.responses import Response
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from deployments import serve_internals, tracing
from deployments.ingress.errors import from_exception, let_go, response
from deployments.ingress.middleware.access import Caller
from deployments.ingress.middleware.recent_requests import RecentRequests
from deployments.ingress.policy import policy_of
from models.memory import is_panic

logger = logging.getLogger("ray.serve")

_SANE_ID = re.compile(r"[A-Za-z0-9._:-]{1,128}")
_NO_ROUTE = "none"
_noted: ContextVar[dict[str, str] | None] = ContextVar("noted", default=None)


class RequestContext:
    """Gives every response an `x-request-id`, and every error that nothing else caught the envelope.

    Ray Serve writes an id into requests that bring none, and repeats it in the response by itself; a second header
    would reach clients as "id, id". What is added here is the id of a request whose own was not fit to be repeated.
    """

    def __init__(self, app: ASGIApp, recent: RecentRequests | None = None) -> None:
        self.app = app
        self._recent = recent or RecentRequests()

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
        serve_internals.begin_request(request_id, route_of(scope))
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
                if policy_of(scope).errors == "anthropic":
                    headers["request-id"] = request_id
                headers["openai-processing-ms"] = str(round((time.perf_counter() - begun) * 1000))
                headers.raw.extend(ignored_parameters(scope))
            await send(message)

        with tracing.request_span() as span:
            try:
                await self.app(scope, receive, send_with_headers)
            except ClientDisconnect:
                logger.info("%s: the client left before its request was complete", request_id)
            except BaseException as error:
                if not isinstance(error, Exception) and not is_panic(error):
                    raise  # it is cancelled, or the process ends
                if status:  # too late for another answer: the server closes the connection
                    raise
                await _answer_to(error, scope)(scope, receive, send_with_headers)
            finally:
                milliseconds = (time.perf_counter() - begun) * 1000
                fields = {"method": scope["method"], "route": route_of(scope), "status": status, **noted}
                caller: Caller | None = state.get("caller")
                self._recent.note(scope, status, milliseconds / 1000, noted.get("model"))
                if caller and caller.owner and caller.scope:
                    fields["caller"] = caller.owner
                span.update_name(f"{scope['method']} {fields['route']}")
                span.set_attributes({f"atelier.{name}": value for name, value in fields.items()})
                logger.info(
                    "%s %s %s %.1fms %s",
                    scope["method"], quote(scope["path"]), status, milliseconds, request_id,
                    extra={**fields, "milliseconds": round(milliseconds, 1)},
                )  # fmt: skip


def _answer_to(error: BaseException, scope: Scope) -> Response:
    try:
        return response(from_exception(error), scope)
    except MemoryError as another:  # there was none for the log line either; what the request held is free now
        let_go(another)
        return response(from_exception(MemoryError()), scope)


def note_model(alias: str) -> None:
    """Say in the current request's log line and span which model it is for."""
    if (noted := _noted.get()) is not None:
        noted["model"] = alias


def route_of(scope: Scope) -> str:
    """The template of a request's route, wherever the request was answered; `none` where none takes path and method."""
    state: dict[str, str] = scope.setdefault("state", {})
    if "route" not in state:
        asked = {**scope, "method": "GET"} if scope["method"] == "HEAD" else scope
        state["route"] = serve_internals.route_template(scope["app"], asked) or _NO_ROUTE
    return state["route"]


def ignored_parameters(scope: Scope) -> list[tuple[bytes, bytes]]:
    """The header that names the unknown fields which a request's body had; none when there were none."""
    names = scope.get("state", {}).get("ignored_parameters")
    return [(b"x-ignored-parameters", ", ".join(_header_safe(names)).encode())] if names else []


def _header_safe(names: Iterable[str]) -> list[str]:
    return [re.sub(r"[^\x21-\x7e]", "?", name)[:64] for name in names]
