"""Chat requests as jobs for a model: messages with their pictures, tools, and what the answer is held to."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace
from typing import Any, Final

from deployments.ingress.errors import invalid
from deployments.ingress.requests import json_schemas
from deployments.ingress.requests.pictures import read_url
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
from models.tasks import ChatJob, ImagePart, Message, TextPart, Tool, ToolCall
from settings import Settings

_MAX_STOPS: Final = 4
_MAX_PICTURE_BYTES: Final = 2**29
"""Of pictures, for all answers of a request: each answer is asked for with all of them."""
_DEFAULT_TOKENS: Final = 512
_LONGEST_ID: Final = 18
"""Digits of a token id: more than any vocabulary has, and few enough to be read."""
_ROLES: Final[dict[str, Any]] = {"developer": "system", "function": "user"}


async def jobs_of(params: ChatCompletion, settings: Settings) -> list[ChatJob]:
    """One job for each of the `n` answers.

    Raises:
        ApiError: 400 naming the field that asks for what there is not.
    """
    _refuse_unsupported(params)
    tools, must_call = await _tools(params.tools or (), params.tool_choice)
    several = params.n > 1  # asked for several answers, a caller wants different ones
    job = ChatJob(
        messages=await _messages(params.messages, settings),
        max_tokens=params.max_completion_tokens or params.max_tokens or _DEFAULT_TOKENS,
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


async def _tools(
    given: Sequence[FunctionTool], choice: str | ToolChoice | None
) -> tuple[tuple[Tool, ...], tuple[str, ...]]:
    """What may be called, and of what one has to be."""
    tools = []
    for i, each in enumerate(given):
        function = each.function
        if function.parameters is None:
            tools.append(Tool(function.name, function.description, strict=function.strict))
            continue
        if function.parameters.get("type", "object") != "object":
            where = f"tools[{i}].function.parameters"
            raise invalid(where, f"{where}: arguments are an object; give a schema of the type object")
        tools.append(Tool(function.name, function.description, function.parameters, function.strict))
    names = [tool.name for tool in tools]
    if doubled := next((name for name in names if names.count(name) > 1), None):
        raise invalid("tools", f"tools: {doubled!r} is there more than once")
    allowed, must_call = _chosen(choice, names)
    tools = [tool for tool in tools if tool.name in allowed]
    for tool in tools:
        if tool.name in must_call:  # what is not held to a schema may have any
            await json_schemas.check(tool.parameters, f"tools[{names.index(tool.name)}].function.parameters")
    return tuple(tools), must_call


def _chosen(choice: str | ToolChoice | None, names: Sequence[str]) -> tuple[Sequence[str], tuple[str, ...]]:
    """The names of what the model is offered, and of what it has to call one."""
    if choice is None or choice == "auto":
        return names, ()
    if choice == "none":
        return (), ()
    if isinstance(choice, ToolChoice) and choice.function is not None:
        wanted, mode, where = [choice.function.name], "required", "tool_choice.function.name"
    elif isinstance(choice, ToolChoice) and choice.allowed_tools is not None:
        wanted = [each.function.name for each in choice.allowed_tools.tools]
        mode, where = choice.allowed_tools.mode, "tool_choice.allowed_tools.tools"
        names = [name for name in names if name in wanted] if set(wanted) <= set(names) else names
    elif choice == "required":
        wanted, mode, where = list(names), "required", "tool_choice"
    else:
        allowed = "none, auto, required, a function of tools, allowed_tools"
        raise invalid("tool_choice", f"tool_choice: not understood; allowed: {allowed}")
    if not wanted or not set(wanted) <= set(names):
        missing = f"there is no {min(set(wanted) - set(names))!r} among the tools" if wanted else "no tools given"
        raise invalid(where, f"{where}: {missing}")
    return names, tuple(dict.fromkeys(wanted)) if mode == "required" else ()


async def _form(params: ResponseFormat | None) -> Mapping[str, Any] | None:
    """The schema that the answer must satisfy, found to be one that an answer can."""
    if params is None or params.type == "text":
        return None
    where = "response_format.json_schema"
    if params.type == "json_object":
        return {"type": "object"}
    if params.json_schema is None:
        raise invalid(where, f"{where} is required with the type json_schema", "missing_required_parameter")
    schema = params.json_schema.json_schema or {"type": "object"}
    await json_schemas.check(schema, f"{where}.schema")
    return schema


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
    pictures = 0
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
            pictures += 1
            if pictures > MAX_CHAT_IMAGES:
                raise invalid(where, f"{where}: more than {MAX_CHAT_IMAGES} images in one request")
            parts.append(ImagePart(await read_url(part.image_url.url, settings, where), where))
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
