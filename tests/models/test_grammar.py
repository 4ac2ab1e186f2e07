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

from models.errors import InvalidInput
from models.grammar import Form, Grammar, check, matches, vocabulary_of
from training.evaluate import MODELS

_TOKENIZER = AutoTokenizer.from_pretrained(MODELS / "vlm")
_END = _TOKENIZER.convert_tokens_to_ids("<|im_end|>")
_VOCABULARY = vocabulary_of(_TOKENIZER, len(_TOKENIZER), [_END])


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


def test_patterns_match_as_json_schema_means_them_and_never_for_long() -> None:
    assert matches("a+b", "xaab")
    assert matches("^a+b$", "aab")
    assert not matches("^a+b$", "aabc")
    assert matches("^[가-힣]{2}$", "빨강")
    assert not matches("^(a+)+$", "a" * 5_000 + "b")
