"""Chat answers as Anthropic writes them: whole, and as the events of a stream."""

from __future__ import annotations

import base64
import json
from collections.abc import AsyncIterator, Iterator, Sequence
from dataclasses import dataclass, field
from typing import Any, Final

from pydantic_core import from_json, to_json

from deployments.executors import COMPUTING
from deployments.ingress.errors import envelope, from_exception
from deployments.ingress.services.omni import ProgressDelta
from deployments.ingress.services.tool_loop import DrawnPicture, LoopEvent
from models.tasks import CallDelta, ChatDelta, FinishReason, Usage

Event = dict[str, str]
PING: Final[Event] = {"event": "ping", "data": '{"type": "ping"}'}
_REASONS: Final[dict[FinishReason, str]] = {"stop": "end_turn", "length": "max_tokens", "tool_calls": "tool_use"}


@dataclass
class _Message:
    """An answer as it grows: its blocks, one open at a time, and why it ended."""

    head: dict[str, Any]
    blocks: list[dict[str, Any]] = field(default_factory=list)
    call: int | None = None
    """The index of the call whose block is open."""
    is_open: bool = False
    last: ChatDelta | None = None

    def take(self, event: LoopEvent) -> Iterator[Event]:
        """The events of a piece."""
        if isinstance(event, DrawnPicture):
            source = {
                "type": "base64",
                "media_type": f"image/{event.format}",
                "data": base64.b64encode(event.data).decode(),
            }
            yield from self._begin({"type": "image", "source": source})
            yield from self._end_block()
        elif not isinstance(event, ChatDelta) or isinstance(event, ProgressDelta):
            yield PING  # the server works, and the model says nothing meanwhile
        else:
            if event.text:
                yield from self._say(event.text)
            for piece in event.calls:
                yield from self._call(piece)
            if event.finish_reason is not None:
                self.last = event

    def end(self) -> Iterator[Event]:
        """The events at the end."""
        yield from self._end_block()
        yield _event("message_delta", delta=self.ending, usage=self.usage)
        yield _event("message_stop")

    @property
    def ending(self) -> dict[str, Any]:
        """Why it ended."""
        assert self.last is not None
        assert self.last.finish_reason is not None
        if self.last.stop is not None:
            return {"stop_reason": "stop_sequence", "stop_sequence": self.last.stop}
        return {"stop_reason": _REASONS[self.last.finish_reason], "stop_sequence": None}

    @property
    def usage(self) -> dict[str, int]:
        """Tokens read and written."""
        used = (self.last and self.last.usage) or Usage(0, 0)
        return usage_of(used.prompt_tokens, used.completion_tokens)

    def whole(self) -> dict[str, Any]:
        """The message."""
        content = []
        for block in self.blocks:
            if block["type"] == "tool_use":
                value = _object(block["input"])
                if value is None:  # cut off, as `stop_reason` says
                    continue
                block = {**block, "input": value}
            content.append(block)
        return {**self.head, "content": content, **self.ending, "usage": self.usage}

    def _say(self, text: str) -> Iterator[Event]:
        if not self.is_open or self.call is not None:
            yield from self._begin({"type": "text", "text": ""})
        self.blocks[-1]["text"] += text
        yield self._delta({"type": "text_delta", "text": text})

    def _call(self, piece: CallDelta) -> Iterator[Event]:
        if piece.name is not None:
            yield from self._begin({"type": "tool_use", "id": f"toolu_{piece.id}", "name": piece.name, "input": {}})
            self.call, self.blocks[-1]["input"] = piece.index, ""
        if piece.arguments:
            self.blocks[-1]["input"] += piece.arguments
            yield self._delta({"type": "input_json_delta", "partial_json": piece.arguments})

    def _begin(self, block: dict[str, Any]) -> Iterator[Event]:
        yield from self._end_block()
        self.is_open = True
        self.blocks.append(dict(block))
        yield _event("content_block_start", index=len(self.blocks) - 1, content_block=block)

    def _delta(self, delta: dict[str, Any]) -> Event:
        return _event("content_block_delta", index=len(self.blocks) - 1, delta=delta)

    def _end_block(self) -> Iterator[Event]:
        if self.is_open:
            self.is_open, self.call = False, None
            yield _event("content_block_stop", index=len(self.blocks) - 1)


def message_head(request_id: str, model: str) -> dict[str, Any]:
    """What every message of a request begins with."""
    return {"id": f"msg_{request_id}", "type": "message", "role": "assistant", "model": model}


def usage_of(read: int, written: int) -> dict[str, int]:
    """Tokens, of which none come from a cache that callers know."""
    cached = {"cache_creation_input_tokens": 0, "cache_read_input_tokens": 0}
    return {"input_tokens": read, **cached, "output_tokens": written}


async def message(head: dict[str, Any], pieces: Sequence[LoopEvent]) -> str:
    """JSON of the whole answer that these pieces are."""
    made = _Message(head)

    def written() -> str:
        for piece in pieces:
            for _ in made.take(piece):
                pass
        return json.dumps(made.whole(), ensure_ascii=False)

    return await COMPUTING.run(written) if any(isinstance(piece, DrawnPicture) for piece in pieces) else written()


async def message_events(
    head: dict[str, Any], pieces: AsyncIterator[LoopEvent], request_id: str
) -> AsyncIterator[Event]:
    """The events of an answer as it is written; a failure is the last one, since the status has been sent."""
    made = _Message(head)
    begun = {**head, "content": [], "stop_reason": None, "stop_sequence": None, "usage": usage_of(0, 0)}
    yield _event("message_start", message=begun)
    yield PING
    try:
        async for piece in pieces:
            for event in await _taken(made, piece):
                yield event
        for event in made.end():
            yield event
    except Exception as error:  # noqa: BLE001 - the status has been sent, so every failure has to be an event
        body = envelope(from_exception(error), "anthropic", request_id)
        yield {"event": "error", "data": json.dumps(body, ensure_ascii=False)}


async def _taken(made: _Message, piece: LoopEvent) -> list[Event]:
    """The events of a piece; the base64 of a picture, of megabytes, is made by a thread."""
    if isinstance(piece, DrawnPicture):
        return await COMPUTING.run(lambda: list(made.take(piece)))
    return list(made.take(piece))


def _event(name: str, **fields: Any) -> Event:
    return {"event": name, "data": json.dumps({"type": name, **fields}, ensure_ascii=False)}


def _object(arguments: str) -> dict[str, Any] | None:
    """The arguments of a call; None where they are not a whole object."""
    try:
        value = from_json(arguments or "{}")
        value = from_json(to_json(value, inf_nan_mode="null"))  # `1e999` is a number that JSON cannot say again
    except ValueError:
        return None
    return value if isinstance(value, dict) else None
