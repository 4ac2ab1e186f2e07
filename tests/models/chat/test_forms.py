"""Forms as they are decoded: closed, with an end, and narrower than what the caller asked for."""

from __future__ import annotations

import json
from typing import Any

import jsonschema
import numpy as np
import pytest
from transformers import AutoTokenizer

from models.chat.forms import MAX_CALLS, closed
from models.chat.grammar import Form, Grammar, ToolCalls, check, form_of
from models.chat.vocabulary import Vocabulary
from models.tasks import ChatJob, Message, TextPart, Tool
from training.evaluate import MODELS

_TOKENIZER = AutoTokenizer.from_pretrained(MODELS / "vlm")
_END = _TOKENIZER.convert_tokens_to_ids("<|im_end|>")
_VOCABULARY = Vocabulary(_TOKENIZER, len(_TOKENIZER), [_END])

PERSON: dict[str, Any] = {
    "type": "object",
    "properties": {
        "name": {"type": "string"},
        "weight": {"type": "number"},
        "tags": {"type": "array", "items": {"type": "string"}},
        "children": {"type": "array", "items": {"$ref": "#/$defs/Child"}},
    },
    "required": ["name", "weight", "tags", "children"],
    "$defs": {
        "Child": {
            "type": "object",
            "properties": {
                "a_long_required_name": {"type": "string"},
                "another_rather_long_name": {"type": "integer"},
                "best_friend": {"anyOf": [{"$ref": "#/$defs/Child"}, {"type": "null"}]},
            },
            "required": ["a_long_required_name", "another_rather_long_name"],
        }
    },
}
NOTHING: dict[str, Any] = {"type": "object", "properties": {}}


def rambling(form: Form, room: int, seed: int) -> str | None:
    """What a model that never wants to end writes: tokens drawn among the allowed; None where it did not end."""
    grammar, rng = Grammar(_VOCABULARY, form, room), np.random.default_rng(seed)
    written: list[int] = []
    for _ in range(room):
        allowed = np.flatnonzero(grammar.allowed())
        more = allowed[allowed != _END]
        if not len(more):
            return str(_TOKENIZER.decode(written))
        written.append(int(rng.choice(more)))
        grammar.accept(written[-1])
    return None


@pytest.mark.parametrize(
    ("form", "rooms"),
    [
        (PERSON, (60, 200)),
        ({"type": "object"}, (40, 200)),
        ({}, (20, 100)),
        ({"type": "object", "properties": {"n": {"type": "number"}}, "required": ["n"]}, (40, 200)),
        ({"type": "array", "items": {}}, (30, 150)),
        ({"type": "object", "additionalProperties": {"type": "integer"}}, (40, 150)),
        ({"type": "array", "items": {"$ref": "#/$defs/Child"}, "$defs": PERSON["$defs"]}, (60, 150)),
    ],
)
def test_json_is_closed_before_the_tokens_are_used_up_however_the_model_rambles(
    form: dict[str, Any], rooms: tuple[int, ...]
) -> None:
    check(form)
    for room in rooms:
        for seed in range(4):
            text = rambling(form, room, seed)
            assert text is not None, (room, seed)
            jsonschema.validate(json.loads(text), form)


@pytest.mark.parametrize("several", [False, True])
def test_calls_that_have_to_be_made_are_closed_too(several: bool) -> None:
    form = ToolCalls((Tool("person", None, PERSON), Tool("stop", None, NOTHING)), several)
    for seed in range(6):
        text = rambling(form, 200, seed)
        assert text is not None
        calls = json.loads(text) if several else [json.loads(text)]
        assert 1 <= len(calls) <= MAX_CALLS
        for call in calls:
            jsonschema.validate(call["arguments"], {"person": PERSON, "stop": NOTHING}[call["name"]])


def test_one_tool_that_has_to_be_called_is_its_arguments() -> None:
    text = rambling(ToolCalls((Tool("person", None, PERSON),)), 200, 0)
    assert text is not None
    jsonschema.validate(json.loads(text), PERSON)


