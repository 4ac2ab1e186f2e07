"""JSON schemas of callers: refused before any work when no answer can satisfy them; answers checked against them."""

from __future__ import annotations

import asyncio
import json
import re
from collections.abc import Iterator, Mapping
from typing import Any

import jsonschema
import referencing

from deployments.ingress.errors import ApiError, invalid
from models import grammar
from models.errors import InvalidInput


async def check(schema: Mapping[str, Any], param: str) -> None:
    """Raises ApiError 400 naming `param` for a schema that no answer can satisfy, or that says what is unknown here."""
    try:
        await asyncio.to_thread(grammar.check, schema)
    except InvalidInput as error:
        raise invalid(param, f"{param}: {error.message}", error.code) from error


def value_of(text: str, schema: Mapping[str, Any]) -> Any:
    """The JSON value that an answer is, found to satisfy a checked schema: not every engine can be held to one.

    Raises:
        ApiError: 502 `invalid_model_output`.
    """
    bare = re.sub(r"^```(?:json)?\s*|\s*```$", "", text.strip())
    try:
        value = json.loads(bare)
        # with a registry of its own, the validator fetches nothing that a caller's `$ref` may name
        _Validator(schema, registry=referencing.Registry()).validate(value)
    except (ValueError, RecursionError, jsonschema.ValidationError, referencing.exceptions.Unresolvable) as error:
        raise ApiError(
            502, "the model's answer does not fit the schema", code="invalid_model_output", param="schema"
        ) from error
    return value


def _pattern(
    _validator: object, pattern: str, instance: object, _schema: object
) -> Iterator[jsonschema.ValidationError]:
    if isinstance(instance, str) and not grammar.matches(pattern, instance):
        yield jsonschema.ValidationError(f"{instance[:100]!r} does not match {pattern[:100]!r}")


# a caller's regular expression can take Python's engine forever, and this is the loop that serves everybody
_Validator = jsonschema.validators.extend(  # type: ignore[no-untyped-call]
    jsonschema.Draft202012Validator, {"pattern": _pattern}
)
