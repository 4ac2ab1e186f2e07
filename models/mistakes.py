"""Mistakes in a configuration, each in one line: the key, the value, what is allowed."""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping, Sequence
from types import MappingProxyType
from typing import Any, get_args, get_origin

from pydantic import BaseModel, SecretStr, ValidationError

Place = tuple[int | str, ...]
BELOW = "mistake_below"
"""Type of an error whose message is itself a mistake, of a key below the place where it was found."""


def first_mistake(
    error: ValidationError,
    schema: type[BaseModel],
    within: str = "",
    variables: Mapping[str, str] = MappingProxyType({}),
) -> str:
    """The first of the mistakes. Values that may be secret are left out.

    Args:
        error: what the validation raised.
        schema: what was validated.
        within: the key under which it stands, if any.
        variables: the path of a setting: the environment variable that it comes from.
    """
    first = error.errors(include_url=False)[0]
    place = first["loc"]
    path = _path(within, *place)
    variable = variables.get(path) or (variables.get(str(place[0])) if place else None)
    key = f"{path} (from {variable})" if variable else path
    if first["type"] == BELOW:
        return f"{key}.{first['msg']}"
    if first["type"] == "extra_forbidden":
        return _unknown_key(key, _model(_annotation(schema, place[:-1])))
    if first["type"] == "missing":
        return f"{key}: is missing"
    message = re.sub(r"^(Value error|Assertion failed), ", "", first["msg"])
    if not key:
        return message
    secret = _may_hold_a_secret(_annotation(schema, place)) or any(
        word in str(part) for part in place for word in ("key", "token")
    )
    value = "" if secret or isinstance(first["input"], dict) else f"{first['input']!r}: "
    return f"{key}: {value}{message[:1].lower()}{message[1:]}"


def _may_hold_a_secret(annotation: Any) -> bool:
    return annotation is SecretStr or any(_may_hold_a_secret(part) for part in get_args(annotation))


def shape_mistakes(value: object, schema: type[BaseModel]) -> Iterator[str]:
    """Unknown keys, which many models pass over in silence, and what is not a mapping where one is needed."""
    return _shape_mistakes(value, schema, ())


def _shape_mistakes(value: object, annotation: Any, place: Place) -> Iterator[str]:
    model = _model(annotation)
    inner: Iterator[tuple[int | str, object]] = iter(())
    if isinstance(value, dict):
        for name in value:
            if model and name not in model.model_fields:
                yield _unknown_key(_path(*place, name), model)
        inner = iter(value.items())
    elif model and value is not None:
        yield f"{_path(*place)}: {value!r}: a mapping is needed; its keys may be {', '.join(model.model_fields)}"
    elif isinstance(value, list):
        inner = iter(enumerate(value))
    for key, each in inner:
        yield from _shape_mistakes(each, _annotation(annotation, (key,)), (*place, key))


def _path(*parts: int | str) -> str:
    return ".".join(str(part) for part in parts if part != "")


def _unknown_key(key: str, model: type[BaseModel] | None) -> str:
    return f"{key}: unknown key" + (f"; allowed here: {', '.join(model.model_fields)}" if model else "")


def _model(annotation: Any) -> type[BaseModel] | None:
    """The model that stands there, alone or among other types."""
    if isinstance(annotation, type) and issubclass(annotation, BaseModel):
        return annotation
    if isinstance(get_origin(annotation), type) and issubclass(get_origin(annotation), (dict, list, tuple)):
        return None
    return next((model for part in get_args(annotation) if (model := _model(part))), None)


def _annotation(annotation: Any, place: Sequence[int | str]) -> Any:
    """The type at a place below a type; None where nothing is said of it."""
    for part in place:
        origin, inner = get_origin(annotation), get_args(annotation)
        if model := _model(annotation):
            field = model.model_fields.get(str(part))
            annotation = field.annotation if field else None
        elif isinstance(origin, type) and issubclass(origin, (dict, list, tuple)):
            annotation = (inner[1] if origin is dict else inner[0]) if inner else None
        else:
            annotation = next((found for each in inner if (found := _annotation(each, (part,)))), None)
    return annotation
