"""Tools with tiny checkpoints: what their templates get, and calls that are held by grammar."""

from __future__ import annotations

import json
from typing import Any

import jsonschema
import pytest

from models.chat.calls import whole_calls
from models.chat.engines.vlm import TransformersVlmEngine
from models.chat.template import probed
from models.errors import InvalidInput
from models.tasks import ChatDelta, Message, TextPart, Tool, ToolCall
from tests import checkpoints
from tests.models.chat.conversations import chat, deltas, picture, user
from tests.models.chat.tool_templates import HERMES
from tests.models.conftest import Shelf, entry_of, loaded

SCENE: dict[str, Any] = {
    "type": "object",
    "properties": {"shape": {"enum": ["circle", "star"]}, "words": {"type": "string"}},
    "required": ["shape", "words"],
}
TOOLS = (Tool("describe_scene", "What is seen", SCENE), Tool("stop"))


@pytest.fixture(scope="module")
def teller(tmp_path_factory: pytest.TempPathFactory) -> TransformersVlmEngine:
    """A tiny Qwen2.5-VL with a template that knows tools."""
    folder = tmp_path_factory.mktemp("teller")
    checkpoints.write_qwen2_5_vl(folder)
    template = HERMES.replace("<IMAGE>", "<|vision_start|><|image_pad|><|vision_end|>")
    (folder / "chat_template.jinja").write_text(template)
    engine: TransformersVlmEngine = loaded(entry_of("vlm", folder))
    return engine


def called(pieces: list[ChatDelta]) -> list[tuple[str, Any]]:
    calls = whole_calls([call for piece in pieces for call in piece.calls])
    return [(call.name, json.loads(call.arguments)) for call in calls]


@pytest.mark.parametrize("temperature", [0.0, 1.5])
@pytest.mark.parametrize("must_call", [("describe_scene",), ("describe_scene", "stop")])
def test_a_call_that_has_to_be_made_is_made_whatever_the_model(
    vlm: TransformersVlmEngine, must_call: tuple[str, ...], temperature: float
) -> None:
    job = chat(
        user(picture("red"), "hello"), max_tokens=150, tools=TOOLS, must_call=must_call, temperature=temperature, seed=3
    )
    pieces = deltas(vlm, job)
    assert pieces[-1].finish_reason == "tool_calls"
    assert not "".join(piece.text for piece in pieces)
    ((name, arguments),) = called(pieces)
    assert name in must_call
    if name == "describe_scene":
        jsonschema.validate(arguments, {**SCENE, "additionalProperties": False})


def test_arguments_come_in_pieces_behind_the_name(vlm: TransformersVlmEngine) -> None:
    pieces = [
        call
        for delta in deltas(vlm, chat(user("hello"), max_tokens=120, tools=TOOLS, must_call=("describe_scene",)))
        for call in delta.calls
    ]
    assert (pieces[0].name, pieces[0].arguments) == ("describe_scene", "")
    assert pieces[0].id
    assert len(pieces) > 5
    assert all(piece.id is None and piece.name is None and piece.index == 0 for piece in pieces[1:])


def test_several_calls_are_made_only_where_they_are_wanted(vlm: TransformersVlmEngine) -> None:
    job = chat(user("hello"), max_tokens=120, tools=TOOLS, must_call=("stop",), calls_several=True, temperature=1.0)
    pieces = deltas(vlm, job)
    assert pieces[-1].finish_reason == "tool_calls"
    assert {name for name, _ in called(pieces)} == {"stop"}


def test_a_stop_text_does_not_cut_arguments(vlm: TransformersVlmEngine) -> None:
    job = chat(user("hello"), max_tokens=120, tools=TOOLS, must_call=("describe_scene",), stop=('"',))
    assert called(deltas(vlm, job))


def test_arguments_that_the_limit_cuts_end_with_length(vlm: TransformersVlmEngine) -> None:
    job = chat(user("hello"), max_tokens=3, tools=TOOLS, must_call=("describe_scene",))
    assert deltas(vlm, job)[-1].finish_reason == "length"


def test_tools_reach_the_model_through_its_template(teller: TransformersVlmEngine) -> None:
    plain, told = (deltas(teller, chat(user("hello"), tools=tools, max_tokens=1))[-1].usage for tools in ((), TOOLS))
    assert plain is not None
    assert told is not None
    assert told.prompt_tokens > plain.prompt_tokens + 50


def test_a_template_without_tools_is_not_given_them(vlm: TransformersVlmEngine) -> None:
    plain, told = (deltas(vlm, chat(user("hello"), tools=tools)) for tools in ((), TOOLS))
    assert [(piece.text, piece.usage) for piece in plain] == [(piece.text, piece.usage) for piece in told]
    assert {piece.ignored for piece in told} == {("tools",)}
    assert {piece.ignored for piece in plain} == {()}


def test_calls_and_results_of_a_conversation_are_read(teller: TransformersVlmEngine) -> None:
    call = Message("assistant", (), (ToolCall("call_1", "describe_scene", '{"shape": "star", "words": "a"}'),))
    shown = Message("tool", (TextPart("a blue star"),), call_id="call_1")
    job = chat(user(picture("red"), "hello"), call, shown, tools=TOOLS, max_tokens=1)
    usage = deltas(teller, job)[-1].usage
    shorter = deltas(teller, chat(user(picture("red"), "hello"), tools=TOOLS, max_tokens=1))[-1].usage
    assert usage is not None
    assert shorter is not None
    assert usage.prompt_tokens > shorter.prompt_tokens
    assert usage.image_tokens == shorter.image_tokens


def test_a_call_that_a_model_writes_by_itself_comes_back_as_one(
    teller: TransformersVlmEngine, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A tiny model has learned nothing, so its tokens are chosen for it; the rest is as with any."""
    written = 'Well.\n<tool_call>\n{"name": "stop", "arguments": {}}\n</tool_call>'
    monkeypatch.setattr("models.chat.sampling.form_of", lambda job: (written,) if job.tools else None)
    job = chat(user("hello"), tools=TOOLS, max_tokens=200)
    pieces = deltas(teller, job)
    assert "".join(piece.text for piece in pieces) == "Well."
    assert called(pieces) == [("stop", {})]
    assert pieces[-1].finish_reason == "tool_calls"


def test_a_schema_that_no_arguments_can_fit_is_refused(vlm: TransformersVlmEngine) -> None:
    impossible = Tool("f", None, {"type": "object", "properties": {"a": {"enum": []}}, "required": ["a"]})
    with pytest.raises(InvalidInput):
        deltas(vlm, chat(user("hello"), tools=(impossible,), must_call=("f",)))


def test_the_built_in_model_is_found_to_know_no_tools(shelf: Shelf) -> None:
    engine = loaded(shelf("internvl"))
    assert engine._template.call_format is None
    assert probed(engine._render, []).call_format is None
