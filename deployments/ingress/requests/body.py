"""Request bodies: JSON, multipart or urlencoded, read within a limit and checked against one model of the fields.

Whatever the dialect, a route gets the same validated object or the caller gets a 400 that names the field.
"""

from __future__ import annotations

import codecs
import errno
import math
import re
import types
from collections.abc import AsyncGenerator, Collection, Iterable, Mapping
from dataclasses import dataclass
from typing import Annotated, Any, ClassVar, Final, Literal, TypeVar, Union, get_args, get_origin

from pydantic import BaseModel, ConfigDict, GetCoreSchemaHandler, ValidationError, model_validator
from pydantic.json_schema import JsonSchemaValue
from pydantic_core import core_schema, from_json
from starlette.datastructures import FormData, UploadFile
from starlette.formparsers import FormParser, MultiPartException, MultiPartParser
from starlette.requests import Request

from deployments.ingress.errors import ApiError, invalid
from deployments.ingress.requests.content import limited
from deployments.ingress.requests.unknown_fields import known_fields, meant_by, names_of
from stores.errors import StoreFull

_FIELDS_LIMIT = 1 << 20
"""Bytes allowed beside the files: field names, texts, multipart framing."""
_JSON_OBJECT: Final = re.compile(rb"\s*\{")
_URLENCODED: Final = "application/x-www-form-urlencoded"


@dataclass(frozen=True)
class Upload:
    """A file part of a form: its bytes, and the name the client gave it (never used as a path)."""

    filename: str
    data: bytes

    @classmethod
    def __get_pydantic_core_schema__(cls, source: Any, handler: GetCoreSchemaHandler) -> core_schema.CoreSchema:
        """A file is made of a file part only, never of an object with the same names."""
        return core_schema.custom_error_schema(
            core_schema.is_instance_schema(cls),
            custom_error_type="file_type",
            custom_error_message="Input should be a file part of a multipart form",
        )

    @classmethod
    def __get_pydantic_json_schema__(cls, schema: core_schema.CoreSchema, handler: object) -> JsonSchemaValue:
        """A file part, as OpenAPI writes it."""
        return {"type": "string", "format": "binary"}


class Fields(BaseModel):
    """Base of all request models. `null` counts as absent, and so do the `neutral` values of some fields."""

    neutral: ClassVar[Mapping[str, tuple[Any, ...]]] = {}
    """Field → values by which clients say that they want nothing in particular."""

    model_config = ConfigDict(extra="forbid", arbitrary_types_allowed=True, populate_by_name=True, allow_inf_nan=False)

    @model_validator(mode="before")
    @classmethod
    def _null_is_absent(cls, values: Any) -> Any:
        if not isinstance(values, dict):
            return values
        return {name: v for name, v in values.items() if v is not None and v not in cls.neutral.get(name, ())}


F = TypeVar("F", bound=Fields)


async def read(request: Request, fields: type[F], *, max_bytes: int = 0, aliases: Mapping[str, str] | None = None) -> F:
    """The request's body as `fields`.

    `max_bytes` is room for files (or their base64) on top of 1 MiB for everything else. `aliases` maps other
    spellings to field names; two spellings that disagree are refused.

    Raises:
        ApiError: 400 naming the field, 413 when the body is too large, 415 for another content type.
    """
    limit = min(max_bytes + _FIELDS_LIMIT, request.app.state.atelier.settings.max_content_length)
    kind = request.headers.get("content-type", "").split(";")[0].strip().lower()
    try:
        if kind == "multipart/form-data":
            form = await MultiPartParser(
                request.headers, limited(request, limit), max_files=64, max_fields=200, max_part_size=limit
            ).parse()
            values = await _form_values(form, fields)
        elif kind in (_URLENCODED, "text/plain", "application/json", "") or kind.endswith("+json"):
            content = bytearray()  # grows where it is, so that it is never there twice
            async for chunk in limited(request, limit):
                content += chunk
            if kind in (_URLENCODED, "text/plain") and _JSON_OBJECT.match(content):
                kind = "application/json"  # of `curl -d`, or of a page that avoids a preflight request
            if kind == "text/plain":
                raise _unread(kind)
            if kind == _URLENCODED:
                values = await _form_values(await FormParser(request.headers, _one(bytes(content))).parse(), fields)
            else:
                values = _json_object(content) if content or kind else {}  # `curl -X POST` says nothing at all
        else:
            raise _unread(kind)
    except MultiPartException as error:
        raise invalid(None, f"the form cannot be read: {error.message}", "invalid_body") from error
    except OSError as error:
        if error.errno in (errno.ENOSPC, errno.EDQUOT):
            raise StoreFull("the disk for temporary files is full") from error
        raise
    is_form = kind in ("multipart/form-data", _URLENCODED)
    request.state.is_form = is_form
    values, spelled = _without_aliases(values, aliases or {})
    return validate(values, fields, request, is_form=is_form, spelled=spelled, others=(aliases or {}).keys())


