"""Responses of a model made of others: it draws and speaks without being given tools for that."""

from __future__ import annotations

import asyncio
import base64
import re
from typing import Any

import httpx
import pytest

from models.errors import OutOfMemory
from models.tasks import ChatDelta, ImagePart, TextPart
from tests.api.pictures import data_url, png
from tests.deployments.apps import fault
from tests.deployments.ingress.routes.responses.played import CALLS_END, END, Stage, call
from tests.deployments.ingress.routes.responses.streams import read, streamed, text_of
from tests.deployments.search.searching import eventually

DRAW = [*call("generate_image", '{"prompt": "a cat"}'), CALLS_END]
SAY = [*call("speak", '{"text": "good evening"}'), CALLS_END]
LOOK = {"type": "function", "name": "look", "parameters": {"type": "object", "properties": {}}}


async def create(http: httpx.AsyncClient, **body: Any) -> httpx.Response:
    return await http.post("/v1/responses", json={"model": "all", "input": "Draw a cat", **body})


async def created(http: httpx.AsyncClient, **body: Any) -> dict[str, Any]:
    answer = await create(http, **body)
    assert answer.status_code == 200, answer.text
    response: dict[str, Any] = answer.json()
    return response


def names(stage: Stage) -> list[list[str]]:
    """The tools that the model was offered, at each of its answers."""
    return [[tool.name for tool in job.tools] for job in stage.jobs]


async def test_what_it_draws_is_an_item_of_its_answer(http: httpx.AsyncClient, stage: Stage) -> None:
    stage.plays += [[ChatDelta("I draw. "), *DRAW], [ChatDelta("There."), END]]
    response = await created(http)
    assert [item["type"] for item in response["output"]] == ["message", "image_generation_call", "message"]
    picture = response["output"][1]
    assert (picture["status"], picture["revised_prompt"], picture["action"]) == ("completed", "a cat", "generate")
    assert base64.b64decode(picture["result"]).startswith(b"\x89PNG")
    assert (response["tools"], response["model"], response["usage"]["total_tokens"]) == ([], "all", 28)
    assert names(stage)[0] == ["generate_image", "edit_image", "speak"]


async def test_what_it_drew_is_seen_and_changed_in_the_next_turn(http: httpx.AsyncClient, stage: Stage) -> None:
    stage.plays += [DRAW, [ChatDelta("There."), END], [*call("edit_image", '{"prompt": "blue"}'), CALLS_END]]
    first = await created(http)
    second = await created(http, input="make it blue", previous_response_id=first["id"])
    drawn = base64.b64decode(first["output"][0]["result"])
    result, _, asked = stage.jobs[2].messages[-3:]
    assert (result.role, result.parts) == ("tool", (TextPart("Done: picture 1. The user sees it already."),))
    assert asked.role == "user"
    assert asked.parts == (ImagePart(drawn, "previous_response_id"), TextPart("make it blue"))
    assert stage.image_jobs[1][0].images == (drawn,)
    assert second["output"][0]["action"] == "edit"


async def test_what_it_speaks_is_a_link_in_its_words_and_a_call_in_the_next_turn(
    http: httpx.AsyncClient, stage: Stage
) -> None:
    stage.plays += [SAY, [ChatDelta("You can listen."), END]]
    first = await created(http, input="Say: good evening")
    (item,) = first["output"]
    words = item["content"][0]["text"]
    ((label, url),) = re.findall(r"\[([^]]+)\]\((http\S+)\)", words)
    assert label == "good evening"
    assert words.endswith("\n\nYou can listen.")
    assert (await http.get(url)).content == b"good evening"
    assert [job.text for job in stage.speech_jobs] == ["good evening"]
    await created(http, input="Thanks", previous_response_id=first["id"])
    said = stage.jobs[2].messages
    assert [each.calls[0].name for each in said if each.calls] == ["speak"]
    assert not any("http" in getattr(part, "text", "") for each in said for part in each.parts)


async def test_a_stream_tells_each_part_in_order(http: httpx.AsyncClient, stage: Stage) -> None:
    stage.plays += [[ChatDelta("Wait. "), *DRAW], SAY, [ChatDelta("Done."), END]]
    events = await streamed(http, model="all", input="Draw a cat and say it")
    kinds = [event["item"]["type"] for event in events if event["type"] == "response.output_item.done"]
    assert kinds == ["message", "image_generation_call", "message"]
    assert re.fullmatch(r"Wait\. \[good evening\]\(http\S+\)\n\nDone\.", text_of(events))
    assert len(events[-1]["response"]["output"][1]["result"]) > 100


