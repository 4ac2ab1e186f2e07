"""Chat answers as OpenAI writes them: whole, and in chunks of a stream."""

from __future__ import annotations

import json
from collections.abc import AsyncIterator, Sequence
from typing import Any

from deployments.ingress.errors import envelope, from_exception
from deployments.ingress.responses.sse import StartedStream
from deployments.ingress.services.omni import ProgressDelta
from deployments.vision import Answer
from models.tasks import CallDelta, ChatDelta, TokenLogprob, Usage


def completion(head: dict[str, Any], answers: Sequence[Answer], *, with_logprobs: bool) -> dict[str, Any]:
    """Whole answers under one `head` (id, created, model)."""
    choices = [_choice(i, answer, with_logprobs) for i, answer in enumerate(answers)]
    return {
        **head,
        "object": "chat.completion",
        "choices": choices,
        "usage": _usage([answer.usage for answer in answers]),
    }


async def chunks(
    head: dict[str, Any],
    deltas: StartedStream[tuple[int, ChatDelta]],
    count: int,
    *,
    with_usage: bool,
) -> AsyncIterator[dict[str, str]]:
    """The events of `count` answers as they are written; a failure is an event, since the status has been sent."""

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
            if isinstance(delta, ProgressDelta):
                yield chunk(choice(i, {"reasoning_content": delta.progress}, ()))
                continue
            if delta.text or (delta.logprobs and delta.finish_reason is None and not delta.calls):
                yield chunk(choice(i, {"content": delta.text}, delta.logprobs))
            for number, call in enumerate(delta.calls):  # one a chunk: not every client looks for more
                tokens = delta.logprobs if number == 0 and not delta.text else ()
                yield chunk(choice(i, {"tool_calls": [_call_piece(call)]}, tokens))
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
    message: dict[str, Any] = {"role": "assistant", "content": answer.text, "refusal": None}
    if answer.calls:
        message["content"] = answer.text or None
        message["tool_calls"] = [
            {"id": call.id, "type": "function", "function": {"name": call.name, "arguments": call.arguments}}
            for call in answer.calls
        ]
    logprobs = _logprobs(answer.logprobs) if with_logprobs else None
    return {"index": index, "message": message, "logprobs": logprobs, "finish_reason": answer.finish_reason}


def _call_piece(call: CallDelta) -> dict[str, Any]:
    if call.name is None:
        return {"index": call.index, "function": {"arguments": call.arguments}}
    function = {"name": call.name, "arguments": call.arguments}
    return {"index": call.index, "id": call.id, "type": "function", "function": function}


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
