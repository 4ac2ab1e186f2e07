"""Tools, through HTTP and the SDK: what has to be called is, whole and streamed, by a model that knows no tools."""

from __future__ import annotations

import json
from typing import Any, Literal

import httpx
import jsonschema
import pytest
from openai import OpenAI
from pydantic import BaseModel

from tests.api.conftest import fault
from tests.api.pictures import data_url, png, scene

COLOURS = ["red", "yellow", "purple", "blue", "green"]
PARAMETERS: dict[str, Any] = {
    "type": "object",
    "properties": {"colour": {"enum": COLOURS}, "note": {"type": "string"}},
    "required": ["colour", "note"],
}
TOOLS: list[Any] = [
    {"type": "function", "function": {"name": "report", "description": "Says what is seen", "parameters": PARAMETERS}},
    {"type": "function", "function": {"name": "stop"}},
]
NAMED: Any = {"type": "function", "function": {"name": "report"}}


def asking(text: str, url: str | None = None) -> list[Any]:
    image = [] if url is None else [{"type": "image_url", "image_url": {"url": url}}]
    return [{"role": "user", "content": [*image, {"type": "text", "text": text}]}]


class Seen(BaseModel):
    colour: Literal["red", "yellow", "purple", "blue", "green"]
    note: str
    tags: list[str]


def test_a_named_function_is_called_with_what_the_model_sees(sdk: OpenAI) -> None:
    url = data_url(png(scene("circle", "red", "blue")))
    answer = sdk.chat.completions.create(
        model="vlm-fast", messages=asking("What colour is the circle?", url), tools=TOOLS, tool_choice=NAMED
    )
    message = answer.choices[0].message
    assert answer.choices[0].finish_reason == "tool_calls"
    assert message.content is None
    assert message.tool_calls is not None
    (call,) = message.tool_calls
    assert call.type == "function"
    assert call.function.name == "report"
    arguments = json.loads(call.function.arguments)
    jsonschema.validate(arguments, {**PARAMETERS, "additionalProperties": False})


@pytest.mark.parametrize("parallel", [None, True, False])
def test_required_calls_one_of_the_tools(sdk: OpenAI, parallel: bool | None) -> None:
    more: dict[str, Any] = {} if parallel is None else {"parallel_tool_calls": parallel}
    answer = sdk.chat.completions.create(
        model="vlm-fast", messages=asking("Hello"), tools=TOOLS, tool_choice="required", max_tokens=100, **more
    )
    calls = answer.choices[0].message.tool_calls
    assert calls
    assert len(calls) == 1 or parallel
    assert {getattr(call, "function").name for call in calls} <= {"report", "stop"}  # noqa: B009 - a union of types


def test_a_streamed_call_is_the_same_call_in_pieces(sdk: OpenAI) -> None:
    asked: dict[str, Any] = {"messages": asking("Hello"), "tools": TOOLS, "tool_choice": NAMED}
    whole = sdk.chat.completions.create(model="vlm-fast", **asked)
    chunks = list(sdk.chat.completions.create(model="vlm-fast", stream=True, **asked))
    pieces = [call for chunk in chunks for call in chunk.choices[0].delta.tool_calls or ()]
    assert pieces[0].function is not None
    assert (pieces[0].index, pieces[0].type, pieces[0].function.name) == (0, "function", "report")
    assert pieces[0].id
    assert len(pieces) > 3
    assert all(piece.id is None and piece.index == 0 for piece in pieces[1:])
    assert not any(chunk.choices[0].delta.content for chunk in chunks)
    assert chunks[-1].choices[0].finish_reason == "tool_calls"
    written = "".join(piece.function.arguments or "" for piece in pieces if piece.function)
    assert whole.choices[0].message.tool_calls is not None
    assert written == getattr(whole.choices[0].message.tool_calls[0], "function").arguments  # noqa: B009


def test_the_sdks_own_stream_helper_puts_the_call_together(sdk: OpenAI) -> None:
    with sdk.chat.completions.stream(
        model="vlm-fast", messages=asking("Hello"), tools=TOOLS, tool_choice=NAMED
    ) as stream:
        kinds = {event.type for event in stream}
        final = stream.get_final_completion()
    assert "tool_calls.function.arguments.delta" in kinds
    assert "tool_calls.function.arguments.done" in kinds
    assert final.choices[0].message.tool_calls is not None
    jsonschema.validate(json.loads(final.choices[0].message.tool_calls[0].function.arguments), PARAMETERS)


