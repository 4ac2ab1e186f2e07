"""Forms of answers: what is refused, what may come next, what matches."""

from __future__ import annotations

import json
from typing import Any

import jsonschema
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from transformers import AutoTokenizer

from models.chat.grammar import Form, Grammar, check, satisfies
from models.chat.vocabulary import Vocabulary
from models.errors import InvalidInput
from training.evaluate import MODELS

_TOKENIZER = AutoTokenizer.from_pretrained(MODELS / "vlm")
_END = _TOKENIZER.convert_tokens_to_ids("<|im_end|>")
_VOCABULARY = Vocabulary(_TOKENIZER, len(_TOKENIZER), [_END])


def written(form: Form, rng: np.random.Generator, most: int = 400) -> str | None:
    """An answer of tokens drawn among the allowed ones; None if it did not end."""
    grammar = Grammar(_VOCABULARY, form)
    tokens: list[int] = []
    for _ in range(most):
        allowed = np.flatnonzero(grammar.allowed())
        token = _END if _END in allowed else int(rng.choice(allowed))
        if token == _END:
            return str(_TOKENIZER.decode(tokens))
        tokens.append(token)
        grammar.accept(token)
    return None


_VALUES = st.sampled_from([True, None, 3, "red", "빨간", 'a "quoted" text'])
_SCHEMAS = st.recursive(
    st.sampled_from([{"type": "integer", "minimum": 0, "maximum": 50}, {"type": "boolean"}, {"type": "null"}])
    | st.lists(_VALUES, min_size=1, max_size=4).map(lambda values: {"enum": values})
    | st.just({"type": "string", "maxLength": 5}),
    lambda inner: (
        st.dictionaries(st.sampled_from(["a", "색", "n m"]), inner, min_size=1).map(
            lambda fields: {
                "type": "object",
                "properties": fields,
                "required": list(fields),
                "additionalProperties": False,
            }
        )
        | inner.map(lambda items: {"type": "array", "items": items, "minItems": 1, "maxItems": 3})
    ),
    max_leaves=4,
)


@settings(max_examples=60, deadline=None)
@given(schema=_SCHEMAS, seed=st.integers(0, 2**32 - 1))
def test_whatever_is_allowed_ends_in_json_that_satisfies_the_schema(schema: dict[str, Any], seed: int) -> None:
    check(schema)
    text = written(schema, np.random.default_rng(seed))
    if text is not None:
        jsonschema.validate(json.loads(text), schema)


def test_one_of_several_texts_is_one_of_them() -> None:
    form = ("yes", "no", "네", "a b|c", 'say "x"')
    found = {written(form, np.random.default_rng(seed)) for seed in range(60)}
    assert found == set(form)


@pytest.mark.parametrize(
    "schema",
    [
        {"type": "nonsense"},
        {"enum": []},
        {"type": "string", "minLength": 5, "maxLength": 3},
        {"allOf": [{"type": "string"}, {"type": "integer"}]},
        {"$ref": "#/$defs/none"},
        {"$ref": "http://127.0.0.1/schema.json"},
        {"$ref": "file:///etc/passwd"},
        {"$ref": "#"},
        {"type": "string", "pattern": "(?=a)b"},
        {"not": {"type": "string"}},
        {"type": "object", "properties": {"a": 3}},
        {"type": "object", "properties": 5},
        {"type": "object", "properties": []},
        {"type": "object", "properties": {f"p{i}": {"enum": [f"v{j}" for j in range(50)]} for i in range(2000)}},
    ],
)
def test_a_schema_that_cannot_be_met_is_refused(schema: dict[str, Any]) -> None:
    with pytest.raises(InvalidInput) as refused:
        check(schema)
    assert refused.value.code == "invalid_schema"
    assert len(str(refused.value)) <= 300


@pytest.mark.parametrize("depth", [200, 5_000])
def test_a_schema_nested_too_deeply_is_refused(depth: int) -> None:
    schema: dict[str, Any] = {"type": "string"}
    for _ in range(depth):
        schema = {"type": "array", "items": schema}
    with pytest.raises(InvalidInput):
        check(schema)


@pytest.mark.parametrize("number", [100_003, 4_000_007, 1.000003, 0.1000001])
def test_a_multiple_that_would_take_minutes_to_compile_is_refused(number: float) -> None:
    with pytest.raises(InvalidInput, match="multipleOf"):
        check({"type": "array", "items": {"type": "number", "multipleOf": number}})
    check({"type": "number", "multipleOf": 0.001})
    check({"type": "integer", "multipleOf": 10_000_000})


def test_a_schema_of_many_pages_is_refused() -> None:
    with pytest.raises(InvalidInput, match="characters"):
        check({"enum": [str(number) for number in range(50_000)]})


@pytest.mark.parametrize(
    ("schema", "right", "wrong"),
    [
        ({"type": "string", "pattern": "a+b"}, "xaab", "xa"),
        ({"type": "string", "pattern": "^a+b$"}, "aab", "aabc"),
        ({"type": "string", "pattern": "^[가-힣]{2}$"}, "빨강", "빨"),
        ({"type": "string", "pattern": "^(a+)+$"}, "a" * 5_000, "a" * 5_000 + "b"),
        (
            {"type": "object", "patternProperties": {"^(a+)+$": {"const": 1}}, "additionalProperties": False},
            {"a" * 40: 1},
            {"a" * 40 + "!": 1},
        ),
        ({"type": "object", "properties": {"n": {"type": "integer"}}, "required": ["n"]}, {"n": 3}, {"m": 3}),
        ({"type": "number", "maximum": 5}, 4.5, 6),
    ],
)
def test_a_value_is_checked_in_time_that_grows_with_it_alone(schema: dict[str, Any], right: Any, wrong: Any) -> None:
    assert satisfies(schema, right)
    assert not satisfies(schema, wrong)


@pytest.mark.parametrize("schema", [{"type": "array", "$defs": [1]}, {"type": "number", "multipleOf": True}])
def test_a_word_with_a_value_that_means_nothing_fails_in_no_way_but_as_a_schema(schema: dict[str, Any]) -> None:
    try:
        check(schema)
    except InvalidInput as refused:
        assert refused.code == "invalid_schema"


def test_references_that_double_cost_nothing() -> None:
    levels: dict[str, Any] = {f"d{i}": {"anyOf": [{"$ref": f"#/$defs/d{i + 1}"}] * 2} for i in range(40)}
    schema = {"$ref": "#/$defs/d0", "$defs": {**levels, "d40": {"type": "string"}}}
    try:
        check(schema)
    except InvalidInput:
        return
    assert satisfies(schema, "3")
    assert not satisfies(schema, 3)
