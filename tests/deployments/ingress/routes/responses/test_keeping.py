"""Kept responses: for whom, until when, and how they are listed."""

from __future__ import annotations

import asyncio
import sqlite3
from contextlib import closing
from pathlib import Path
from typing import Any

import httpx
import pytest

from stores.responses import Responses, open_file
from tests.deployments.apps import client, fault, listening
from tests.deployments.ingress.routes.responses.played import Stage, app_over

KEYS = {"ATELIER_API_KEYS": "ann,bob", "ATELIER_ADMIN_KEYS": "root"}


def of(key: str) -> dict[str, str]:
    return {"Authorization": f"Bearer {key}"}


async def made(http: httpx.AsyncClient, **body: Any) -> dict[str, Any]:
    answer = await http.post("/v1/responses", json={"model": "chat", "input": "Hi", **body})
    assert answer.status_code == 200, answer.text
    response: dict[str, Any] = answer.json()
    return response


async def test_a_response_is_had_again_as_it_was_until_it_is_deleted(http: httpx.AsyncClient, stage: Stage) -> None:
    response = await made(http, metadata={"a": "é"})
    url = f"/v1/responses/{response['id']}"
    assert (await http.get(url)).json() == response
    assert (await http.post(f"{url}/cancel")).json() == response
    assert (await http.delete(url)).json() == {"id": response["id"], "object": "response", "deleted": True}
    for method, path in (("GET", ""), ("DELETE", ""), ("POST", "/cancel"), ("GET", "/input_items")):
        assert fault(await http.request(method, f"{url}{path}")) == (404, "response_not_found", "response_id")
    gone = await http.post("/v1/responses", json={"model": "chat", "input": "Hi", "previous_response_id": "resp_1"})
    assert fault(gone) == (404, "previous_response_not_found", "previous_response_id")
    item = {"type": "item_reference", "id": response["output"][0]["id"]}
    reference = await http.post("/v1/responses", json={"model": "chat", "input": [item]})
    assert fault(reference) == (404, "item_not_found", "input[0].id")


async def test_a_conversation_whose_beginning_is_deleted_is_not_answered_without_it(
    http: httpx.AsyncClient, stage: Stage
) -> None:
    first = await made(http)
    second = await made(http, previous_response_id=first["id"])
    await http.delete(f"/v1/responses/{first['id']}")
    body = {"model": "chat", "input": "Hi", "previous_response_id": second["id"]}
    assert fault(await http.post("/v1/responses", json=body)) == (
        404, "previous_response_not_found", "previous_response_id",
    )  # fmt: skip
    assert len(stage.jobs) == 2


async def test_what_is_not_to_be_stored_is_not(http: httpx.AsyncClient, stage: Stage) -> None:
    response = await made(http, store=False)
    assert response["store"] is False
    assert (await http.get(f"/v1/responses/{response['id']}")).status_code == 404


async def test_a_loop_of_responses_is_found(http: httpx.AsyncClient, stage: Stage, tmp_path: Path) -> None:
    first = await made(http)
    second = await made(http, previous_response_id=first["id"])
    with closing(sqlite3.connect(tmp_path / "responses.db")) as database, database:
        database.execute("UPDATE responses SET previous = ? WHERE id = ?", (second["id"], first["id"]))
    body = {"model": "chat", "input": "Hi", "previous_response_id": second["id"]}
    assert fault(await http.post("/v1/responses", json=body))[:2] == (404, "previous_response_not_found")


async def test_the_items_of_a_request_come_page_by_page(http: httpx.AsyncClient, stage: Stage) -> None:
    items = [{"role": "user", "content": str(number)} for number in range(3)]
    items.append({"type": "message", "role": "assistant", "content": "four", "id": "mine"})
    response = await made(http, input=items)
    url = f"/v1/responses/{response['id']}/input_items"
    newest = (await http.get(f"{url}?limit=2")).json()
    assert [item["content"][0]["text"] for item in newest["data"]] == ["four", "2"]
    assert (newest["object"], newest["has_more"], newest["first_id"]) == ("list", True, "mine")
    rest = (await http.get(f"{url}?limit=2&after={newest['last_id']}")).json()
    assert [item["content"][0]["text"] for item in rest["data"]] == ["1", "0"]
    assert not rest["has_more"]
    assert (await http.get(f"{url}?order=asc")).json()["data"] == [*reversed(rest["data"]), *reversed(newest["data"])]
    assert fault(await http.get(f"{url}?after=other")) == (400, "invalid_value", "after")
    assert fault(await http.get(f"{url}?limit=0"))[2] == "limit"


async def test_a_response_is_its_keys_own(stage: Stage, tmp_path: Path) -> None:
    async with client(app_over(stage, tmp_path, KEYS)) as http:
        body: dict[str, Any] = {"model": "chat", "input": "Hi"}
        response = (await http.post("/v1/responses", json=body, headers=of("ann"))).json()
        url = f"/v1/responses/{response['id']}"
        for method, path in (("GET", ""), ("DELETE", ""), ("POST", "/cancel"), ("GET", "/input_items")):
            assert (await http.request(method, f"{url}{path}", headers=of("bob"))).status_code == 404
        for more in (
            {"previous_response_id": response["id"]},
            {"input": [{"type": "item_reference", "id": response["output"][0]["id"]}]},
        ):
            assert (await http.post("/v1/responses", json={**body, **more}, headers=of("bob"))).status_code == 404
        assert (await http.get(url, headers=of("ann"))).status_code == 200
        assert (await http.delete(url, headers=of("root"))).status_code == 200


async def test_a_response_outlives_its_server_and_not_its_age(stage: Stage, tmp_path: Path) -> None:
    async with client(app_over(stage, tmp_path)) as http:
        response = await made(http)
    async with client(app_over(stage, tmp_path)) as http:
        assert (await http.get(f"/v1/responses/{response['id']}")).json() == response
    async with client(app_over(stage, tmp_path, {"RESPONSES_MAX_AGE_DAYS": "1e-9"})) as http:
        assert (await http.get(f"/v1/responses/{response['id']}")).status_code == 404
        body = {"model": "chat", "input": "Hi", "previous_response_id": response["id"]}
        assert (await http.post("/v1/responses", json=body)).status_code == 404


async def test_what_is_too_old_leaves_also_where_nothing_more_is_kept(
    stage: Stage, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    async with client(app_over(stage, tmp_path)) as http:
        await made(http)
    left = asyncio.Event()
    loop, prune = asyncio.get_running_loop(), Responses.prune

    def prune_and_tell(responses: Responses) -> int:
        removed = prune(responses)
        loop.call_soon_threadsafe(left.set)
        return removed

    monkeypatch.setattr(Responses, "prune", prune_and_tell)
    monkeypatch.setattr("deployments.ingress.services.stored_responses._TEND_SECONDS", 0.01)
    async with listening(app_over(stage, tmp_path, {"RESPONSES_MAX_AGE_DAYS": "1e-9"})), asyncio.timeout(30):
        await left.wait()
    with closing(open_file(tmp_path / "responses.db")) as database:
        assert database.all("SELECT id FROM responses") == []
