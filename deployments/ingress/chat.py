"""Chat completions, whole and streamed, with pictures."""

from __future__ import annotations

import asyncio
import json
import time
import uuid
from collections.abc import AsyncGenerator, AsyncIterator
from contextlib import aclosing
from typing import Any

from fastapi import APIRouter
from starlette.requests import Request
from starlette.responses import JSONResponse, Response

from deployments.ingress import body, uploads
from deployments.ingress.docs import accepts
from deployments.ingress.errors import envelope, from_exception, invalid
from deployments.ingress.schemas.chat import ChatCompletion, ChatMessage, ImageContent
from deployments.ingress.streams import begun, event_stream
from models.tasks import ChatDelta, ChatJob, ImagePart, Message, TextPart, Usage
from settings import Settings

router = APIRouter(prefix="/v1", tags=["chat"])

_MAX_IMAGES = 16
_MAX_STOPS = 4
_DEFAULT_TOKENS = 512
_ROLES: dict[str, Any] = {"developer": "system", "tool": "user", "function": "user"}


@router.post("/chat/completions", summary="Answer in words", openapi_extra=accepts(ChatCompletion))
async def completions(request: Request) -> Response:
    """An answer about texts and pictures; all pictures of all messages reach the model in order."""
    settings: Settings = request.app.state.atelier.settings
    asked = await body.read(request, ChatCompletion, max_bytes=uploads.base64_room(settings, _MAX_IMAGES))
    roster = request.app.state.atelier.models
    alias = roster.resolve(asked.model, ["vlm"])
    _refuse_unsupported(asked)
    job = ChatJob(
        messages=await _messages(asked.messages, settings),
        max_tokens=asked.max_completion_tokens or asked.max_tokens or _DEFAULT_TOKENS,
        temperature=0.0 if asked.temperature is None else asked.temperature,
        top_p=asked.top_p,
        stop=_stops(asked.stop),
        seed=asked.seed,
    )
    head = {"id": f"chatcmpl-{uuid.uuid4().hex}", "created": int(time.time()), "model": asked.model}
    if not asked.stream:
        answer = await roster.call(alias, "chat", job)
        message = {"role": "assistant", "content": answer.text, "refusal": None}
        choice = {"index": 0, "message": message, "logprobs": None, "finish_reason": answer.finish_reason}
        return JSONResponse({**head, "object": "chat.completion", "choices": [choice], "usage": _usage(answer.usage)})
    with_usage = asked.stream_options is not None and asked.stream_options.include_usage
    deltas = roster.stream(alias, "chat_stream", job)
    return event_stream(_events(head, await begun(deltas), deltas, with_usage=with_usage))


async def _events(
    head: dict[str, Any], first: asyncio.Future[ChatDelta], rest: AsyncGenerator[ChatDelta, None], *, with_usage: bool
) -> AsyncIterator[dict[str, str]]:
    def chunk(choices: list[dict[str, Any]], usage: dict[str, Any] | None = None) -> dict[str, str]:
        value: dict[str, Any] = {**head, "object": "chat.completion.chunk", "choices": choices}
        if with_usage:
            value["usage"] = usage
        return {"data": json.dumps(value, ensure_ascii=False)}

    def choice(delta: dict[str, Any], finish_reason: str | None = None) -> list[dict[str, Any]]:
        return [{"index": 0, "delta": delta, "logprobs": None, "finish_reason": finish_reason}]

    yield chunk(choice({"role": "assistant", "content": ""}))
    try:
        async with aclosing(rest):
            last = await first
            if last.text:
                yield chunk(choice({"content": last.text}))
            async for last in rest:
                if last.text:
                    yield chunk(choice({"content": last.text}))
    except Exception as error:  # noqa: BLE001 - the status is long sent: every failure must be told inside the stream
        yield {"data": json.dumps(envelope(from_exception(error)))}
        return
    finally:
        first.cancel()
    yield chunk(choice({}, last.finish_reason or "stop"))
    if with_usage:
        yield chunk([], _usage(last.usage or Usage(0, 0)))
    yield {"data": "[DONE]"}


def _usage(usage: Usage) -> dict[str, Any]:
    return {
        "prompt_tokens": usage.prompt_tokens,
        "completion_tokens": usage.completion_tokens,
        "total_tokens": usage.prompt_tokens + usage.completion_tokens,
        "prompt_tokens_details": {"image_tokens": usage.image_tokens},
    }


def _refuse_unsupported(asked: ChatCompletion) -> None:
    if asked.n > 1:
        raise invalid("n", f"n: {asked.n}; this server gives one answer a request", "unsupported_value")
    if asked.logprobs or asked.top_logprobs:
        name = "logprobs" if asked.logprobs else "top_logprobs"
        raise invalid(name, f"{name} is not supported", "unsupported_parameter")
    if asked.response_format is not None and asked.response_format.type != "text":
        raise invalid(
            "response_format",
            f"response_format: {asked.response_format.type!r} is not supported; allowed: text",
            "unsupported_value",
        )
    if asked.tool_choice not in (None, "none", "auto"):
        raise invalid("tool_choice", "tool_choice: this model calls no tools; allowed: none, auto", "unsupported_value")
    if set(asked.modalities or ()) - {"text"}:
        raise invalid("modalities", f"modalities: {asked.modalities}; this server answers in text only")
    for name in ("presence_penalty", "frequency_penalty"):
        if getattr(asked, name):
            raise invalid(name, f"{name} is not supported; allowed: 0", "unsupported_value")


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
            if pictures > _MAX_IMAGES:
                raise invalid(where, f"{where}: more than {_MAX_IMAGES} images in one request")
            parts.append(ImagePart(await uploads.read_url(part.image_url.url, settings, where)))
        if not parts and message.role != "assistant":
            raise invalid(f"messages[{i}].content", f"messages[{i}].content is empty")
        converted.append(Message(_ROLES.get(message.role, message.role), tuple(parts)))
    return tuple(converted)
