"""What a request refers to: found as often as it is asked for, kept with the request, and bounded."""

from __future__ import annotations

import sqlite3
from contextlib import closing
from pathlib import Path
from typing import Any

import httpx
import pytest

from models.tasks import ImagePart
from tests.api.pictures import data_url, png
from tests.deployments.apps import client, fault
from tests.deployments.ingress.routes.responses.played import Stage, app_over
from tests.deployments.ingress.routes.responses.streams import streamed


async def post(http: httpx.AsyncClient, *items: Any, **body: Any) -> httpx.Response:
    return await http.post("/v1/responses", json={"model": "chat", "input": list(items), **body})


async def made(http: httpx.AsyncClient, *items: Any, **body: Any) -> dict[str, Any]:
    answer = await post(http, *items, **body)
    assert answer.status_code == 200, answer.text
    response: dict[str, Any] = answer.json()
    return response


def said(text: str) -> dict[str, str]:
    return {"role": "user", "content": text}


def reference(item_id: str) -> dict[str, str]:
    return {"type": "item_reference", "id": item_id}


async def test_a_conversation_by_reference_goes_on_and_on(http: httpx.AsyncClient, stage: Stage) -> None:
    first = await made(http, said("one"))
    begun = [said("one"), reference(first["output"][0]["id"])]
    second = await made(http, *begun, said("two"))
    begun += [said("two"), reference(second["output"][0]["id"])]
    third = await made(http, *begun, said("three"))
    assert [message.role for message in stage.jobs[-1].messages] == ["user", "assistant"] * 2 + ["user"]
    await http.delete(f"/v1/responses/{first['id']}")
    await made(http, said("four"), previous_response_id=third["id"])
    assert len(stage.jobs[-1].messages) == 7
    items = (await http.get(f"/v1/responses/{third['id']}/input_items")).json()["data"]
    assert {item["type"] for item in items} == {"message"}


async def test_a_picture_that_is_named_by_its_id_alone_is_there_each_time(
    http: httpx.AsyncClient, stage: Stage
) -> None:
    tool = {"type": "image_generation", "size": "64x64"}
    drawn = await made(http, said("a circle"), tools=[tool], tool_choice={"type": "image_generation"})
    named = {"type": "image_generation_call", "id": drawn["output"][0]["id"]}
    for _ in range(3):
        await made(http, named, said("What is it?"))
        assert sum(isinstance(part, ImagePart) for each in stage.jobs[-1].messages for part in each.parts) == 1


async def test_pictures_behind_references_count(http: httpx.AsyncClient, stage: Stage) -> None:
    part = {"type": "input_image", "image_url": data_url(png())}
    await made(http, {"type": "message", "role": "user", "id": "mine", "content": [part] * 6})
    await made(http, *[reference("mine")] * 2)
    answer = await post(http, *[reference("mine")] * 3)
    assert fault(answer) == (400, "invalid_value", "input[2]")


async def test_an_id_that_no_database_takes_is_refused(http: httpx.AsyncClient, stage: Stage) -> None:
    for item in ({**said("Hi"), "id": "a\0"}, reference("a\0"), {"type": "image_generation_call", "id": "a\0"}):
        status, _, param = fault(await post(http, item))
        assert (status, (param or "")[:8], (param or "")[-2:]) == (400, "input[0]", "id")
    status, _, param = fault(await post(http, said("Hi"), previous_response_id="a\0"))
    assert (status, param) == (400, "previous_response_id")
    for method, path in (("GET", ""), ("DELETE", ""), ("POST", "/cancel"), ("GET", "/input_items")):
        answer = await http.request(method, f"/v1/responses/a%00{path}")
        assert fault(answer) == (404, "response_not_found", "response_id")


async def test_a_conversation_that_is_too_long_is_refused(
    http: httpx.AsyncClient, stage: Stage, monkeypatch: pytest.MonkeyPatch
) -> None:
    first = await made(http, said("Hi"))
    monkeypatch.setattr("stores.responses._MAX_CHAIN_BYTES", 10)
    answer = await post(http, said("Hi"), previous_response_id=first["id"])
    assert fault(answer) == (400, "conversation_too_long", "previous_response_id")


async def test_a_response_that_cannot_be_kept_has_failed(http: httpx.AsyncClient, stage: Stage, tmp_path: Path) -> None:
    await made(http, said("Hi"))
    with closing(sqlite3.connect(tmp_path / "responses.db")) as database, database:
        database.execute("DROP TABLE response_items")
    last = (await streamed(http, input="Hi"))[-1]
    response = last["response"]
    assert (last["type"], response["error"]["code"]) == ("response.failed", "STORE_FAILED")
    assert (response["completed_at"], response["usage"]) == (None, None)


async def test_a_database_that_does_not_answer_is_not_called_image_search(stage: Stage, tmp_path: Path) -> None:
    nowhere = {"SEARCH_DATABASE_URL": "postgresql://atelier@127.0.0.1:1/atelier"}
    async with client(app_over(stage, tmp_path, nowhere)) as http:
        assert fault(await http.get("/v1/responses/resp_1"))[:2] == (503, "RESPONSES_UNAVAILABLE")
