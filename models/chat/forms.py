"""Forms of answers as they are decoded: a caller's JSON schema made narrower, so that every answer has an end.

Objects are closed where the schema does not say what else they may hold; texts, lists and what is free get limits.
Whatever fits the narrowed schema fits the caller's.
"""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping, Sequence
from typing import Any, Final

from models.tasks import Tool

JsonSchema = Mapping[str, Any]

MAX_CALLS: Final = 8
"""Calls of an answer that has to call."""
STYLE: Final[Any] = {"whitespace_flexible": False, "item_separator": ", ", "key_separator": ": "}
"""One spelling of each value: with free whitespace a small model can write blanks until its tokens are used up."""
_IN_PLACE: Final = ("allOf", "anyOf", "oneOf")
_NAMED: Final = ("properties", "patternProperties", "$defs", "definitions")
_DEPTH: Final = 4
_MAX_FREE_PROPERTIES: Final = 32
_SHORTEST_LIMIT: Final = 64
_ANY: Final = "any-{}-deep"


def closed(schema: JsonSchema) -> dict[str, Any]:
    """The schema with objects that hold their `properties` and nothing else, unless it says `additionalProperties`.

    At every depth, except for the parts of an object that is put together (`allOf`, `properties` beside `anyOf`):
    each part would forbid what the others want.
    """
    return _Closer(schema).closed