def test_a_free_choice_is_left_free_with_few_tokens() -> None:
    colours = {"type": "object", "properties": {"c": {"enum": ["red", "blue", "green", "violet"]}}, "required": ["c"]}
    found = {rambling(colours, 16, seed) for seed in range(40)}
    assert len(found) == 4
    assert None not in found


def test_numbers_do_not_go_on_for_ever() -> None:
    grammar = Grammar(_VOCABULARY, {"type": "number"}, 500)
    three = _VOCABULARY.single("3")[0]
    written = [*_VOCABULARY.single("0"), *_VOCABULARY.single(".")]
    for token in written:
        grammar.accept(token)
    while grammar.allowed()[three]:
        written.append(three)
        grammar.accept(three)
    assert 15 <= len(written) <= 20
    assert grammar.allowed()[_END]


def test_digits_in_a_text_are_not_a_number() -> None:
    grammar = Grammar(_VOCABULARY, {"type": "string"}, 500)
    for token in [*_VOCABULARY.single('"'), *_VOCABULARY.single("3") * 40]:
        assert grammar.allowed()[token]
        grammar.accept(token)


@pytest.mark.parametrize(
    ("schema", "right", "wrong"),
    [
        (PERSON["$defs"]["Child"], {"a_long_required_name": "a", "another_rather_long_name": 1}, "more"),
        ({"type": "array", "items": {"type": "object", "properties": {"a": {}}}}, [{"a": 1}], None),
        ({"anyOf": [{"type": "object", "properties": {"a": {}}}, {"type": "null"}]}, {"a": 1}, "more"),
        ({"$ref": "#/$defs/A", "$defs": {"A": {"type": "object", "properties": {"a": {}}}}}, {"a": 1}, "more"),
        ({"allOf": [{"type": "object", "properties": {"a": {}}}]}, {"a": 1}, "more"),
        ({"type": "object", "patternProperties": {"^x": {}}}, {"x1": 2}, "more"),
    ],
)
def test_objects_hold_their_properties_and_nothing_else(schema: dict[str, Any], right: Any, wrong: str | None) -> None:
    narrowed = closed(schema)
    jsonschema.validate(right, narrowed)
    with pytest.raises(jsonschema.ValidationError):
        jsonschema.validate({**right, wrong: 1} if wrong else [{**right[0], "more": 1}], narrowed)


@pytest.mark.parametrize(
    ("schema", "value"),
    [
        ({"type": "object", "properties": {"a": {}}, "additionalProperties": True}, {"a": 1, "b": 2}),
        ({"type": "object", "properties": {"a": {}}, "additionalProperties": {"type": "integer"}}, {"b": 2}),
        ({"type": "object"}, {"b": 2}),
        ({"type": "object", "properties": {"a": {}}, "required": ["a", "b"]}, {"a": 1, "b": 2}),
        (
            {
                "allOf": [{"type": "object", "properties": {"a": {}}}, {"$ref": "#/$defs/B"}],
                "$defs": {"B": {"type": "object", "properties": {"b": {}}, "required": ["b"]}},
            },
            {"a": 1, "b": 2},
        ),
        (
            {"type": "object", "properties": {"a": {}}, "anyOf": [{"properties": {"b": {}}, "required": ["b"]}]},
            {"a": 1, "b": 2},
        ),
    ],
)
def test_what_a_schema_says_about_more_properties_stays(schema: dict[str, Any], value: Any) -> None:
    jsonschema.validate(value, closed(schema))


def test_a_schema_is_not_changed() -> None:
    before = json.dumps(PERSON)
    closed(PERSON)
    rambling(PERSON, 20, 0)
    assert json.dumps(PERSON) == before


def test_calls_go_before_a_form() -> None:
    tool = Tool("stop")
    job = ChatJob((Message("user", (TextPart("a"),)),), form={"type": "object"}, tools=(tool,), must_call=("stop",))
    assert form_of(job) == ToolCalls((tool,))
