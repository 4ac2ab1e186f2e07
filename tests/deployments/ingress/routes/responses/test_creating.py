"""Responses that come whole: what reaches the model of items and fields, and what is refused."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import httpx
import pytest
from openai import AsyncOpenAI
from pydantic import BaseModel
from starlette.applications import Starlette
from starlette.requests import Request
from starlette.responses import Response
from starlette.routing import Route

from models.errors import InvalidInput
from models.tasks import ChatDelta, ImagePart, Message, TextPart, TokenLogprob, ToolCall
from tests.api.pictures import TRUNCATED, data_url, png
from tests.deployments.apps import client, fault, listening
from tests.deployments.ingress.routes.responses.played import CALLS_END, END, USAGE, Stage, app_over, call

LOOK = {"type": "function", "name": "look", "parameters": {"type": "object", "properties": {"at": {"type": "string"}}}}
STOP = {"type": "function", "name": "stop"}


async def create(http: httpx.AsyncClient, **body: Any) -> httpx.Response:
    return await http.post("/v1/responses", json={"model": "chat", **body})


async def created(http: httpx.AsyncClient, **body: Any) -> dict[str, Any]:
    answer = await create(http, **body)
    assert answer.status_code == 200, answer.text
    response: dict[str, Any] = answer.json()
    return response


def forget(upload: str, home: Path) -> None:
    for path in home.rglob(f"{upload}*"):
        path.unlink()


def said(message: Message) -> str:
    return "".join(part.text for part in message.parts if isinstance(part, TextPart))


async def test_a_text_is_answered_with_an_object_that_lacks_nothing(http: httpx.AsyncClient, stage: Stage) -> None:
    response = await created(http, input="Hello", instructions="Be short.", metadata={"a": "b"}, temperature=0.5)
    assert [(m.role, said(m)) for m in stage.jobs[0].messages] == [("system", "Be short."), ("user", "Hello")]
    assert response["output"][0]["content"][0] == {
        "type": "output_text", "text": "Hello there.", "annotations": [], "logprobs": [],
    }  # fmt: skip
    assert response["usage"]["total_tokens"] == 14
    assert (response["status"], response["error"], response["incomplete_details"]) == ("completed", None, None)
    assert (response["metadata"], response["temperature"], response["instructions"]) == ({"a": "b"}, 0.5, "Be short.")
    for name, usual in (
        ("tools", []), ("tool_choice", "auto"), ("truncation", "disabled"), ("parallel_tool_calls", True),
        ("top_p", 1.0), ("top_logprobs", 0), ("presence_penalty", 0), ("frequency_penalty", 0), ("background", False),
        ("service_tier", "default"), ("text", {"format": {"type": "text"}, "verbosity": "medium"}), ("store", True),
        ("previous_response_id", None), ("max_output_tokens", None), ("max_tool_calls", None),
        ("reasoning", {"effort": None, "summary": None}), ("safety_identifier", None), ("prompt_cache_key", None),
    ):  # fmt: skip
        assert response[name] == usual, name


async def test_items_become_the_messages_that_a_model_reads(http: httpx.AsyncClient, stage: Stage) -> None:
    items = [
        {"role": "developer", "content": "Be kind."},
        {"type": "message", "role": "user", "content": [{"type": "input_text", "text": "Look"}]},
        {"type": "reasoning", "id": "rs_1", "summary": [], "encrypted_content": "x"},
        {
            "type": "message", "role": "assistant", "id": "msg_1", "status": "completed",
            "content": [{"type": "output_text", "text": "I look.", "annotations": []}],
        },
        {"type": "function_call", "call_id": "c1", "name": "look", "arguments": '{"at":"it"}'},
        {"type": "function_call", "call_id": "c2", "name": "stop", "arguments": "{}"},
        {"type": "function_call_output", "call_id": "c1", "output": [
            {"type": "input_text", "text": "seen"}, {"type": "input_image", "image_url": data_url()},
        ]},
        {"type": "function_call_output", "call_id": "c2", "output": "stopped"},
        {"role": "user", "content": "And?"},
    ]  # fmt: skip
    await created(http, input=items)
    messages = stage.jobs[0].messages
    assert [(m.role, said(m)) for m in messages] == [
        ("system", "Be kind."), ("user", "Look"), ("assistant", "I look."), ("tool", "seen"), ("tool", "stopped"),
        ("user", "And?"),
    ]  # fmt: skip
    assert messages[2].calls == (ToolCall("c1", "look", '{"at":"it"}'), ToolCall("c2", "stop", "{}"))
    assert [messages[3].call_id, messages[4].call_id] == ["c1", "c2"]
    assert messages[3].parts[1] == ImagePart(png())


async def test_pictures_come_as_data_urls_uploads_and_earlier_drawings(http: httpx.AsyncClient, stage: Stage) -> None:
    uploaded = (await http.post("/upload", files={"file": ("a.png", png())})).json()["url"].removeprefix("/i/")
    drawn = {"type": "image_generation_call", "id": "ig_1", "status": "completed", "revised_prompt": "a cat"}
    items = [
        {"role": "user", "content": [{"type": "input_image", "image_url": data_url(), "detail": "low"}]},
        {"role": "user", "content": [{"type": "input_image", "file_id": uploaded}]},
        {**drawn, "result": data_url().partition(",")[2]},
        {"role": "user", "content": "Which is best?"},
    ]
    await created(http, input=items)
    parts = [part for message in stage.jobs[0].messages for part in message.parts]
    assert [part.image for part in parts if isinstance(part, ImagePart)] == [png()] * 3
    drawing = stage.jobs[0].messages[2]
    assert drawing.calls == (ToolCall("ig_1", "generate_image", '{"prompt": "a cat"}'),)


async def test_of_a_conversation_with_more_pictures_than_a_chat_may_have_the_oldest_are_words(
    http: httpx.AsyncClient, stage: Stage
) -> None:
    picture = {"type": "input_image", "image_url": data_url()}
    first = await created(http, input=[{"role": "user", "content": [picture] * 10}])
    await created(http, input=[{"role": "user", "content": [picture] * 10}], previous_response_id=first["id"])
    parts = [part for message in stage.jobs[1].messages for part in message.parts]
    assert [isinstance(part, ImagePart) for part in parts[:10]] == [False] * 4 + [True] * 6
    assert sum(isinstance(part, ImagePart) for part in parts) == 16
    too_many = await create(http, input=[{"role": "user", "content": [picture] * 17}])
    assert fault(too_many) == (400, "invalid_value", "input[0].content[16].image_url")


async def test_a_picture_behind_a_url_is_fetched_once_and_kept_as_it_was(stage: Stage, tmp_path: Path) -> None:
    fetched = []

    async def serve(request: Request) -> Response:
        fetched.append(request.url.path)
        return Response(png())

    async with listening(Starlette(routes=[Route("/a.png", serve)])) as elsewhere:
        allowed = {"ATELIER_ALLOW_REMOTE_IMAGES": "1", "ATELIER_REMOTE_IMAGE_HOSTS": elsewhere.removeprefix("http://")}
        async with client(app_over(stage, tmp_path, allowed)) as http:
            picture = {"type": "input_image", "image_url": f"{elsewhere}/a.png"}
            first = await created(http, input=[{"role": "user", "content": [picture, picture]}])
            await created(http, input="And now?", previous_response_id=first["id"])
            (item,) = (await http.get(f"/v1/responses/{first['id']}/input_items")).json()["data"]
    assert fetched == ["/a.png"]
    for job in stage.jobs:
        parts = [part for message in job.messages for part in message.parts]
        assert [part.image for part in parts if isinstance(part, ImagePart)] == [png()] * 2
    assert [part["image_url"] for part in item["content"]] == [data_url()] * 2


async def test_earlier_pictures_that_the_model_does_not_see_are_not_read(
    http: httpx.AsyncClient, stage: Stage, tmp_path: Path
) -> None:
    names = [(await http.post("/upload", files={"file": ("a.png", png())})).json()["url"][3:] for _ in range(2)]
    pictures = [{"type": "input_image", "file_id": name} for name in names]
    first = await created(http, input=[{"role": "user", "content": pictures}])
    more = [{"role": "user", "content": [{"type": "input_image", "image_url": data_url()}] * 15}]
    forget(names[0], tmp_path)
    refused = await create(http, input="And now?", previous_response_id=first["id"])
    assert fault(refused) == (400, "invalid_value", "previous_response_id")
    await created(http, input=more, previous_response_id=first["id"])
    parts = [part for message in stage.jobs[1].messages for part in message.parts]
    assert not isinstance(parts[0], ImagePart)
    assert sum(isinstance(part, ImagePart) for part in parts) == 16


async def test_a_request_goes_on_from_the_one_before_without_its_instructions(
    http: httpx.AsyncClient, stage: Stage
) -> None:
    stage.plays.append([*call("look", '{"at":"x"}'), CALLS_END])
    first = await created(http, input="One", instructions="Be short.", tools=[LOOK])
    output = {"type": "function_call_output", "call_id": "call_1", "output": "seen"}
    second = await created(http, input=[output], previous_response_id=first["id"])
    await created(http, input="Two", previous_response_id=second["id"], store=False)
    assert [(m.role, said(m)) for m in stage.jobs[2].messages] == [
        ("user", "One"), ("assistant", ""), ("tool", "seen"), ("assistant", "Hello there."), ("user", "Two"),
    ]  # fmt: skip
    assert stage.jobs[2].messages[1].calls == (ToolCall("call_1", "look", '{"at":"x"}'),)


async def test_a_reference_stands_for_what_came_out_before(http: httpx.AsyncClient, stage: Stage) -> None:
    first = await created(http, input="One")
    item = first["output"][0]["id"]
    await created(http, input=[{"type": "item_reference", "id": item}, {"id": item}, {"role": "user", "content": "?"}])
    assert [(m.role, said(m)) for m in stage.jobs[1].messages] == [
        ("assistant", "Hello there."), ("assistant", "Hello there."), ("user", "?"),
    ]  # fmt: skip


async def test_functions_and_choices_reach_the_model(http: httpx.AsyncClient, stage: Stage) -> None:
    stage.plays.append([*call("look", '{"at":', '"x"}'), *call("stop", "{}", index=1, call_id="call_2"), CALLS_END])
    response = await created(http, input="Hi", tools=[LOOK, STOP], tool_choice="required", parallel_tool_calls=True)
    assert [tool.name for tool in stage.jobs[0].tools] == ["look", "stop"]
    assert (stage.jobs[0].must_call, stage.jobs[0].calls_several) == (("look", "stop"), True)
    assert [(item["name"], item["arguments"], item["call_id"], item["status"]) for item in response["output"]] == [
        ("look", '{"at":"x"}', "call_1", "completed"), ("stop", "{}", "call_2", "completed"),
    ]  # fmt: skip
    named = {"type": "function", "name": "stop"}
    await created(http, input="Hi", tools=[LOOK, STOP], tool_choice=named)
    assert stage.jobs[1].must_call == ("stop",)
    allowed = {"type": "allowed_tools", "mode": "auto", "tools": [named]}
    await created(http, input="Hi", tools=[LOOK, STOP], tool_choice=allowed)
    assert ([tool.name for tool in stage.jobs[2].tools], stage.jobs[2].must_call) == (["stop"], ())
    await created(http, input="Hi", tools=[LOOK, STOP], tool_choice="none")
    assert stage.jobs[3].tools == ()


async def test_the_sdk_parses_what_it_asks_for(sdk: AsyncOpenAI, stage: Stage) -> None:
    class Seen(BaseModel):
        colour: str

    stage.plays.append([ChatDelta('{"colour": "red"}'), END])
    parsed = await sdk.responses.parse(model="chat", input="Hi", text_format=Seen)
    assert parsed.output_parsed == Seen(colour="red")
    form = stage.jobs[0].form
    assert isinstance(form, dict)
    assert form["required"] == ["colour"]


async def test_an_answer_cut_short_is_incomplete(http: httpx.AsyncClient, stage: Stage) -> None:
    stage.plays.append([ChatDelta("He"), ChatDelta("", "length", USAGE)])
    response = await created(http, input="Hi", max_output_tokens=2)
    assert (response["status"], response["incomplete_details"]) == ("incomplete", {"reason": "max_output_tokens"})
    assert response["output"][0]["status"] == "incomplete"
    assert stage.jobs[0].max_tokens == 2


async def test_an_answer_without_words_is_an_empty_message(sdk: AsyncOpenAI, stage: Stage) -> None:
    stage.plays.append([END])
    response = await sdk.responses.create(model="chat", input="Hi")
    assert (response.output_text, len(response.output)) == ("", 1)


async def test_probabilities_come_where_they_are_asked_for(http: httpx.AsyncClient, stage: Stage) -> None:
    token = TokenLogprob("Hi", -0.5, b"Hi", (TokenLogprob("Hi", -0.5, b"Hi"),))
    stage.plays.append([ChatDelta("Hi", logprobs=(token,)), END])
    response = await created(http, input="Hi", top_logprobs=1, include=["message.output_text.logprobs"])
    assert stage.jobs[0].top_logprobs == 1
    shown = {"token": "Hi", "logprob": -0.5, "bytes": [72, 105]}
    assert response["output"][0]["content"][0]["logprobs"] == [{**shown, "top_logprobs": [shown]}]


async def test_with_truncation_the_oldest_messages_are_left_out(http: httpx.AsyncClient, stage: Stage) -> None:
    too_long = InvalidInput("the messages are too long", "messages", "context_length_exceeded")
    turns = [{"role": role, "content": str(i)} for i, role in enumerate(["user", "assistant"] * 3 + ["user"])]
    asked: dict[str, Any] = {"input": turns, "instructions": "Be short."}
    stage.plays += [[too_long], [too_long]]
    await created(http, **asked, truncation="auto")
    assert [[said(m) for m in job.messages] for job in stage.jobs] == [
        ["Be short.", *"0123456"], ["Be short.", *"456"], ["Be short.", "6"],
    ]  # fmt: skip
    stage.plays.append([too_long])
    assert fault(await create(http, **asked)) == (400, "context_length_exceeded", "input")


@pytest.mark.parametrize(
    ("body", "code", "param"),
    [
        ({}, "missing_required_parameter", "input"),
        ({"input": []}, "missing_required_parameter", "input"),
        ({"input": "Hi", "background": True}, "unsupported_parameter", "background"),
        ({"input": "Hi", "conversation": "conv_1"}, "unsupported_parameter", "conversation"),
        ({"input": "Hi", "prompt": {"id": "p"}}, "unsupported_parameter", "prompt"),
        ({"input": "Hi", "tools": [{"type": "web_search"}]}, "invalid_value", "tools[0].type"),
        ({"input": "Hi", "tools": [STOP, STOP]}, "invalid_value", "tools"),
        ({"input": "Hi", "tool_choice": "required"}, "invalid_value", "tool_choice"),
        ({"input": "Hi", "tool_choice": {"type": "function", "name": "x"}}, "invalid_value", "tool_choice.name"),
        (
            {"input": "Hi", "tools": [{**LOOK, "parameters": {"type": "array"}}]},
            "invalid_value",
            "tools[0].parameters",
        ),
        ({"input": "Hi", "temperature": 3}, "integer_above_max_value", "temperature"),
        (
            {"input": "Hi", "text": {"format": {"type": "json_schema"}}},
            "missing_required_parameter",
            "text.format.name",
        ),
        ({"input": [{"type": "computer_call"}]}, "invalid_value", "input[0].type"),
        (
            {"input": [{"role": "user", "content": [{"type": "input_file"}]}]},
            "invalid_value",
            "input[0].content[0].type",
        ),
        ({"input": [{"role": "user", "content": []}]}, "invalid_value", "input[0].content"),
        (
            {"input": [{"role": "user", "content": [{"type": "input_image"}]}]},
            "missing_required_parameter",
            "input[0].content[0]",
        ),
        (
            {"input": [{"role": "user", "content": [{"type": "input_image", "file_id": "../x"}]}]},
            "invalid_value",
            "input[0].content[0].file_id",
        ),
        (
            {"input": [{"role": "user", "content": [{"type": "input_image", "image_url": data_url(TRUNCATED)}]}]},
            "invalid_image",
            "input[0].content[0].image_url",
        ),
        (
            {"input": [{"type": "image_generation_call", "id": "a", "result": "AAAA"}]},
            "invalid_image",
            "input[0].result",
        ),
        ({"input": "Hi", "promt": "x"}, "unsupported_parameter", "promt"),
    ],
)  # fmt: skip
async def test_what_cannot_be_is_refused_by_its_name(
    http: httpx.AsyncClient, stage: Stage, body: dict[str, Any], code: str, param: str
) -> None:
    assert fault(await create(http, **body)) == (400, code, param)
    assert stage.jobs == []


async def test_what_the_model_refuses_is_called_as_this_api_calls_it(http: httpx.AsyncClient, stage: Stage) -> None:
    stage.plays.append([InvalidInput("the chat template refuses it", "messages")])
    assert fault(await create(http, input="Hi")) == (400, "invalid_value", "input")


async def test_fields_of_other_servers_are_left_out_and_named(http: httpx.AsyncClient, stage: Stage) -> None:
    stage.plays.append([ChatDelta("Hi", ignored=("tools",)), ChatDelta("", "stop", USAGE, ignored=("tools",))])
    content = [{"type": "input_text", "text": "Hi", "prompt_cache_breakpoint": {}}]
    answer = await create(
        http, input=[{"role": "user", "content": content}], include=["x", "reasoning.encrypted_content"], top_k=3,
        tools=[LOOK], context_management=[],
    )  # fmt: skip
    named = answer.headers["x-ignored-parameters"].replace(" ", "").split(",")
    assert sorted(named) == [
        "context_management", "include[0]", "input[0].content[0].prompt_cache_breakpoint", "tools", "top_k",
    ]  # fmt: skip
