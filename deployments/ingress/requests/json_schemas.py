"""JSON schemas of callers: refused before any work when no answer can satisfy them; answers checked against them."""

from __future__ import annotations

import json
import re
from collections.abc import Mapping
from typing import Any

from deployments.executors import COMPUTING
from deployments.ingress.errors import ApiError, invalid
from models.chat import grammar
from models.errors import InvalidInput


async def check(schema: Mapping[str, Any], param: str) -> None:
    """Raises ApiError 400 naming `param` for a schema that no answer can satisfy, or that says what is unknown here."""
    try:
        await COMPUTING.run(grammar.check, schema)
    except InvalidInput as error:
        raise invalid(param, f"{param}: {error.message}", error.code) from error


async def value_of(text: str, schema: Mapping[str, Any]) -> Any:
    """The JSON value that an answer is, found to satisfy a checked schema: not every engine can be held to one.

    Raises:
        ApiError: 502 `invalid_model_output`.
    """
    bare = re.sub(r"^```(?:json)?\s*|\s*```$", "", text.strip())
    try:
        value = json.loads(bare)
        if await COMPUTING.run(grammar.satisfies, schema, value):
            return value
    except (ValueError, RecursionError):
        pass
    raise ApiError(502, "the model's answer does not fit the schema", code="invalid_model_output", param="schema")
