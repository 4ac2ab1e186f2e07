"""Fields that a route does not know: found at any depth by their own paths, before anything else is checked.

Real clients send fields of other servers, so they are left out; what looks like a slip of the pen is not.
"""

from __future__ import annotations

import types
from collections.abc import Iterable, Mapping
from typing import Annotated, Any, Final, Literal, Union, get_args, get_origin

from pydantic import BaseModel

_OF_OTHER_SERVERS: Final = frozenset({"top_k", "top_a"})
"""Well-known names that are one letter away from names that routes have."""
_SHORTEST_SLIP: Final = 4
"""Names of fewer letters are too much alike."""


def known_fields(values: Mapping[str, Any], model: type[BaseModel]) -> tuple[dict[str, Any], list[str]]:
    """The values without what the model does not know, and the paths of that: `messages[0].content[1].cache_control`.

    On the way a whole number such as `512.0` becomes the integer that is wanted.
    """
    unknown: list[str] = []
    return _object(values, model, "", unknown), unknown


def meant_by(name: str, names: Iterable[str]) -> str | None:
    """The name that is one slip away: a letter too many, too few, another, or two in the wrong order."""
    if name in _OF_OTHER_SERVERS or len(name) < _SHORTEST_SLIP:
        return None
    return next((each for each in sorted(names) if len(each) >= _SHORTEST_SLIP and _is_slip(name, each)), None)


def names_of(model: type[BaseModel]) -> dict[str, Any]:
    """Every name by which a field may be given → the type of the field."""
    fields = model.model_fields.items()
    return {given: field.annotation for name, field in fields for given in (name, field.alias) if given}


def _object(values: Mapping[str, Any], model: type[BaseModel], path: str, unknown: list[str]) -> dict[str, Any]:
    names = names_of(model)
    kept = {}
    for name, value in values.items():
        here = f"{path}.{name}" if path else name
        if name in names:
            kept[name] = _value(value, names[name], here, unknown)
        elif value is not None:
            unknown.append(here)
    return kept


def _value(value: Any, annotation: Any, path: str, unknown: list[str]) -> Any:
    options = _options(annotation)
    match value:
        case dict():
            model = _meant_model(value, options)
            return value if model is None else _object(value, model, path, unknown)
        case list():
            inner = [get_args(option) for option in options if get_origin(option) is list]
            item = Union[tuple(each[0] for each in inner)] if inner else Any  # noqa: UP007 - of types found at run time
            return [_value(each, item, f"{path}[{i}]", unknown) for i, each in enumerate(value)]
        case float() if value.is_integer() and int in options and float not in options:
            return int(value)
    return value


def _options(annotation: Any) -> list[Any]:
    """The types of a union; of another type that one."""
    if get_origin(annotation) is Annotated:
        return _options(get_args(annotation)[0])
    if get_origin(annotation) in (Union, types.UnionType):
        return [option for each in get_args(annotation) for option in _options(each)]
    return [annotation]


def _meant_model(value: Mapping[str, Any], options: list[Any]) -> type[BaseModel] | None:
    """The model that an object is meant to be; None where none is, or where any object will do."""
    if any(option is Any or (get_origin(option) or option) is dict for option in options):
        return None
    models = [each for each in options if isinstance(each, type) and issubclass(each, BaseModel)]
    fitting = [model for model in models if _has_tags_of(value, model)]
    return max(fitting, key=lambda model: len(value.keys() & names_of(model).keys()), default=None)


def _has_tags_of(value: Mapping[str, Any], model: type[BaseModel]) -> bool:
    """Whether no required field of fixed words, such as `type`, says that another model is meant."""
    tags = {name: field for name, field in model.model_fields.items() if field.is_required()}
    return all(
        name not in value or value[name] in get_args(field.annotation)
        for name, field in tags.items()
        if get_origin(field.annotation) is Literal and isinstance(value.get(name), str)
    )


def _is_slip(one: str, other: str) -> bool:
    if len(one) == len(other):
        apart = [i for i in range(len(one)) if one[i] != other[i]]
        if len(apart) == 1:
            return len(one) > _SHORTEST_SLIP
        return len(apart) == 2 and one[apart[0]] == other[apart[1]] and one[apart[1]] == other[apart[0]]
    longer, shorter = sorted((one, other), key=len, reverse=True)
    return len(longer) == len(shorter) + 1 and any(longer[:i] + longer[i + 1 :] == shorter for i in range(len(longer)))
