"""Tools of an upstream: what it is asked, and what comes of its calls."""

from __future__ import annotations

import pytest
from PIL import Image

from models.chat.calls import whole_calls
from models.errors import UpstreamFailed
from models.tasks import CallDelta, ChatJob, ImagePart, Message, TextPart, Tool, ToolCall
from tests.api.pictures import data_url, png
from tests.models.chat.asking_upstream import ask, deltas, loaded, user
from tests.upstreams import FINE, chunk, pretending, saying


def _piece(**call: object) -> dict[str, object]:
    return {
        **chunk(),
        "choices": [{"index": 0, "delta": {"tool_calls": [{"index": 0, **call}]}, "finish_reason": None}],
    }


CALLING = saying(
    _piece(id="call_1", type="function", function={"name": "scene", "arguments": ""}),
    _piece(function={"arguments": '{"shape"'}),
    _piece(function={"arguments": ': "star"}'}),
    chunk(end="stop"),
    "[DONE]",
)
SCENE = Tool("scene", "What is seen", {"type": "object", "properties": {"shape": {"enum": ["circle", "star"]}}})


@pytest.mark.parametrize(
    ("must_call", "tools", "choice"),
    [
        ((), (SCENE,), None),
        (("scene",), (SCENE,), "required"),
        (("scene",), (SCENE, Tool("stop")), {"type": "function", "function": {"name": "scene"}}),
        (("scene", "stop"), (SCENE, Tool("stop")), "required"),
    ],
)
def test_tools_and_what_has_to_be_called_are_passed_on(
    must_call: tuple[str, ...], tools: tuple[Tool, ...], choice: object
) -> None:
    with pretending(CALLING) as pretender, loaded(pretender.url) as engine:
        deltas(engine, ask("Hello", tools=tools, must_call=must_call, calls_several=False))
    (asked,) = pretender.asked
    assert asked["tools"][0]["function"]["parameters"] == SCENE.parameters
    assert asked.get("tool_choice") == choice
    assert asked["parallel_tool_calls"] is False


def test_calls_of_the_upstream_come_in_pieces() -> None:
    with pretending(CALLING) as pretender, loaded(pretender.url) as engine:
        pieces = deltas(engine, ask("Hello", tools=(SCENE,)))
    calls = [call for piece in pieces for call in piece.calls]
    assert calls[0] == CallDelta(0, "", "call_1", "scene")
    assert whole_calls(calls) == (ToolCall("call_1", "scene", '{"shape": "star"}'),)
    assert pieces[-1].finish_reason == "tool_calls"


def test_an_upstream_that_does_not_call_what_it_has_to_is_at_fault() -> None:
    with (
        pretending(FINE) as pretender,
        loaded(pretender.url) as engine,
        pytest.raises(UpstreamFailed, match="called none"),
    ):
        deltas(engine, ask("Hello", tools=(SCENE,), must_call=("scene",)))


def test_calls_and_results_of_a_conversation_are_passed_on() -> None:
    call = ToolCall("call_1", "scene", '{"shape": "star"}')
    messages = (user("hi"), Message("assistant", (), (call,)), Message("tool", (TextPart("yes"),), call_id="call_1"))
    with pretending(FINE) as pretender, loaded(pretender.url) as engine:
        deltas(engine, ChatJob(messages, tools=(SCENE,)))
    _, made, result = pretender.asked[0]["messages"]
    assert made["content"] is None
    assert made["tool_calls"] == [
        {"id": "call_1", "type": "function", "function": {"name": "scene", "arguments": '{"shape": "star"}'}}
    ]
    assert result == {"role": "tool", "content": "yes", "tool_call_id": "call_1"}


def test_pictures_in_results_of_calls_come_from_the_user_after_them() -> None:
    pictures = [ImagePart(png(Image.new("RGB", (8, 8), colour))) for colour in ("red", "green", "blue")]

    def result(call_id: str, *parts: ImagePart) -> Message:
        return Message("tool", (TextPart("yes"), *parts), call_id=call_id)

    calls = tuple(ToolCall(f"call_{i}", "scene", "{}") for i in range(3))
    after = (
        user("hi"),
        Message("assistant", (), calls[:2]),
        result("call_0", pictures[0]),
        result("call_1", pictures[1]),
    )
    more = (Message("assistant", (), calls[2:]), result("call_2", pictures[2]))
    for messages in (after, (*after, *more, user("well?"))):
        with pretending(FINE) as pretender, loaded(pretender.url) as engine:
            deltas(engine, ChatJob(messages, tools=(SCENE,)))
        told = pretender.asked[0]["messages"]
        assert all(each["content"] == "yes" for each in told if each["role"] == "tool")
        assert [each["role"] for each in told[:5]] == ["user", "assistant", "tool", "tool", "user"]
        assert [part["type"] for part in told[4]["content"]] == ["image_url", "image_url"]
    assert [each["role"] for each in told[5:]] == ["assistant", "tool", "user"]
    assert [part["type"] for part in told[-1]["content"]] == ["image_url", "text"]
    shown = [part["image_url"]["url"] for each in told for part in each["content"] or () if "image_url" in part]
    assert shown == [data_url(each.image) for each in pictures]


def test_any_json_object_is_asked_for_as_such() -> None:
    with pretending(FINE) as pretender, loaded(pretender.url) as engine:
        deltas(engine, ask("Hello", form={"type": "object"}))
    assert pretender.asked[0]["response_format"] == {"type": "json_object"}
