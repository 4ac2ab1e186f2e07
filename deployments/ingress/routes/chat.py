"""Chat completions, whole and streamed, with pictures."""

from __future__ import annotations

import json
import time
import uuid
from collections.abc import AsyncIterator, Mapping, Sequence
from dataclasses import replace
from typing import Any

from fastapi import APIRouter
from starlette.requests import Request
from starlette.responses import JSONResponse, Response

from deployments.ingress.dependencies import AtelierDep
from deployments.ingress.errors import envelope, from_exception, invalid
from deployments.ingress.openapi import accepts
from deployments.ingress.requests import body, json_schemas
from deployments.ingress.requests.pictures import base64_room, read_url
from deployments.ingress.responses.sse import EventStream, StartedStream, started
from deployments.ingress.schemas.chat import MAX_CHAT_IMAGES, ChatCompletion, ChatMessage, ImageContent, ResponseFormat
from deployments.vision import Answer
from models.tasks import ChatDelta, ChatJob, ImagePart, Message, TextPart, TokenLogprob, Usage
from settings import Settings

router = APIRouter(prefix="/v1", tags=["chat"])

_MAX_STOPS = 4
_MAX_PICTURE_BYTES = 2**29
"""Of pictures, for all answers of a request: each answer is asked for with all of them."""
_DEFAULT_TOKENS = 512
_ROLES: dict[str, Any] = {"developer": "system", "tool": "user", "function": "user"}


@router.post("/chat/completions", summary="Answer in words", openapi_extra=accepts(ChatCompletion))
async def completions(request: Request, atelier: AtelierDep) -> Response:
    """An answer about texts and pictures; all pictures of all messages reach the model in order."""
    settings, models = atelier.settings, atelier.models
    params = await body.read(request, ChatCompletion, max_bytes=base64_room(settings, MAX_CHAT_IMAGES))
    alias = models.resolve(params.model, ["vlm"])
    _refuse_unsupported(params)
    form = await _form(params.response_format)
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
        form=form,
        top_logprobs=(params.top_logprobs or 0) if params.logprobs else None,
    )
    pictures = sum(len(part.image) for message in job.messages for part in message.parts if isinstance(part, ImagePart))
    if pictures * params.n > _MAX_PICTURE_BYTES:
        raise invalid("n", f"n: {params.n} x {pictures} bytes of pictures; at most {_MAX_PICTURE_BYTES} in one request")
    jobs = [job if job.seed is None else replace(job, seed=job.seed + i) for i in range(params.n)]
    head = {"id": f"chatcmpl-{uuid.uuid4().hex}", "created": int(time.time()), "model": params.model}
    if not params.stream:
        answers = await models.chats(alias).answer_each(jobs)
        choices = [_choice(i, answer, params.logprobs) for i, answer in enumerate(answers)]
        usage = _usage([answer.usage for answer in answers])
        return JSONResponse({**head, "object": "chat.completion", "choices": choices, "usage": usage})
    with_usage = params.stream_options is not None and params.stream_options.include_usage
    deltas = models.chats(alias).stream_each(jobs)
    stream = await started(deltas)
    return EventStream(_events(head, stream, len(jobs), with_usage=with_usage), stream)


async def _events(
    head: dict[str, Any],
    deltas: StartedStream[tuple[int, ChatDelta]],
    count: int,
    *,
    with_usage: bool,
) -> AsyncIterator[dict[str, str]]:
    def chunk(choices: list[dict[str, Any]], usage: dict[str, Any] | None = None) -> dict[str, str]:
        value: dict[str, Any] = {**head, "object": "chat.completion.chunk", "choices": choices}
        if with_usage:
            value["usage"] = usage
        return {"data": json.dumps(value, ensure_ascii=False)}

    def choice(index: int, delta: dict[str, Any], tokens: Sequence[TokenLogprob], end: str | None = None) -> Any:
        return [
            {"index": index, "delta": delta, "logprobs": _logprobs(tokens) if tokens else None, "finish_reason": end}
        ]

    usages: list[Usage] = []
    try:
        for i in range(count):  # clients open a choice for each number in turn
            yield chunk(choice(i, {"role": "assistant", "content": ""}, ()))
        async for i, delta in deltas:
            if delta.text or (delta.logprobs and delta.finish_reason is None):
                yield chunk(choice(i, {"content": delta.text}, delta.logprobs))
            if delta.finish_reason is not None:
                yield chunk(choice(i, {}, () if delta.text else delta.logprobs, delta.finish_reason))
                usages.append(delta.usage or Usage(0, 0))
    except Exception as error:  # noqa: BLE001 - the status has been sent, so every failure has to be an event
        yield {"data": json.dumps(envelope(from_exception(error)))}
        return
    if with_usage:
        yield chunk([], _usage(usages))
    yield {"data": "[DONE]"}


def _choice(index: int, answer: Answer, with_logprobs: bool) -> dict[str, Any]:
    message = {"role": "assistant", "content": answer.text, "refusal": None}
    logprobs = _logprobs(answer.logprobs) if with_logprobs else None
    return {"index": index, "message": message, "logprobs": logprobs, "finish_reason": answer.finish_reason}


def _logprobs(tokens: Sequence[TokenLogprob]) -> dict[str, Any]:
    def entry(one: TokenLogprob) -> dict[str, Any]:
        return {"token": one.token, "logprob": one.logprob, "bytes": list(one.bytes)}

    return {"content": [{**entry(one), "top_logprobs": [entry(t) for t in one.top]} for one in tokens], "refusal": None}


def _usage(usages: Sequence[Usage]) -> dict[str, Any]:
    """Of all answers together; what they were made from counts once."""
    read, written = usages[0].prompt_tokens, sum(usage.completion_tokens for usage in usages)
    return {
        "prompt_tokens": read,
        "completion_tokens": written,
        "total_tokens": read + written,
        "prompt_tokens_details": {"image_tokens": usages[0].image_tokens},
    }


def _refuse_unsupported(params: ChatCompletion) -> None:
    if params.top_logprobs and not params.logprobs:
        raise invalid("top_logprobs", "top_logprobs: it needs logprobs: true")
    if params.tool_choice not in (None, "none", "auto"):
        raise invalid("tool_choice", "tool_choice: this model calls no tools; allowed: none, auto", "unsupported_value")
    if set(params.modalities or ()) - {"text"}:
        raise invalid("modalities", f"modalities: {params.modalities}; this server answers in text only")


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
                parts.append(TextPart(part.text))
                continue
            where = f"messages[{i}].content[{j}].image_url"
            pictures += 1
            if pictures > MAX_CHAT_IMAGES:
                raise invalid(where, f"{where}: more than {MAX_CHAT_IMAGES} images in one request")
            parts.append(ImagePart(await read_url(part.image_url.url, settings, where), where))
        if not parts and message.role != "assistant":
            raise invalid(f"messages[{i}].content", f"messages[{i}].content is empty")
        converted.append(Message(_ROLES.get(message.role, message.role), tuple(parts)))
    return tuple(converted)