async def test_stopping_the_response_stops_the_drawing(http: httpx.AsyncClient, stage: Stage) -> None:
    stage.plays.append(DRAW)
    stage.holds_image = True
    body = {"model": "all", "input": "Draw a cat", "stream": True}
    async with http.stream("POST", "/v1/responses", json=body, headers={"x-request-id": "cat"}) as answer:
        chunks = answer.aiter_text()
        text = ""
        while "image_generation_call.generating" not in text:
            text += await anext(chunks)
        response_id = text.partition('"id": "')[2].partition('"')[0]
        await http.post(f"/v1/responses/{response_id}/cancel")
        events = read(text + "".join([chunk async for chunk in chunks]))
    await asyncio.wait_for(stage.was_left.wait(), 20)
    assert events[-1]["response"]["status"] == "cancelled"
    assert (await http.get("/v1/jobs/cat")).json()["state"] == "cancelled"
    assert (await http.get(f"/v1/responses/{response_id}")).status_code == 404


async def test_a_client_that_leaves_ends_the_drawing(http: httpx.AsyncClient, stage: Stage) -> None:
    stage.plays.append(DRAW)
    stage.holds_image = True
    body = {"model": "all", "input": "Draw a cat", "stream": True}
    async with http.stream("POST", "/v1/responses", json=body, headers={"x-request-id": "left"}) as answer:
        async for chunk in answer.aiter_text():
            if "image_generation_call.generating" in chunk:
                break

    async def is_cancelled() -> bool:
        state: str = (await http.get("/v1/jobs/left")).json()["state"]
        return state == "cancelled"

    await eventually(is_cancelled)


async def test_what_fails_while_it_draws_ends_the_response(http: httpx.AsyncClient, stage: Stage) -> None:
    stage.image_error = OutOfMemory("no memory")
    stage.plays += [DRAW, DRAW]
    assert fault(await create(http))[:2] == (503, "OUT_OF_MEMORY")
    last = (await streamed(http, model="all", input="Draw a cat"))[-1]
    assert (last["type"], last["response"]["error"]["code"]) == ("response.failed", "OUT_OF_MEMORY")


@pytest.mark.parametrize(
    "more",
    [
        {"tool_choice": "none"},
        {"tools": [LOOK], "tool_choice": {"type": "allowed_tools", "mode": "auto", "tools": [
            {"type": "function", "name": "look"}]}},
        {"text": {"format": {"type": "json_schema", "name": "a", "schema": {"type": "object", "properties": {}}}}},
    ],
)  # fmt: skip
async def test_it_is_offered_no_tool_of_its_own_where_the_request_rules_that_out(
    http: httpx.AsyncClient, stage: Stage, more: dict[str, Any]
) -> None:
    await created(http, **more)
    assert set(names(stage)[0]) <= {"look"}


async def test_a_callers_functions_stand_beside_its_own_tools(http: httpx.AsyncClient, stage: Stage) -> None:
    stage.plays.append([*call("look", "{}"), CALLS_END])
    response = await created(http, tools=[LOOK], tool_choice="required")
    assert names(stage)[0] == ["look", "generate_image", "edit_image", "speak"]
    assert stage.jobs[0].must_call == ("look",)
    assert [item["type"] for item in response["output"]] == ["function_call"]
    without = await create(http, tool_choice="required")
    assert fault(without)[0] == 400


async def test_a_tool_of_the_request_says_how_it_draws_and_by_which_model(
    http: httpx.AsyncClient, stage: Stage
) -> None:
    for model, used in ((None, "image"), ("other", "other")):
        stage.plays += [DRAW, [ChatDelta("There."), END]]
        tool = {"type": "image_generation", "size": "128x64", "output_format": "jpeg", "model": model}
        answer = await http.post(
            "/v1/responses",
            json={"model": "all", "input": "Draw a cat", "tools": [tool]},
            headers={"x-request-id": f"by-{used}"},
        )
        assert answer.json()["output"][0]["size"] == "128x64"
        assert (await http.get(f"/v1/jobs/by-{used}")).json()["model"] == used
    assert names(stage)[0] == ["generate_image", "edit_image", "speak"]


async def test_pictures_of_the_user_can_be_changed(http: httpx.AsyncClient, stage: Stage) -> None:
    stage.plays += [[*call("edit_image", '{"prompt": "blue"}'), CALLS_END], [ChatDelta("There."), END]]
    content = [{"type": "input_image", "image_url": data_url()}, {"type": "input_text", "text": "make it blue"}]
    await created(http, input=[{"role": "user", "content": content}])
    assert stage.image_jobs[0][0].images == (png(),)


async def test_no_more_calls_are_run_than_the_request_allows(http: httpx.AsyncClient, stage: Stage) -> None:
    stage.plays += [DRAW, [ChatDelta("There."), END]]
    await created(http, max_tool_calls=1)
    assert names(stage) == [["generate_image", "edit_image", "speak"], []]
