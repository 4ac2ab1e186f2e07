"""The tool `image_generation`: when it draws, what of, what is said of it, and how it ends."""

from __future__ import annotations

import asyncio
import base64
import io
from typing import Any

import httpx
import pytest
from openai import AsyncOpenAI
from PIL import Image

from models.errors import InvalidInput, OutOfMemory
from models.tasks import ChatDelta
from tests.api.pictures import data_url, png
from tests.deployments.apps import fault
from tests.deployments.ingress.routes.responses.played import CALLS_END, END, Stage, call
from tests.deployments.ingress.routes.responses.streams import read, streamed

DRAW: dict[str, Any] = {"type": "image_generation", "size": "64x64"}
FORCED = {"type": "image_generation"}
LOOK = {"type": "function", "name": "look", "parameters": {"type": "object", "properties": {}}}


async def create(http: httpx.AsyncClient, **body: Any) -> httpx.Response:
    return await http.post("/v1/responses", json={"model": "chat", "tools": [DRAW], **body})


async def created(http: httpx.AsyncClient, **body: Any) -> dict[str, Any]:
    answer = await create(http, **body)
    assert answer.status_code == 200, answer.text
    response: dict[str, Any] = answer.json()
    return response


def size_of(encoded: str) -> tuple[int, int]:
    return Image.open(io.BytesIO(base64.b64decode(encoded))).size


@pytest.mark.parametrize(
    "choice", [FORCED, "required", {"type": "allowed_tools", "mode": "required", "tools": [FORCED]}]
)
async def test_a_picture_is_drawn_of_the_last_words_where_it_has_to_be(
    http: httpx.AsyncClient, stage: Stage, choice: Any
) -> None:
    tool = {**DRAW, "seed": 7, "steps": 2, "output_format": "jpeg", "output_compression": 50}
    turns = [{"role": "user", "content": text} for text in ("Hello", "a red circle")]
    response = await created(http, input=turns, tools=[tool], tool_choice=choice)
    (item,) = response["output"]
    assert (item["type"], item["status"], item["revised_prompt"]) == (
        "image_generation_call", "completed", "a red circle",
    )  # fmt: skip
    assert (item["size"], item["output_format"], item["quality"], item["action"], item["seed"]) == (
        "64x64", "jpeg", "medium", "generate", 7,
    )  # fmt: skip
    assert size_of(item["result"]) == (64, 64)
    ((job, output),) = stage.image_jobs
    assert (job.prompt, job.seed, job.steps, job.images) == ("a red circle", 7, 2, ())
    assert (output.format, output.quality, output.partials) == ("jpeg", 50, 0)
    assert stage.jobs == []


async def test_a_picture_in_the_conversation_is_changed(http: httpx.AsyncClient, stage: Stage) -> None:
    picture = {"type": "input_image", "image_url": data_url()}
    first = await created(
        http, input=[{"role": "user", "content": [picture, {"type": "input_text", "text": "make it blue"}]}],
        tool_choice=FORCED,
    )  # fmt: skip
    assert stage.image_jobs[0][0].images == (png(),)
    assert first["output"][0]["action"] == "edit"
    await created(http, input="now green", previous_response_id=first["id"], tool_choice=FORCED)
    assert stage.image_jobs[1][0].images == (base64.b64decode(first["output"][0]["result"]),)
    by_id = [{"type": "image_generation_call", "id": first["output"][0]["id"]}, {"role": "user", "content": "and red"}]
    await created(http, input=by_id, tool_choice=FORCED)
    assert stage.image_jobs[2][0].images == stage.image_jobs[1][0].images
    generate = {**DRAW, "action": "generate"}
    await created(http, input="a cat", previous_response_id=first["id"], tools=[generate], tool_choice=FORCED)
    assert stage.image_jobs[3][0].images == ()


async def test_a_mask_says_what_may_change(http: httpx.AsyncClient, stage: Stage) -> None:
    picture = Image.open(io.BytesIO(png()))
    mask = png(Image.new("RGBA", picture.size))
    content = [{"type": "input_image", "image_url": data_url()}, {"type": "input_text", "text": "a star"}]
    asked: dict[str, Any] = {"input": [{"role": "user", "content": content}], "tool_choice": FORCED}
    tool = {"type": "image_generation", "input_image_mask": {"image_url": data_url(mask)}}
    await created(http, **asked, tools=[tool])
    assert stage.image_jobs[0][0].mask == mask
    small = {**tool, "input_image_mask": {"image_url": data_url(png(Image.new("RGBA", (8, 8))))}}
    assert fault(await create(http, **asked, tools=[small]))[2] == "tools[0].input_image_mask"
    assert fault(await create(http, input="a", tools=[tool]))[2] == "tools[0].input_image_mask"


async def test_the_model_draws_when_it_calls_and_goes_on(http: httpx.AsyncClient, stage: Stage) -> None:
    stage.plays += [
        [ChatDelta("I draw. "), *call("generate_image", '{"prompt": "a cat"}'), CALLS_END],
        [ChatDelta("There it is."), END],
    ]
    response = await created(http, input="Draw a cat", tools=[LOOK, DRAW])
    assert [tool.name for tool in stage.jobs[0].tools][:2] == ["look", "generate_image"]
    assert [item["type"] for item in response["output"]] == ["message", "image_generation_call", "message"]
    assert response["output"][1]["revised_prompt"] == "a cat"
    assert response["usage"]["total_tokens"] == 28
    await created(http, input="What is it?", previous_response_id=response["id"], tools=[LOOK])
    assert stage.jobs[2].messages[1].calls[0].name == "generate_image"
    assert len(stage.image_jobs) == 1


