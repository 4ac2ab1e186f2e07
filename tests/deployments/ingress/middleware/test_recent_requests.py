"""The list of recent requests: whose they are, and what is not on it."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import httpx

from tests.deployments.apps import client, make_app

KEYS = {"ATELIER_API_KEYS": "one,two", "ATELIER_ADMIN_KEYS": "boss"}


async def listed(http: httpx.AsyncClient, key: str = "") -> list[dict[str, Any]]:
    answer = await http.get("/v1/system/requests", headers=bearer(key))
    found: list[dict[str, Any]] = answer.raise_for_status().json()["requests"]
    return found


def bearer(key: str) -> dict[str, str]:
    return {"Authorization": f"Bearer {key}"} if key else {}


async def test_each_key_sees_its_own_requests_and_an_admin_all_of_them(tmp_path: Path) -> None:
    async with client(make_app(tmp_path, KEYS)) as http:
        for key in ("one", "two", "wrong"):
            await http.get("/v1/nowhere?secret=1", headers={**bearer(key), "x-request-id": f"of-{key}"})
        (own,) = await listed(http, "one")
        assert own.pop("at") > 1e9
        assert own.pop("seconds") >= 0
        path = "/v1/nowhere"
        assert own == {"id": "of-one", "method": "GET", "path": path, "status": 404, "model": None}
        everybodys = await listed(http, "boss")
        assert [each["id"] for each in everybodys] == ["of-two", "of-one"]  # newest first, and none of no key
        assert len({each["caller"] for each in everybodys}) == 2


async def test_looking_is_not_listed_and_the_list_has_an_end(tmp_path: Path) -> None:
    async with client(make_app(tmp_path)) as http:
        for path in ("/", "/healthz", "/metrics", "/v1/models/clip", "/v1/system/requests"):
            await http.get(path)
        assert await listed(http) == []
        for i in range(120):
            await http.get("/v1/nowhere", headers={"x-request-id": f"r{i}"})
        found = await listed(http)
    assert [each["id"] for each in found] == [f"r{i}" for i in range(119, 19, -1)]
