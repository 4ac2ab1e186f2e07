"""What routes make of a model's words: JSON that fits a schema, yes or no."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from deployments.ingress.errors import ApiError
from deployments.ingress.requests.json_schemas import check, value_of
from deployments.ingress.services.caption_writer import is_yes


async def test_an_answer_that_fits_is_a_value() -> None:
    assert await value_of('```json\n{"n": 3}\n```', {"type": "object", "properties": {"n": {"type": "integer"}}}) == {
        "n": 3
    }


async def test_references_inside_the_schema_are_followed() -> None:
    schema = {"$ref": "#/$defs/n", "$defs": {"n": {"type": "integer"}}}
    assert await value_of("3", schema) == 3


@pytest.mark.parametrize(
    ("answer", "schema"),
    [
        ('"three"', {"type": "integer"}),
        ("three", {"type": "integer"}),
        ('{"n": 3', {"type": "object"}),
        ("", {}),
        ('"ba"', {"type": "string", "pattern": "^ab$"}),
        ("[" * 100_000, {}),
        ("1e999", {"type": "number"}),
        ("NaN", {}),
        ("-Infinity", {"type": "number"}),
    ],
)
async def test_an_answer_that_does_not_fit_is_a_502(answer: str, schema: dict[str, Any]) -> None:
    with pytest.raises(ApiError) as refused:
        await value_of(answer, schema)
    assert (refused.value.status, refused.value.code) == (502, "invalid_model_output")


async def test_a_reference_out_of_the_schema_is_refused_and_not_fetched(tmp_path: Path) -> None:
    outside = tmp_path / "outside.json"
    outside.write_text("{}")
    schemas: list[dict[str, Any]] = [{"$ref": outside.as_uri()}, {"$ref": "#/$defs/none"}, {"$ref": "#"}]
    for schema in schemas:
        with pytest.raises(ApiError) as refused:
            await check(schema, "schema")
        assert (refused.value.status, refused.value.code, refused.value.param) == (400, "invalid_schema", "schema")


@pytest.mark.parametrize(
    ("answer", "flag"),
    [
        ("Yes.", True),
        ("*yes*", True),
        ("はい、円です", True),
        ("네, 맞아요", True),
        ("no, yes", False),
        (",", False),
        ("", False),
    ],
)
def test_a_flag_is_what_the_first_word_says(answer: str, flag: bool) -> None:
    assert is_yes(answer, "gemma") is flag