def bounded(schema: JsonSchema, room: int) -> dict[str, Any]:
    """The closed schema with a limit for everything that has none, for an answer of at most `room` tokens.

    A text may take four characters a token, or its share where there are several; a value about which nothing is said
    nests four levels deep.
    """
    whole = closed(schema)
    strings = sum("string" in _types(node) for node in _nodes(whole))
    longest = max(_SHORTEST_LIMIT, 4 * room // max(1, min(strings, 4)))
    most = max(_SHORTEST_LIMIT, room // 2)
    narrowed: dict[str, Any] = _limited(whole, longest, most)
    if any(node.get("$ref") == _any_value(_DEPTH)["$ref"] for node in _nodes(narrowed)):
        own = narrowed.get("$defs")
        narrowed["$defs"] = {**(own if isinstance(own, Mapping) else {}), **_any_values(2 * room, most)}
    return narrowed


def calls_grammar(tools: Sequence[Tool], room: int, *, several: bool) -> str:
    """A grammar (Lark's, of llguidance) for calls of tools and nothing else.

    Of one tool the answer is its arguments; of more `{"name": …, "arguments": …}`, in a list where it may be several.
    """
    rules = [f"a{i}: %json {_styled(bounded(_object(tool.parameters), room))}" for i, tool in enumerate(tools)]
    if len(tools) == 1 and not several:
        return "\n".join(["start: a0", *rules])
    calls = (rf'"{{\"name\": \"{tool.name}\", \"arguments\": " a{i} "}}"' for i, tool in enumerate(tools))
    start = f'"[" call (", " call){{0,{MAX_CALLS - 1}}} "]"' if several else "call"
    return "\n".join([f"start: {start}", f"call: {' | '.join(calls)}", *rules])


def _styled(schema: JsonSchema) -> str:
    return json.dumps({**schema, "x-guidance": STYLE})


def _object(parameters: JsonSchema) -> JsonSchema:
    """Arguments are an object, also where `type` was left out."""
    says = {"type", "$ref", *_IN_PLACE} & parameters.keys()
    return parameters if says else {"properties": {}, **parameters, "type": "object"}


class _Closer:
    def __init__(self, schema: JsonSchema) -> None:
        self._parts: set[str] = set()  # references to what is a part of something
        self._walk(schema, is_part=False)
        self.closed: dict[str, Any] = self._walk(schema, is_part=False)

    def _walk(self, node: Any, *, is_part: bool) -> Any:
        if not isinstance(node, Mapping):
            return node
        has_own = any(isinstance(node.get(name), Mapping) for name in ("properties", "patternProperties"))
        is_mixed = has_own and any(name in node for name in (*_IN_PLACE, "$ref"))
        if "$ref" in node and (is_part or is_mixed):
            self._parts.add(str(node["$ref"]))
        out: dict[str, Any] = {}
        for name, value in node.items():
            if name in _NAMED and isinstance(value, Mapping):
                out[name] = {
                    key: self._walk(each, is_part=f"#/{name}/{key}" in self._parts) for key, each in value.items()
                }
            elif name in _IN_PLACE and isinstance(value, list):
                parts = is_part or is_mixed or (name == "allOf" and len(value) > 1)
                out[name] = [self._walk(each, is_part=parts) for each in value]
            elif name == "prefixItems" and isinstance(value, list):
                out[name] = [self._walk(each, is_part=False) for each in value]
            elif name in ("items", "additionalProperties"):
                out[name] = self._walk(value, is_part=False)
            else:
                out[name] = value
        if has_own and not is_part and not is_mixed and "additionalProperties" not in node:
            if "patternProperties" not in node:
                required = node.get("required")
                unsaid = [name for name in required if isinstance(name, str)] if isinstance(required, list) else []
                out["properties"] = {**out["properties"], **{k: {} for k in unsaid if k not in out["properties"]}}
            out["additionalProperties"] = False
        return out


def _limited(node: Any, longest: int, most: int) -> Any:
    if node is True or (isinstance(node, Mapping) and not _says_something(node)):
        return {**(node if isinstance(node, Mapping) else {}), **_any_value(_DEPTH)}
    if not isinstance(node, Mapping):
        return node
    out: dict[str, Any] = {}
    for name, value in node.items():
        if name in _NAMED and isinstance(value, Mapping):
            out[name] = {key: _limited(each, longest, most) for key, each in value.items()}
        elif name in (*_IN_PLACE, "prefixItems") and isinstance(value, list):
            out[name] = [_limited(each, longest, most) for each in value]
        elif name in ("items", "additionalProperties") and value is not False:
            out[name] = _limited(value, longest, most)
        else:
            out[name] = value
    types = _types(node)
    if "string" in types and not {"maxLength", "pattern", "format"} & node.keys():
        out["maxLength"] = max(longest, _number(node.get("minLength")))
    if "array" in types:
        out.setdefault("maxItems", max(most, _number(node.get("minItems"))))
        if "prefixItems" not in node:
            out.setdefault("items", _any_value(_DEPTH))
    if "object" in types and not {"properties", "patternProperties", *_IN_PLACE, "$ref"} & node.keys():
        named = out.pop("additionalProperties", _any_value(_DEPTH))
        out |= _free_object(named) if named is not False else {"additionalProperties": False}
        out["maxProperties"] = node.get("maxProperties", _MAX_FREE_PROPERTIES)
    return out


def _says_something(node: JsonSchema) -> bool:
    """Whether a schema narrows what a value can be; a title or a default does not."""
    return bool({"type", "enum", "const", "$ref", *_IN_PLACE, *_NAMED, "items", "prefixItems", "not"} & node.keys())


def _types(node: JsonSchema) -> tuple[str, ...]:
    if "enum" in node or "const" in node:
        return ()
    given = node.get("type")
    return (given,) if isinstance(given, str) else tuple(given) if isinstance(given, list) else ()


def _number(value: Any) -> int:
    return value if isinstance(value, int) else 0


def _any_value(depth: int) -> dict[str, Any]:
    return {"$ref": f"#/$defs/{_ANY.format(depth)}"}


def _any_values(longest: int, most: int) -> dict[str, Any]:
    plain = [{"type": "string", "maxLength": longest}, {"type": ["number", "boolean", "null"]}]
    values: dict[str, Any] = {_ANY.format(0): {"anyOf": plain}}
    for depth in range(1, _DEPTH + 1):
        inner = _any_value(depth - 1)
        nested = [
            {"type": "object", "maxProperties": _MAX_FREE_PROPERTIES, **_free_object(inner)},
            {"type": "array", "items": inner, "maxItems": most},
        ]
        values[_ANY.format(depth)] = {"anyOf": [*plain, *nested]}
    return values


def _free_object(value: Any) -> dict[str, Any]:
    """Any names of a sensible length."""
    return {"patternProperties": {"^.{1,64}$": value}, "additionalProperties": False}


def _nodes(schema: Any) -> Iterator[JsonSchema]:
    if isinstance(schema, Mapping):
        yield schema
    for inner in schema.values() if isinstance(schema, Mapping) else schema if isinstance(schema, list) else ():
        yield from _nodes(inner)
