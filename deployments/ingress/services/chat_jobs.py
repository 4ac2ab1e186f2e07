"""Chat requests as jobs for a model: messages with their pictures, tools, and what the answer is held to."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace
from typing import Any, Final, Literal

from deployments.ingress.errors import invalid
from deployments.ingress.requests import json_schemas
from deployments.ingress.requests.pictures import check_picture, read_url
from deployments.ingress.schemas.chat import (
    MAX_CHAT_IMAGES,
    ChatCompletion,
    ChatMessage,
    FunctionTool,
    ImageContent,
    RefusalContent,
    ResponseFormat,
    ToolChoice,
)
from deployments.ingress.services.chat_tools import Choice, OfferedFunction, plan_tools
from models.tasks import ChatJob, ImagePart, Message, TextPart, ToolCall
from settings import Settings

DEFAULT_TOKENS: Final = 512
"""How long an answer may become, unless a request says."""
_MAX_STOPS: Final = 4
_MAX_PICTURE_BYTES: Final = 2**29
"""Of pictures, for all answers of a request: each answer is asked for with all of them."""
_LONGEST_ID: Final = 18
"""Digits of a token id: more than any vocabulary has, and few enough to be read."""
_ROLES: Final[dict[str, Any]] = {"developer": "system", "function": "user"}


async def jobs_of(params: ChatCompletion, settings: Settings) -> list[ChatJob]:
    """One job for each of the `n` answers.

    Raises:
        ApiError: 400 naming the field that asks for what there is not.
    """
    _refuse_unsupported(params)
    tools, must_call = await plan_tools(_offered(params.tools or ()), _choice(params.tool_choice))
    several = params.n > 1  # asked for several answers, a caller wants different ones
    job = ChatJob(
        messages=await _messages(params.messages, settings),
        max_tokens=params.max_completion_tokens or params.max_tokens or DEFAULT_TOKENS,
        temperature=(1.0 if several else 0.0) if params.temperature is None else params.temperature,
        top_p=params.top_p,
        stop=_stops(params.stop),
        seed=params.seed,
        presence_penalty=params.presence_penalty,
        frequency_penalty=params.frequency_penalty,
        repetition_penalty=params.repetition_penalty,
        logit_bias=_biases(params.logit_bias),
        top_k=params.top_k,
        min_p=params.min_p,
        form=await _form(params.response_format),
        top_logprobs=(params.top_logprobs or 0) if params.logprobs else None,
        tools=tools,
        must_call=must_call,
        calls_several=params.parallel_tool_calls,
    )
    pictures = sum(len(part.image) for message in job.messages for part in message.parts if isinstance(part, ImagePart))
    if pictures * params.n > _MAX_PICTURE_BYTES:
        raise invalid("n", f"n: {params.n} x {pictures} bytes of pictures; at most {_MAX_PICTURE_BYTES} in one request")
    return [job if job.seed is None else replace(job, seed=job.seed + i) for i in range(params.n)]


def _refuse_unsupported(params: ChatCompletion) -> None:
    if params.top_logprobs and not params.logprobs:
        raise invalid("top_logprobs", "top_logprobs: it needs logprobs: true")
    if set(params.modalities or ()) - {"text"}:
        raise invalid("modalities", f"modalities: {params.modalities}; this server answers in text only")
    for name, given, instead in (
        ("functions", params.functions, "send tools instead"),
        ("function_call", params.function_call, "send tool_choice instead"),
        ("audio", params.audio, "this server answers in text only"),
        ("web_search_options", params.web_search_options, "this server searches nothing"),
    ):
        if given is not None:
            raise invalid(name, f"{name}: {instead}", "unsupported_parameter")


def _offered(given: Sequence[FunctionTool]) -> list[OfferedFunction]:
    return [
        OfferedFunction(f.name, f.description, f.parameters, f.strict, f"tools[{i}].function.parameters")
        for i, f in enumerate(each.function for each in given)
    ]


def _choice(given: str | ToolChoice | None) -> Choice:
    if given is None or given == "auto":
        return Choice()
    if given == "none":
        return Choice("none")
    if given == "required":
        return Choice("required")
    if isinstance(given, ToolChoice) and given.function is not None and given.allowed_tools is not None:
        raise invalid("tool_choice", "tool_choice: function and allowed_tools are given; allowed is one of them")
    if isinstance(given, ToolChoice) and given.function is not None:
        return Choice("required", (given.function.name,), "tool_choice.function.name")
    if isinstance(given, ToolChoice) and given.allowed_tools is not None:
        names = tuple(each.function.name for each in given.allowed_tools.tools)
        return Choice(given.allowed_tools.mode, names, "tool_choice.allowed_tools.tools", hides_others=True)
    allowed = "none, auto, required, a function of tools, allowed_tools"
    raise invalid("tool_choice", f"tool_choice: not understood; allowed: {allowed}")


async def _form(params: ResponseFormat | None) -> Mapping[str, Any] | None:
    """The schema that the answer must satisfy."""
    if params is None:
        return None
    where = "response_format.json_schema"
    if params.type == "json_schema" and params.json_schema is None:
        raise invalid(where, f"{where} is required with the type json_schema", "missing_required_parameter")
    schema = params.json_schema.json_schema if params.json_schema is not None else None
    return await form_of(params.type, schema, f"{where}.schema")


async def form_of(
    kind: Literal["text", "json_object", "json_schema"], schema: Mapping[str, Any] | None, where: str
) -> Mapping[str, Any] | None:
    """The schema that an answer of this kind must satisfy, found to be one that an answer can; None of free text.

    Raises:
        ApiError: 400 naming `where`, the schema's field.
    """
    if kind == "text":
        return None
    if kind == "json_object" or not schema:
        return {"type": "object"}
    await json_schemas.check(schema, where)
    return schema


class PictureReader:
    """Reads the pictures of a request's messages, at most so many as a chat may have."""

    def __init__(self, settings: Settings) -> None:
        self._settings = settings
        self._count = 0

    def count(self, where: str) -> None:
        """Count one more. Raises ApiError 400 naming it for one too many."""
        self._count += 1
        if self._count > MAX_CHAT_IMAGES:
            raise invalid(where, f"{where}: more than {MAX_CHAT_IMAGES} images in one request")

    async def read(self, url: str, where: str) -> ImagePart:
        """The picture behind a URL, as `read_url`."""
        self.count(where)
        return ImagePart(await read_url(url, self._settings, where), where)

    async def check(self, data: bytes, where: str) -> ImagePart:
        """The picture of these bytes, once their header is that of one. Raises as `check_picture`."""
        self.count(where)
        return ImagePart(await check_picture(data, self._settings, where), where)


