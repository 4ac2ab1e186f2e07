"""Anthropic's dialect, by its official SDK and in the shape that Claude Code sends."""

from __future__ import annotations

import base64
import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import anthropic
import httpx
import jsonschema
import pytest

from tests.api.pictures import png, scene

TOOL: Any = {
    "name": "report",
    "description": "Says what is seen",
    "input_schema": {"type": "object", "properties": {"colour": {"enum": ["red", "blue"]}}, "required": ["colour"]},
}
HELLO: Any = [{"role": "user", "content": "Hello"}]
_RECORDED = Path(__file__).parent / "claude_code.json"


@pytest.fixture(scope="module")
def claude(server: Any) -> Iterator[anthropic.Anthropic]:
    with anthropic.Anthropic(base_url=server.url, api_key="none", max_retries=0) as client:
        yield client


def circle(colour: str = "red") -> dict[str, Any]:
    data = base64.b64encode(png(scene("circle", colour, "blue"))).decode()
    return {"type": "image", "source": {"type": "base64", "media_type": "image/png", "data": data}}


def test_a_picture_is_looked_at(claude: anthropic.Anthropic) -> None:
    question: Any = [circle(), {"type": "text", "text": "What colour is the circle?"}]
    answer = claude.messages.create(
        model="claude-opus-5",
        max_tokens=50,
        messages=[{"role": "user", "content": question}],
    )
    assert [(block.type, block.text) for block in answer.content if block.type == "text"] == [("text", "Red")]
    assert (answer.type, answer.role, answer.model) == ("message", "assistant", "claude-opus-5")
    assert (answer.stop_reason, answer.stop_sequence) == ("end_turn", None)
    assert answer.usage.input_tokens > answer.usage.output_tokens > 0
    assert answer._request_id == answer.id.removeprefix("msg_")


def test_a_stream_is_the_same_answer_in_the_order_of_events_that_the_sdk_reads(claude: anthropic.Anthropic) -> None:
    whole = claude.messages.create(model="vlm-fast", max_tokens=50, messages=HELLO)
    with claude.messages.stream(model="vlm-fast", max_tokens=50, messages=HELLO) as stream:
        kinds = [event.type for event in stream]
        final = stream.get_final_message()
    assert (kinds[0], kinds[-2:]) == ("message_start", ["message_delta", "message_stop"])
    assert [kind for kind in kinds if kind.endswith(("_start", "_stop"))] == [
        "message_start",
        "content_block_start",
        "content_block_stop",
        "message_stop",
    ]
    assert final.content[0].to_dict() == whole.content[0].to_dict()
    assert (final.stop_reason, final.usage) == (whole.stop_reason, whole.usage)


def test_events_have_names_and_a_ping_comes_early(http: httpx.Client) -> None:
    body = {"model": "vlm-fast", "max_tokens": 5, "messages": HELLO, "stream": True}
    lines = http.post("/v1/messages", json=body).text.split("\n\n")
    names = [line.split("\n")[0].removeprefix("event: ") for line in lines if line]
    types = [json.loads(line.split("data: ")[1])["type"] for line in lines if line]
    assert names == types
    assert names[1] == "ping"


def test_system_texts_are_read_as_a_text_or_as_blocks(claude: anthropic.Anthropic) -> None:
    plain = claude.messages.count_tokens(model="vlm-fast", messages=HELLO).input_tokens
    text = claude.messages.count_tokens(model="vlm-fast", messages=HELLO, system="Be brief.").input_tokens
    blocks = claude.messages.count_tokens(
        model="vlm-fast", messages=HELLO, system=[{"type": "text", "text": "Be brief."}]
    ).input_tokens
    assert plain < text == blocks


def test_a_stop_sequence_is_named(claude: anthropic.Anthropic) -> None:
    whole = claude.messages.create(model="vlm-fast", max_tokens=50, messages=HELLO).content[0]
    assert whole.type == "text"
    word = whole.text.split()[2]
    cut = claude.messages.create(model="vlm-fast", max_tokens=50, messages=HELLO, stop_sequences=["zzz", word])
    assert (cut.stop_reason, cut.stop_sequence) == ("stop_sequence", word)
    assert cut.content[0].type == "text"
    assert cut.content[0].text == whole.text[: whole.text.index(word)]


def test_an_answer_that_is_cut_off_says_so(claude: anthropic.Anthropic) -> None:
    assert claude.messages.create(model="vlm-fast", max_tokens=2, messages=HELLO).stop_reason == "max_tokens"


@pytest.mark.parametrize("choice", [{"type": "any"}, {"type": "tool", "name": "report"}])
def test_a_tool_that_has_to_be_called_is_called_and_its_result_read(claude: anthropic.Anthropic, choice: Any) -> None:
    asked: Any = {"model": "vlm-fast", "max_tokens": 100, "tools": [TOOL]}
    one: Any = {**choice, "disable_parallel_tool_use": True}
    with claude.messages.stream(**asked, messages=HELLO, tool_choice=one) as stream:
        called = stream.get_final_message()
    (use,) = called.content
    assert use.type == "tool_use"
    assert (use.name, called.stop_reason) == ("report", "tool_use")
    jsonschema.validate(use.input, TOOL["input_schema"])
    whole = claude.messages.create(**asked, messages=HELLO, tool_choice=one).content[0]
    assert whole.type == "tool_use"
    assert whole.input == use.input
    result: Any = {
        "type": "tool_result",
        "tool_use_id": use.id,
        "content": [{"type": "text", "text": "noted"}, circle()],
    }
    then: Any = [*HELLO, {"role": "assistant", "content": [use.to_dict()]}, {"role": "user", "content": [result]}]
    answer = claude.messages.create(**{**asked, "max_tokens": 10}, messages=then)
    assert answer.content[0].type == "text"