def test_auto_answers_in_words_where_the_model_knows_no_tools(sdk: OpenAI) -> None:
    url = data_url(png(scene("circle", "red", "blue")))
    messages = asking("What colour is the circle?", url)
    plain = sdk.chat.completions.create(model="vlm-fast", messages=messages)
    answer = sdk.chat.completions.with_raw_response.create(model="vlm-fast", messages=messages, tools=TOOLS)
    assert answer.headers["x-ignored-parameters"] == "tools"
    with sdk.chat.completions.with_streaming_response.create(
        model="vlm-fast", messages=messages, tools=TOOLS, stream=True
    ) as streamed:
        assert streamed.headers["x-ignored-parameters"] == "tools"
    told = answer.parse()
    assert told.choices[0].message.content == plain.choices[0].message.content
    assert told.choices[0].message.tool_calls is None
    assert told.choices[0].finish_reason == "stop"


def test_a_whole_round_with_a_tool_goes_through(sdk: OpenAI) -> None:
    messages = asking("Hello")
    first = sdk.chat.completions.create(model="vlm-fast", messages=messages, tools=TOOLS, tool_choice=NAMED)
    assert first.choices[0].message.tool_calls is not None
    result = {"role": "tool", "tool_call_id": first.choices[0].message.tool_calls[0].id, "content": "a red circle"}
    messages = [*messages, first.choices[0].message.model_dump(exclude_none=True), result]
    second = sdk.chat.completions.create(model="vlm-fast", messages=messages, tools=TOOLS, max_tokens=20)
    assert second.choices[0].message.content
    assert second.choices[0].message.tool_calls is None


def test_a_model_of_plain_texts_parses(sdk: OpenAI) -> None:
    answer = sdk.chat.completions.parse(
        model="vlm-fast", messages=asking("What colour is the circle?", data_url()), response_format=Seen
    )
    assert answer.choices[0].message.parsed is not None
    assert answer.choices[0].finish_reason == "stop"


@pytest.mark.parametrize("stream", [False, True])
def test_any_json_object_ends(sdk: OpenAI, stream: bool) -> None:
    asked: dict[str, Any] = {"messages": asking("Describe", data_url()), "response_format": {"type": "json_object"}}
    if stream:
        chunks = list(sdk.chat.completions.create(model="vlm-fast", stream=True, max_tokens=80, **asked))
        text = "".join(chunk.choices[0].delta.content or "" for chunk in chunks)
        assert chunks[-1].choices[0].finish_reason == "stop"
    else:
        answer = sdk.chat.completions.create(model="vlm-fast", max_tokens=80, **asked)
        text = answer.choices[0].message.content or ""
        assert answer.choices[0].finish_reason == "stop"
    assert isinstance(json.loads(text), dict)


@pytest.mark.parametrize(
    ("fields", "param"),
    [
        ({"tool_choice": "required"}, "tool_choice"),
        ({"tool_choice": NAMED}, "tool_choice.function.name"),
        ({"tools": TOOLS, "tool_choice": "always"}, "tool_choice"),
        ({"tools": TOOLS, "tool_choice": {"type": "function"}}, "tool_choice"),
        (
            {"tools": TOOLS, "tool_choice": {**NAMED, "allowed_tools": {"mode": "auto", "tools": [NAMED]}}},
            "tool_choice",
        ),
        ({"tools": TOOLS, "tool_choice": {"type": "function", "function": {"name": "x"}}}, "tool_choice.function.name"),
        ({"tools": [TOOLS[0], TOOLS[0]]}, "tools"),
        ({"tools": [{"type": "web_search"}]}, "tools[0].type"),
        ({"tools": [{"type": "function", "function": {"name": "a b"}}]}, "tools[0].function.name"),
        (
            {"tools": [{"type": "function", "function": {"name": "a", "parameters": {"type": "array"}}}]},
            "tools[0].function.parameters",
        ),
        (
            {
                "tools": [TOOLS[1], {"type": "function", "function": {"name": "a", "parameters": {"$ref": "#/no"}}}],
                "tool_choice": "required",
            },
            "tools[1].function.parameters",
        ),
        (
            {"messages": [{"role": "user", "content": "a", "tool_calls": [{"id": "c", "function": {"name": "f"}}]}]},
            "messages[0].tool_calls",
        ),
    ],
)
def test_tools_that_make_no_sense_are_refused_by_name(http: httpx.Client, fields: dict[str, Any], param: str) -> None:
    status, _, named = fault(
        http.post("/v1/chat/completions", json={"model": "vlm-fast", "messages": asking("Hello"), **fields})
    )
    assert (status, named) == (400, param)


def test_a_selection_of_the_tools_is_one(http: httpx.Client) -> None:
    choice = {
        "type": "allowed_tools",
        "allowed_tools": {"mode": "required", "tools": [{"type": "function", "function": {"name": "stop"}}]},
    }
    body = {"model": "vlm-fast", "messages": asking("Hello"), "tools": TOOLS, "tool_choice": choice}
    answer = http.post("/v1/chat/completions", json=body).raise_for_status().json()
    (call,) = answer["choices"][0]["message"]["tool_calls"]
    assert call["function"] == {"name": "stop", "arguments": "{}"}
