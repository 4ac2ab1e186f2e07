"""What surrounds every request: ids, keys, and errors that nobody caught."""

from __future__ import annotations

import logging
import weakref
from collections.abc import Awaitable, Callable
from pathlib import Path

import httpx
import pytest
from ray.serve._private.http_util import RequestIdMiddleware
from starlette.applications import Starlette
from starlette.middleware import Middleware
from starlette.requests import Request
from starlette.responses import PlainTextResponse, Response
from starlette.routing import Route

from deployments.ingress.middleware.access import Access
from deployments.ingress.middleware.authentication import Keys
from deployments.ingress.middleware.request_context import RequestContext
from deployments.ingress.policy import Policy, apply
from tests.deployments.apps import settings_of

USER, ADMIN = {"Authorization": "Bearer user-key"}, {"Authorization": "bearer admin-key"}


async def hello(request: Request) -> Response:
    return PlainTextResponse(request.state.request_id)


def hello_under(policy: Policy) -> Callable[[Request], Awaitable[Response]]:
    async def endpoint(request: Request) -> Response:
        return await hello(request)

    apply(endpoint, policy)
    return endpoint


async def broken(_request: Request) -> Response:
    raise RuntimeError("a secret path: /root/x")


class Held:
    """What can be made to leave."""


held: list[weakref.ref[Held]] = []


async def too_large(_request: Request) -> Response:
    body = Held()
    held.append(weakref.ref(body))
    raise MemoryError


def client(home: Path, *, with_keys: bool = True) -> httpx.AsyncClient:
    for_anyone, for_admins = hello_under(Policy("anyone")), hello_under(Policy("admins"))
    routes = [
        Route("/v1/models", hello),
        Route("/healthz", for_anyone),
        Route("/", for_anyone),
        Route("/v1/system/evict/clip", for_admins, methods=["POST"]),
        Route("/v1/projects/p", for_admins, methods=["DELETE"]),
        Route("/v1/projects/p/images/1", hello, methods=["DELETE"]),
    ]
    keys = {"ATELIER_API_KEYS": "user-key", "ATELIER_ADMIN_KEYS": "admin-key"} if with_keys else {}
    access = Access(settings_of(home, keys))
    middleware = [Middleware(RequestIdMiddleware), Middleware(RequestContext), Middleware(Keys, access=access)]
    app = Starlette(
        routes=[*routes, Route("/v1/broken", broken), Route("/v1/too-large", too_large)], middleware=middleware
    )
    return httpx.AsyncClient(transport=httpx.ASGITransport(app), base_url="http://test")


async def test_every_response_has_an_id_and_a_sane_one_of_the_caller_is_kept(tmp_path: Path) -> None:
    async with client(tmp_path, with_keys=False) as c:
        own = await c.get("/v1/models")
        assert own.text == own.headers["x-request-id"]
        assert len(own.text) > 20
        given = await c.get("/v1/models", headers={"x-request-id": "trace-1"})
        assert given.headers["x-request-id"] == "trace-1"
        insane = await c.get("/v1/models", headers={"x-request-id": "a b\t<script>"})
        assert insane.text != "a b\t<script>"


async def test_an_error_that_nobody_caught_is_an_envelope_with_an_id_and_without_its_text(tmp_path: Path) -> None:
    async with client(tmp_path, with_keys=False) as c:
        answer = await c.get("/v1/broken")
    assert answer.status_code == 500
    assert answer.json()["error"]["type"] == "server_error"
    assert "secret" not in answer.text
    assert answer.headers["x-request-id"]


async def test_no_key_configured_means_open_to_any_key(tmp_path: Path) -> None:
    async with client(tmp_path, with_keys=False) as c:
        assert (await c.get("/v1/models", headers={"Authorization": "Bearer anything"})).status_code == 200
        assert (await c.get("/v1/models")).status_code == 200


@pytest.mark.parametrize(
    "headers", [{}, {"Authorization": "Bearer nope"}, {"Authorization": "Basic user-key"}, {"X-API-Key": ""}]
)
async def test_no_key_or_a_wrong_one_is_401(tmp_path: Path, headers: dict[str, str]) -> None:
    async with client(tmp_path) as c:
        answer = await c.get("/v1/models", headers=headers)
    assert answer.status_code == 401
    assert answer.json()["error"]["code"] == "invalid_api_key"
    assert answer.headers["www-authenticate"] == "Bearer"


@pytest.mark.parametrize("headers", [USER, ADMIN, {"X-API-Key": "user-key"}, {"Authorization": "BEARER user-key"}])
async def test_a_right_key_is_let_in_however_it_is_sent(tmp_path: Path, headers: dict[str, str]) -> None:
    async with client(tmp_path) as c:
        assert (await c.get("/v1/models", headers=headers)).status_code == 200


async def test_health_and_the_front_page_need_no_key(tmp_path: Path) -> None:
    async with client(tmp_path) as c:
        assert (await c.get("/healthz")).status_code == 200
        assert (await c.get("/")).status_code == 200


@pytest.mark.parametrize(("method", "path"), [("POST", "/v1/system/evict/clip"), ("DELETE", "/v1/projects/p")])
async def test_what_admins_do_needs_an_admin_key(tmp_path: Path, method: str, path: str) -> None:
    async with client(tmp_path) as c:
        assert (await c.request(method, path, headers=USER)).status_code == 403
        assert (await c.request(method, path, headers=ADMIN)).status_code == 200


async def test_a_user_may_delete_a_picture(tmp_path: Path) -> None:
    async with client(tmp_path) as c:
        assert (await c.delete("/v1/projects/p/images/1", headers=USER)).status_code == 200


async def test_without_memory_what_the_request_held_is_let_go_before_it_is_answered(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    at_the_log: list[Held | None] = []

    def look(record: logging.LogRecord) -> bool:
        if record.getMessage() == "there was no memory for a request":
            at_the_log.append(held[-1]())
            if len(at_the_log) == 1:
                raise MemoryError  # there is none for the first line of the log either
        return True

    logger = logging.getLogger("ray.serve")
    logger.addFilter(look)
    try:
        async with client(tmp_path, with_keys=False) as c:
            answer = await c.get("/v1/too-large")
    finally:
        logger.removeFilter(look)
    assert (answer.status_code, answer.json()["error"]["code"]) == (503, "OUT_OF_MEMORY")
    assert answer.headers["retry-after"] == "10"
    assert at_the_log == [None, None]