def test_the_answer_satisfies_a_schema(http: httpx.Client) -> None:
    schema = {"type": "object", "properties": {"red": {"type": "boolean"}}, "required": ["red"]}
    form = {"output_config": {"format": {"type": "json_schema", "schema": schema}}}
    answer = http.post("/v1/messages", json={"model": "vlm-fast", "max_tokens": 50, "messages": HELLO, **form})
    jsonschema.validate(json.loads(answer.raise_for_status().json()["content"][0]["text"]), schema)


def test_a_model_that_draws_gives_a_picture_and_changes_it_when_it_comes_back(claude: anthropic.Anthropic) -> None:
    asked: Any = {"model": "atelier", "max_tokens": 100}
    wish: Any = [{"role": "user", "content": "Draw a big red circle on a white background"}]
    with claude.messages.stream(**asked, messages=wish) as stream:
        drawn = stream.get_final_message()
    whole = claude.messages.create(**asked, messages=wish)
    assert [block.type for block in drawn.content] == [block.type for block in whole.content] == ["image", "text"]
    source: Any = drawn.content[0].to_dict()["source"]
    assert base64.b64decode(source["data"]).startswith(b"\x89PNG")
    told = [*wish, {"role": "assistant", "content": [block.to_dict() for block in drawn.content]}]
    again = claude.messages.create(**asked, messages=[*told, {"role": "user", "content": "make the circle blue"}])
    assert [block.type for block in again.content] == ["image", "text"]


@pytest.mark.parametrize("case", json.loads(_RECORDED.read_text(encoding="utf-8")), ids=lambda case: case["name"])
def test_what_claude_code_sends_is_answered(http: httpx.Client, case: dict[str, Any]) -> None:
    body = {**case["body"], "max_tokens": 40}  # what a small model would ramble on with is not waited for
    answer = http.post("/v1/messages?beta=true", json=body, headers=case["headers"]).raise_for_status()
    ignored = answer.headers["x-ignored-parameters"].split(", ")
    assert set(case["ignored"]) <= set(ignored)
    assert answer.headers["request-id"]
    if case["body"].get("stream"):
        assert answer.text.rstrip().endswith('data: {"type": "message_stop"}')
    else:
        assert answer.json()["type"] == "message"


@pytest.mark.parametrize(
    ("change", "param"),
    [
        ({"max_tokens": None}, "max_tokens"),
        ({"messages": []}, "messages"),
        ({"messages": [{"role": "user", "content": ""}]}, "messages[0].content"),
        ({"messages": [*HELLO, {"role": "assistant", "content": "I"}]}, "messages[1].role"),
        ({"messages": [{"role": "user", "content": [{"type": "document"}]}]}, "messages[0].content[0].type"),
        ({"messages": [{"role": "user", "content": [{"type": "image", "source": {"type": "base64"}}]}]},
         "messages[0].content[0].source.data"),
        ({"messages": [{"role": "user", "content": [{"type": "tool_use", "id": "a", "name": "b", "input": {}}]}]},
         "messages[0].content[0]"),
        ({"tools": [{"type": "web_search_20250305", "name": "web_search"}]}, "tools[0].type"),
        ({"tools": [TOOL], "tool_choice": {"type": "tool"}}, "tool_choice.name"),
        ({"tools": [TOOL], "tool_choice": {"type": "tool", "name": "other"}}, "tool_choice.name"),
        ({"tool_choice": {"type": "any"}}, "tool_choice"),
        ({"stop_sequences": [""]}, "stop_sequences"),
        ({"temperature": 1.5}, "temperature"),
        ({"mcp_servers": [{"type": "url", "url": "http://a.test", "name": "a"}]}, "mcp_servers"),
        ({"modle": "a"}, "modle"),
    ],
    ids=lambda value: value if isinstance(value, str) else "",
)  # fmt: skip
def test_mistakes_are_named_in_the_dialects_own_envelope(http: httpx.Client, change: Any, param: str) -> None:
    body = {"model": "vlm-fast", "max_tokens": 5, "messages": HELLO, **change}
    answer = http.post("/v1/messages", json=body)
    told = answer.json()
    assert (answer.status_code, told["type"], told["error"]["type"]) == (400, "error", "invalid_request_error")
    assert (told["error"]["param"], told["request_id"]) == (param, answer.headers["request-id"])


def test_an_unknown_model_is_not_found(claude: anthropic.Anthropic) -> None:
    with pytest.raises(anthropic.NotFoundError) as raised:
        claude.messages.create(model="nothing", max_tokens=5, messages=HELLO)
    assert raised.value.request_id