def note_ignored(request: Request, *names: str) -> None:
    """Have the response name fields that were left out; a route may read its query and its body."""
    request.state.ignored_parameters = [*getattr(request.state, "ignored_parameters", []), *names]


def query(request: Request, fields: type[F]) -> F:
    """The query string as `fields`; lists are written as in forms."""
    values = _by_name(request.query_params.multi_items(), fields)
    return validate(values, fields, request, is_form=True)


def validate(
    values: dict[str, Any],
    fields: type[F],
    request: Request,
    *,
    is_form: bool,
    spelled: Mapping[str, str] | None = None,
    others: Collection[str] = (),
) -> F:
    """`values` checked: types strictly in JSON, from their text in forms; `null` counts as absent.

    In a form so does an empty text where no text, or one that is not empty, may be given: it is an input that was left
    empty. `spelled` says how the caller wrote the names of fields, where otherwise; `others` are spellings that the
    route knows as well.

    What the route does not know is left out and named in a header. Under `strict`, or where a name at the top is one
    slip away from one that the route has, it is refused.
    """
    given = {name: value for name, value in values.items() if value is not None}
    if is_form:
        given = {name: value for name, value in given.items() if value != "" or _may_be_text(fields, name)}
    given, unknown = known_fields(given, fields)
    known = [*names_of(fields), *others]
    for path in unknown:
        meant = meant_by(path, known) if path in values else None
        if meant or request.app.state.atelier.settings.strict:
            hint = f"; {meant} may be meant" if meant else ""
            raise invalid(path, f"{path} is not a parameter of this route{hint}", "unsupported_parameter")
    note_ignored(request, *unknown)
    try:
        return fields.model_validate(given, strict=not is_form)
    except ValidationError as error:
        raise _first_fault(error, given, spelled or {}) from error


def _unread(kind: str) -> ApiError:
    message = f"content type {kind!r} is not read here; send application/json, multipart/form-data or {_URLENCODED}"
    return ApiError(415, message, code="unsupported_media_type")


async def _one(content: bytes) -> AsyncGenerator[bytes, None]:
    yield content
    yield b""


_PART = re.compile(r"(?P<name>[^\[\]]+)(\[\])?(\[(?P<key>[^\[\]]+)\])?")
"""`name`, `name[]`, `name[key]` and `name[][key]`: how the SDKs write lists and objects in forms."""


async def _form_values(form: FormData, fields: type[Fields]) -> dict[str, Any]:
    """Form parts by field name, files read."""
    parts: list[tuple[str, str | Upload]] = []
    try:
        for name, part in form.multi_items():
            if isinstance(part, UploadFile) and not part.filename and not part.size:
                continue  # a browser's file field where nothing was chosen
            read = Upload(part.filename or "upload", await part.read()) if isinstance(part, UploadFile) else part
            parts.append((name, read))
    finally:
        await form.close()
    return _by_name(parts, fields)


