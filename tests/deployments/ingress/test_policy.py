"""What holds for each route, however its path is spelled and whatever prefix the application has."""

from __future__ import annotations

from collections.abc import AsyncIterator
from pathlib import Path

import httpx
import pytest
from fastapi import FastAPI
from starlette.routing import Mount, Route

from deployments.ingress.policy import Policy, has_policy, policy, policy_of
from tests.deployments.apps import make_app

USER, ADMIN = {"Authorization": "Bearer user-key"}, {"Authorization": "Bearer admin-key"}
KEYS = {"ATELIER_API_KEYS": "user-key", "ATELIER_ADMIN_KEYS": "admin-key"}
FOR_ADMINS = {
    ("POST", "/v1/system/load/{alias}"),
    ("POST", "/v1/system/evict/{alias}"),
    ("POST", "/api/admin/reset-cache"),
    ("POST", "/api/admin/search/gc"),
    ("GET", "/api/admin/search/backups"),
    ("POST", "/api/admin/search/backup"),
    ("POST", "/api/admin/search/restore"),
    ("DELETE", "/v1/projects/{project_id}"),
}
FOR_ANYONE = {"/studio/{version}/{name:path}", "/", "/healthz", "/readyz", "/files/{key:path}", "/i/{fid:path}"}
DESCRIPTION = {"/docs", "/redoc", "/openapi.json"}


@pytest.fixture(params=["", "/ai", "/ai/v1"])
async def http(request: pytest.FixtureRequest, tmp_path: Path) -> AsyncIterator[httpx.AsyncClient]:
    """A client of the server with keys, which stands under a prefix."""
    transport = httpx.ASGITransport(make_app(tmp_path, KEYS), root_path=request.param)
    async with httpx.AsyncClient(transport=transport, base_url=f"http://test{request.param}") as client:
        yield client


def policies(app: FastAPI) -> dict[tuple[str, str], Policy]:
    found = {}
    for route in app.routes:
        if isinstance(route, Route) and route.path not in DESCRIPTION:
            assert has_policy(route.endpoint), route.path
            for method in route.methods or ():
                found[method, route.path] = getattr(route.endpoint, "__policy__")  # noqa: B009
    return found


def test_every_route_has_a_policy_and_few_are_open_or_for_admins(tmp_path: Path) -> None:
    found = policies(make_app(tmp_path))
    assert {route for route, policy in found.items() if policy.audience == "admins"} == FOR_ADMINS
    assert {path for (_, path), policy in found.items() if policy.audience == "anyone"} == FOR_ANYONE
    assert {path for (_, path), policy in found.items() if policy.audience == "readers of /latest"} == {
        "/latest",
        "/latest/raw",
    }
    assert sum(isinstance(route, Mount) for route in make_app(tmp_path).routes) == 1  # the scripts of /docs


@pytest.mark.parametrize(("method", "path"), sorted(FOR_ADMINS))
async def test_what_admins_do_needs_an_admin_key_under_any_prefix(
    http: httpx.AsyncClient, method: str, path: str
) -> None:
    path = path.replace("{alias}", "clip").replace("{project_id}", "p")
    assert (await http.request(method, path)).status_code == 401
    refused = await http.request(method, path, headers=USER)
    assert (refused.status_code, refused.json()["error"]["code"]) == (403, "forbidden")
    assert (await http.request(method, path, headers=ADMIN)).status_code not in (401, 403)


@pytest.mark.parametrize(
    "path",
    [
        "//v1/system/evict/clip", "/v1//system/evict/clip", "/v1/system/evict/clip/", "/v1/system/./evict/clip",
        "/V1/System/Evict/clip", "/v1/system%2Fevict/clip", "/v1/x/../system/evict/clip", "/v1/system/evict%2Fclip",
    ],
)  # fmt: skip
async def test_no_spelling_of_a_path_leads_a_user_to_what_admins_do(http: httpx.AsyncClient, path: str) -> None:
    url = http.base_url.copy_with(raw_path=(http.base_url.path.rstrip("/") + path).encode())
    assert (await http.post(url, headers=USER)).status_code in (307, 403, 404, 405)


async def test_health_needs_no_key_under_any_prefix_and_what_is_not_there_does(http: httpx.AsyncClient) -> None:
    assert (await http.get("/healthz")).status_code == 200
    assert (await http.head("/healthz")).status_code == 200
    assert (await http.get("/i/nothing")).status_code == 404
    assert (await http.get("/nowhere")).status_code == 401
    assert (await http.get("/nowhere", headers=USER)).status_code == 404
    assert (await http.get("/v1/vision/tasks")).status_code == 401
    assert (await http.get("/v1/vision/tasks", headers=USER)).status_code == 200


async def test_errors_have_what_a_familys_clients_read_under_any_prefix(http: httpx.AsyncClient) -> None:
    on_top = (await http.post("/v1/vision/analyze", json={}, headers=USER)).json()
    assert on_top["detail"] == on_top["error"]["message"]
    inside = (await http.get("/v1/images", headers=USER)).json()
    assert inside["error"]["detail"] == inside["error"]["message"]
    plain = (await http.post("/v1/images/generations", json={}, headers=USER)).json()
    assert plain.keys() == {"error"}
    assert "detail" not in plain["error"]


async def test_a_key_for_repetition_is_read_where_something_is_made_under_any_prefix(http: httpx.AsyncClient) -> None:
    wrong = {**ADMIN, "Idempotency-Key": "with a space"}
    assert (await http.post("/upload", headers=wrong)).status_code == 400
    assert (await http.post("/v1/system/evict/clip", headers=wrong)).status_code != 400


def test_a_decorator_with_a_wrong_field_fails_at_once() -> None:
    with pytest.raises(TypeError):
        policy(audienec="admins")


def test_a_path_that_no_route_has_is_for_users(tmp_path: Path) -> None:
    scope = {"type": "http", "method": "GET", "path": "/nowhere", "headers": [], "app": make_app(tmp_path)}
    assert policy_of(scope) == Policy("users")
