"""Responses of a model made of others: it draws and speaks without being given tools for that."""

from __future__ import annotations

import asyncio
import base64
import json
import re
from typing import Any

import httpx
import pytest
from PIL import Image

from models.errors import InvalidInput, OutOfMemory
from models.tasks import ChatDelta, ChatJob, ImagePart, TextPart
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


async def test_speech_stands_apart_from_the_words_around_it(http: httpx.AsyncClient, stage: Stage) -> None:
    stage.plays += [[ChatDelta("I say it."), *SAY], [ChatDelta("Done."), END]]
    response = await created(http, input="Say: good evening")
    words = response["output"][0]["content"][0]["text"]
    assert re.fullmatch(r"I say it\.\n\n\[good evening\]\(http\S+\)\n\nDone\.", words)


async def test_speech_after_a_callers_call_begins_its_message_without_blank_lines(
    http: httpx.AsyncClient, stage: Stage
) -> None:
    say = call("speak", '{"text": "hi"}', index=1, call_id="call_2")
    stage.plays.append([ChatDelta("Wait."), *call("look", "{}"), *say, CALLS_END])
    response = await created(http, tools=[LOOK])
    assert [item["type"] for item in response["output"]] == ["message", "function_call", "message"]
    assert response["output"][2]["content"][0]["text"].startswith("[hi](")


def shown(job: ChatJob) -> list[bytes]:
    """The pictures that a model sees, in order."""
    return [part.image for said in job.messages for part in said.parts if isinstance(part, ImagePart)]


def results(job: ChatJob) -> list[str]:
    """What a model reads of its calls."""
    texts = [part.text for said in job.messages if said.role == "tool" for part in said.parts if hasattr(part, "text")]
    return [text for text in texts if text.startswith("Done")]


async def linked(http: httpx.AsyncClient, stage: Stage, prompt: str) -> tuple[str, bytes]:
    """A picture that was drawn in a chat: the words that it stands in, and itself."""
    stage.plays += [[*call("generate_image", json.dumps({"prompt": prompt})), CALLS_END], [END]]
    answer = await http.post(
        "/v1/chat/completions", json={"model": "all", "messages": [{"role": "user", "content": prompt}]}
    )
    words: str = answer.json()["choices"][0]["message"]["content"]
    stage.jobs.clear()
    stage.image_jobs.clear()
    return words, (await http.get(words.partition("](")[2].rstrip(")"))).content


@pytest.mark.parametrize("is_link_first", [True, False])
async def test_pictures_in_links_and_in_items_are_counted_in_the_order_in_which_they_came(
    http: httpx.AsyncClient, stage: Stage, is_link_first: bool
) -> None:
    words, by_link = await linked(http, stage, "a cat")
    of_item = png(Image.new("RGB", (16, 16)))
    item = {"type": "image_generation_call", "id": "ig_1", "result": base64.b64encode(of_item).decode()}
    drawn = [{"role": "assistant", "content": words}, item]
    between = {"role": "user", "content": "and"}
    first, second = drawn if is_link_first else drawn[::-1]
    stage.plays += [[*call("edit_image", '{"prompt": "blue", "picture": 1}'), CALLS_END], [ChatDelta("There."), END]]
    await created(http, input=[first, between, second, {"role": "user", "content": "make the first one blue"}])
    assert shown(stage.jobs[0]) == ([by_link, of_item] if is_link_first else [of_item, by_link])
    assert [text.partition(".")[0] for text in results(stage.jobs[0])] == ["Done: picture 1", "Done: picture 2"]
    assert stage.image_jobs[0][0].images == (shown(stage.jobs[0])[0],)


async def test_a_picture_in_the_result_of_a_callers_function_is_the_newest_when_it_came_last(
    http: httpx.AsyncClient, stage: Stage
) -> None:
    red = png(Image.new("RGB", (16, 16), "red"))
    items = [
        {"role": "user", "content": "draw and look"},
        {"type": "image_generation_call", "id": "ig_1", "result": base64.b64encode(red).decode()},
        {"type": "function_call", "call_id": "c", "name": "look", "arguments": "{}"},
        {
            "type": "function_call_output",
            "call_id": "c",
            "output": [{"type": "input_image", "image_url": data_url()}],
        },
    ]
    edit = [*call("edit_image", '{"prompt": "blue"}'), CALLS_END]
    stage.plays += [edit, [END], edit, [END]]
    for rest in ([], [{"role": "user", "content": "make it blue"}]):
        await created(http, input=[*items, *rest], tools=[LOOK])
    assert shown(stage.jobs[0]) == shown(stage.jobs[2]) == [red, png()]
    assert stage.jobs[0].messages[-1].role == "tool"
    assert [job.images for job, _ in stage.image_jobs] == [(png(),), (png(),)]


@pytest.mark.parametrize("parts", [1, 2])
async def test_a_chat_that_ends_with_a_callers_result_still_shows_what_was_drawn(
    http: httpx.AsyncClient, stage: Stage, parts: int
) -> None:
    words, by_link = await linked(http, stage, "a cat")
    content = words if parts == 1 else [{"type": "text", "text": text} for text in ("Here:", words)]
    look = {"type": "function", "function": {"name": "look", "parameters": LOOK["parameters"]}}
    called = {"id": "c", "type": "function", "function": {"name": "look", "arguments": "{}"}}
    await http.post(
        "/v1/chat/completions",
        json={
            "model": "all",
            "tools": [look],
            "messages": [
                {"role": "user", "content": "draw a cat, and look"},
                {"role": "assistant", "content": content, "tool_calls": [called]},
                {"role": "tool", "tool_call_id": "c", "content": "nice"},
            ],
        },
    )
    assert shown(stage.jobs[0]) == [by_link]
    assert results(stage.jobs[0]) == ["Done: picture 1. The user sees it already."]


async def test_no_more_pictures_are_recalled_than_a_request_may_have(http: httpx.AsyncClient, stage: Stage) -> None:
    words, by_link = await linked(http, stage, "a cat")
    picture = {"type": "input_image", "image_url": data_url()}
    for own, recalled in ((15, 1), (16, 0)):
        content = [*[picture] * own, {"type": "input_text", "text": "look"}]
        said = {"role": "assistant", "content": f"{words} {words}"}
        await created(http, input=[said, {"role": "user", "content": content}])
        assert shown(stage.jobs[-1]) == [by_link] * recalled + [png()] * own
        assert results(stage.jobs[-1])[0] == "Done. The user has seen the picture."


async def test_a_conversation_is_not_shortened_to_a_picture_without_words(
    http: httpx.AsyncClient, stage: Stage
) -> None:
    stage.plays.append([InvalidInput("too long", "messages", "context_length_exceeded")])
    items = [
        {"role": "user", "content": "draw and look"},
        {"type": "image_generation_call", "id": "ig_1", "result": base64.b64encode(png()).decode()},
        {"type": "function_call", "call_id": "c", "name": "look", "arguments": "{}"},
        {"type": "function_call_output", "call_id": "c", "output": "nice"},
    ]
    refused = await create(http, input=items, tools=[LOOK], truncation="auto")
    assert fault(refused)[:2] == (400, "context_length_exceeded")
    assert len(stage.jobs) == 1


async def test_what_is_wrong_with_a_picture_names_no_tool_that_the_request_does_not_have(
    http: httpx.AsyncClient, stage: Stage
) -> None:
    stage.image_error = InvalidInput("the size is refused", "size")
    stage.plays += [DRAW, [ChatDelta("Sorry."), END]]
    response = await created(http)
    assert response["output"][0]["error"]["param"] == "input"


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