def _by_name(given_parts: Iterable[tuple[str, str | Upload]], fields: type[Fields]) -> dict[str, Any]:
    """Parts of a form, or of a query, by field name.

    `name[]` and repeated parts become lists where the field is one, `name[key]` objects and `name[][key]` lists of
    objects. Where nothing but objects will do, they may also be JSON.
    """
    parts: dict[str, dict[str | None, list[str | Upload]]] = {}
    for raw_name, part in given_parts:
        match = _PART.fullmatch(raw_name)
        name, key = (match["name"], match["key"]) if match else (raw_name, None)
        parts.setdefault(name, {}).setdefault(key, []).append(part)
    values: dict[str, Any] = {}
    for name, by_key in parts.items():
        item = _item_type(fields, name)
        given = _items(name, by_key, is_json=isinstance(item, type) and issubclass(item, BaseModel))
        _refuse_infinite(given, name)
        if item is None and len(given) > 1:
            raise invalid(name, f"{name} is given more than once")
        values[name] = given[0] if item is None else given
    return values


def _items(name: str, by_key: Mapping[str | None, list[str | Upload]], *, is_json: bool) -> list[Any]:
    """What the parts of one name say, in order."""
    whole = by_key.get(None)
    if whole is None and all(str(key).isdecimal() for key in by_key) and not is_json:
        return [item for key in sorted(by_key, key=lambda key: int(str(key))) for item in by_key[key]]  # `image[0]`
    if whole is None:
        if len({len(column) for column in by_key.values()}) > 1:  # which of the objects lacks it?
            keys = ", ".join(sorted(str(key) for key in by_key))
            raise invalid(name, f"{name}: give all of {keys} for each item, or send {name} as JSON")
        return [dict(zip(by_key, row, strict=True)) for row in zip(*by_key.values(), strict=True)]
    if len(by_key) > 1:
        raise invalid(name, f"{name} is given whole and in parts; give one of them")
    return [item for each in whole for item in (_from_json(each) if is_json else [each])]


def _from_json(part: str | Upload) -> list[Any]:
    """The objects of a part that holds one or a list; what is no JSON stays what it is, for the model to refuse."""
    if isinstance(part, Upload):
        return [part]
    try:
        value = from_json(part)
    except ValueError:
        return [part]
    return value if isinstance(value, list) else [value]


def _json_object(body: bytearray) -> dict[str, Any]:
    if body.startswith(codecs.BOM_UTF8):
        del body[: len(codecs.BOM_UTF8)]
    try:
        value = from_json(body)  # in the event loop: seven times as fast as json.loads
    except ValueError as error:
        raise invalid(None, "the body is not valid JSON", "invalid_json") from error
    if not isinstance(value, dict):
        raise invalid(None, f"the body must be a JSON object, not {_json_type(value)}", "invalid_type")
    _refuse_infinite(value)
    return value


def _refuse_infinite(value: dict[str, Any] | list[Any], where: str = "") -> None:
    """Raises ApiError 400 naming a number that no JSON can say again: `NaN`, `Infinity`, or one such as `1e999`."""
    path = _path_of_infinite(value)
    if path is not None:
        path = f"{where}{path}".removeprefix(".")
        raise invalid(path, f"{path}: a number that is not finite; NaN, Infinity and 1e999 are none of JSON")


def _path_of_infinite(value: dict[str, Any] | list[Any]) -> str | None:
    """Where such a number is, `.messages[0].weight`; no deeper than JSON may be nested."""
    for key, each in value.items() if isinstance(value, dict) else enumerate(value):
        if isinstance(each, float):
            inside = None if math.isfinite(each) else ""
        else:
            inside = _path_of_infinite(each) if isinstance(each, dict | list) else None
        if inside is not None:
            return f"[{key}]{inside}" if isinstance(key, int) else f".{key}{inside}"
    return None


def _without_aliases(values: dict[str, Any], aliases: Mapping[str, str]) -> tuple[dict[str, Any], dict[str, str]]:
    """The values by their fields' names, and the other spellings that were used: name → as it was written."""
    spelled = {}
    for other, name in aliases.items():
        value = values.pop(other, None)
        if value is None:
            continue
        if values.get(name) is not None and values[name] != value:
            raise invalid(other, f"{other} ({value!r}) and {name} ({values[name]!r}) disagree; give one of them")
        if name not in values:
            spelled[name] = other
        values[name] = value
    return values, spelled


def _may_be_text(fields: type[Fields], name: str) -> bool:
    """Whether an empty text may mean something in a field, or is a fault to be named."""
    field = fields.model_fields.get(name)
    if field is None:
        return True
    is_never_empty = any(getattr(each, "min_length", 0) for each in field.metadata)
    return str in _plain_types(field.annotation) and (field.is_required() or not is_never_empty)