async def test_nothing_is_drawn_without_a_call(http: httpx.AsyncClient, stage: Stage) -> None:
    await created(http, input="Draw a cat")
    await created(http, input="Draw a cat", tools=[LOOK, DRAW], tool_choice="none")
    assert stage.jobs[1].tools == ()
    assert stage.image_jobs == []


async def test_with_functions_beside_it_required_leaves_the_choice_to_the_model(
    http: httpx.AsyncClient, stage: Stage
) -> None:
    stage.plays.append([*call("look", "{}"), CALLS_END])
    await created(http, input="Hi", tools=[LOOK, DRAW], tool_choice="required")
    assert stage.jobs[0].must_call[:2] == ("look", "generate_image")


async def test_partial_pictures_come_midway(http: httpx.AsyncClient, sdk: AsyncOpenAI, stage: Stage) -> None:
    tool = {**DRAW, "partial_images": 2}
    events = await streamed(http, input="a cat", tools=[tool], tool_choice=FORCED)
    assert [event["type"].removeprefix("response.") for event in events] == [
        "created", "in_progress", "output_item.added", "image_generation_call.in_progress",
        "image_generation_call.generating", "image_generation_call.partial_image",
        "image_generation_call.partial_image", "image_generation_call.completed", "output_item.done", "completed",
    ]  # fmt: skip
    partials = [event for event in events if "partial_image_b64" in event]
    assert [event["partial_image_index"] for event in partials] == [0, 1]
    assert size_of(partials[0]["partial_image_b64"]) == (64, 64)
    assert all({"size", "quality", "background", "output_format"} <= event.keys() for event in partials)
    assert events[-2]["item"] == events[-1]["response"]["output"][0]
    again: Any = {"model": "chat", "input": "a cat", "tools": [tool], "tool_choice": FORCED}
    async with sdk.responses.stream(**again) as stream:
        final = await stream.get_final_response()
    assert final.output[0].type == "image_generation_call"
    assert size_of(final.output[0].result or "") == (64, 64)


async def test_the_job_of_a_picture_is_shown_and_stopping_either_stops_both(
    http: httpx.AsyncClient, stage: Stage
) -> None:
    tool = {**DRAW, "partial_images": 1}
    body = {"model": "chat", "input": "a cat", "tools": [tool], "tool_choice": FORCED, "stream": True}
    for number, stop in enumerate(("job", "response")):
        stage.holds_image = True
        stage.was_left.clear()
        headers = {"x-request-id": f"cat-{number}"}
        async with http.stream("POST", "/v1/responses", json=body, headers=headers) as answer:
            chunks = answer.aiter_text()
            text = ""
            while "partial_image_b64" not in text:
                text += await anext(chunks)
            assert (await http.get(f"/v1/jobs/cat-{number}")).json()["state"] == "running"
            name = text.partition('"id": "')[2].partition('"')[0]
            if stop == "job":
                await http.delete(f"/v1/jobs/cat-{number}")
            else:
                await http.post(f"/v1/responses/{name}/cancel")
            events = read(text + "".join([chunk async for chunk in chunks]))
        await asyncio.wait_for(stage.was_left.wait(), 20)
        assert events[-1]["type"] == "response.failed"
        assert events[-1]["response"]["status"] == "cancelled"
        assert (await http.get(f"/v1/jobs/cat-{number}")).json()["state"] == "cancelled"


async def test_what_the_picture_model_refuses_at_once_is_a_status_and_later_an_event(
    http: httpx.AsyncClient, stage: Stage
) -> None:
    stage.image_error = OutOfMemory("no memory")
    assert fault(await create(http, input="a cat", tool_choice=FORCED))[:2] == (503, "OUT_OF_MEMORY")
    last = (await streamed(http, input="a cat", tools=[DRAW], tool_choice=FORCED))[-1]
    assert (last["type"], last["response"]["error"]["code"]) == ("response.failed", "OUT_OF_MEMORY")
    assert last["response"]["output"][0]["status"] == "failed"


async def test_the_model_reads_that_a_drawing_has_failed(http: httpx.AsyncClient, stage: Stage) -> None:
    stage.image_error = InvalidInput("the prompt is refused", "prompt")
    stage.plays += [[*call("generate_image", '{"prompt": "x"}'), CALLS_END], [ChatDelta("Sorry."), END]]
    response = await created(http, input="Draw")
    failed, message = response["output"]
    assert (failed["status"], failed["result"], failed["error"]["message"]) == ("failed", "", "the prompt is refused")
    assert message["content"][0]["text"] == "Sorry."


@pytest.mark.parametrize(
    ("tool", "more", "param"),
    [
        ({"size": "65x64"}, {}, "tools[0].size"),
        ({"background": "transparent"}, {}, "tools[0].background"),
        ({"model": "none-such"}, {}, "tools[0].model"),
        ({"output_format": "gif"}, {}, "tools[0].output_format"),
        ({"partial_images": 4}, {}, "tools[0].partial_images"),
        ({"action": "edit"}, {"tool_choice": FORCED}, "tools[0].action"),
        ({}, {"tool_choice": FORCED, "input": [{"role": "developer", "content": "a"}]}, "input"),
        ({}, {"tools": [LOOK], "tool_choice": FORCED}, "tool_choice"),
        ({}, {"tools": [DRAW, DRAW]}, "tools[1]"),
    ],
)
async def test_what_cannot_be_drawn_is_refused_by_its_name(
    http: httpx.AsyncClient, stage: Stage, tool: dict[str, Any], more: dict[str, Any], param: str
) -> None:
    status, _, named = fault(await create(http, **{"input": "a cat", "tools": [{**DRAW, **tool}], **more}))
    assert (status, named) == (404 if param.endswith("model") else 400, param)
    assert stage.image_jobs == []