def _biases(given: Mapping[str, float]) -> dict[int, float]:
    """What is added to the scores of tokens, by their ids."""
    biases = {}
    for token, bias in given.items():
        if not token.isdecimal() or len(token) > _LONGEST_ID:
            raise invalid("logit_bias", f"logit_bias: {token[:60]!r} is no token id; allowed are whole numbers")
        if not -100 <= bias <= 100:
            raise invalid("logit_bias", f"logit_bias: {bias:g} for the token {token}; allowed: -100 to 100")
        biases[int(token)] = bias
    return biases


def _stops(stop: str | list[str] | None) -> tuple[str, ...]:
    stops = (stop,) if isinstance(stop, str) else tuple(stop or ())
    if len(stops) > _MAX_STOPS or "" in stops:
        raise invalid("stop", f"stop: {len(stops)} texts; allowed are up to {_MAX_STOPS}, none of them empty")
    return stops


async def _messages(messages: list[ChatMessage], settings: Settings) -> tuple[Message, ...]:
    converted: list[Message] = []
    pictures = PictureReader(settings)
    for i, message in enumerate(messages):
        parts: list[TextPart | ImagePart] = []
        content = message.content
        if isinstance(content, str):
            parts.append(TextPart(content))
        for j, part in enumerate(content if isinstance(content, list) else []):
            if not isinstance(part, ImageContent):
                parts.append(TextPart(part.refusal if isinstance(part, RefusalContent) else part.text))
                continue
            where = f"messages[{i}].content[{j}].image_url"
            parts.append(await pictures.read(part.image_url.url, where))
        if not parts and message.role not in ("assistant", "tool"):
            raise invalid(f"messages[{i}].content", f"messages[{i}].content is empty")
        calls = [ToolCall(c.id, c.function.name, c.function.arguments) for c in message.tool_calls or ()]
        if calls and not any(part.text for part in parts if isinstance(part, TextPart)):
            parts = [part for part in parts if isinstance(part, ImagePart)]  # `content: ""`
        role = _ROLES.get(message.role, message.role)
        if calls and role != "assistant":
            where = f"messages[{i}].tool_calls"
            raise invalid(where, f"{where}: an assistant calls tools, not the role {message.role}")
        converted.append(Message(role, tuple(parts), tuple(calls), message.tool_call_id))
    return tuple(converted)