def _plain_types(annotation: Any) -> set[Any]:
    inner = get_args(annotation)
    if not inner or get_origin(annotation) is Literal:
        return {annotation}
    return {plain for each in inner for plain in _plain_types(each)}


def _item_type(fields: type[Fields], name: str) -> Any:
    """What a field that is a list holds; None of any other field."""
    field = fields.model_fields.get(name)
    if field is None:
        return None
    is_union = get_origin(field.annotation) in (Union, types.UnionType)
    for option in get_args(field.annotation) if is_union else (field.annotation,):
        plain = get_args(option)[0] if get_origin(option) is Annotated else option
        if get_origin(plain) is list:
            return get_args(plain)[0]
    return None


_CODES = {
    "missing": "missing_required_parameter",
    "extra_forbidden": "unsupported_parameter",
    "greater_than_equal": "integer_below_min_value",
    "greater_than": "integer_below_min_value",
    "less_than_equal": "integer_above_max_value",
    "less_than": "integer_above_max_value",
    "string_too_long": "string_above_max_length",
    "string_too_short": "string_below_min_length",
    "too_long": "array_above_max_length",
    "too_short": "array_below_min_length",
}


def _first_fault(error: ValidationError, given: Mapping[str, Any], spelled: Mapping[str, str]) -> ApiError:
    """The deepest fault: of a union's branches, the one that fitted best is the one the caller meant."""
    faults = [(*_path(fault["loc"], given, fault["type"]), fault) for fault in error.errors(include_url=False)]
    # where an object inside the body lacks one field and has an unknown one, the unknown one says what was meant
    path, _, fault = max(faults, key=lambda f: (f[1], f[1] > 1 and f[2]["type"] == "extra_forbidden"))
    path = spelled.get(path, path)
    kind = fault["type"]
    if kind == "extra_forbidden":
        return invalid(path, f"{path} is not a parameter of this route", "unsupported_parameter")
    if kind == "missing":
        return invalid(path, f"{path} is required", "missing_required_parameter")
    if kind in ("union_tag_invalid", "union_tag_not_found"):
        context = fault["ctx"]
        path = f"{path}.{context['discriminator'].strip(chr(39))}"
        if kind == "union_tag_not_found":
            return invalid(path, f"{path} is required", "missing_required_parameter")
        return invalid(path, f"{path}: {context['tag'][:60]!r} is not supported; allowed: {context['expected_tags']}")
    wrapped = fault.get("ctx", {}).get("error")
    if isinstance(wrapped, ApiError):
        return wrapped
    code = _CODES.get(kind) or (
        "invalid_type" if kind.endswith(("_type", "_parsing", "_from_float")) else "invalid_value"
    )
    message = fault["msg"].removeprefix("Value error, ").removeprefix("Input ")
    shown = _shown(fault["input"])
    return invalid(path or None, f"{path}: {shown}{message}", code)


def _path(location: tuple[int | str, ...], given: Mapping[str, Any], kind: str) -> tuple[str, int]:
    """`messages[0].content[1].url` and its depth; pydantic's union tags, which are in no input, are left out."""
    text, depth = "", 0
    here: Any = given
    for i, part in enumerate(location):
        inside = (isinstance(here, dict) and part in here) or (
            isinstance(here, list) and isinstance(part, int) and part < len(here)
        )
        if inside:
            here = here[part]
        elif not (kind == "missing" and i == len(location) - 1):
            continue
        depth += 1
        text += f"[{part}]" if isinstance(part, int) else f".{part}" if text else str(part)
    return text, depth


def _shown(value: object) -> str:
    if isinstance(value, Upload):
        return "a file "
    if isinstance(value, (dict, list)):
        return f"{_json_type(value)} "
    text = repr(value)
    return f"{text} " if len(text) <= 60 else f"{text[:57]}… "


def _json_type(value: object) -> str:
    match value:
        case dict():
            return "an object"
        case list():
            return "an array"
        case str():
            return "a string"
        case bool():
            return "a boolean"
        case None:
            return "null"
        case _:
            return "a number"
