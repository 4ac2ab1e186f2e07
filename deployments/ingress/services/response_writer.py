"""Puts a response together from what a chat gives, piece by piece, and says each piece as an event."""

from __future__ import annotations

import time
import uuid
from collections.abc import Mapping, Sequence
from typing import Any

from deployments.imaging import Partial
from deployments.ingress.errors import ApiError
from deployments.ingress.responses.picture_json import PictureJson
from deployments.ingress.services import response_events as events
from deployments.ingress.services.tool_loop import (
    DrawnPicture,
    LoopEvent,
    ToolBegun,
    ToolFailed,
    ToolProgress,
)
from models.tasks import CallDelta, ChatDelta, FinishReason, TokenLogprob, Usage
from stores.responses import StoredItem

Pictures = tuple[tuple[dict[str, Any], bytes], ...]


class ResponseWriter:
    """One response. `head` is what is known of it at its beginning; `looks` is what every picture says of itself.

    Call `begin`, `take` for each piece, then `finish` and `end`; or `fail`, also after `finish`. What they give has its
    number, and is to be sent in order. After `finish`, `status` is `completed` or `incomplete`.
    """

    def __init__(self, head: Mapping[str, Any], looks: Mapping[str, Any] | None = None) -> None:
        self._response = {**head, "status": "in_progress", "output": []}
        self._looks = dict(looks or {})
        self._items: list[dict[str, Any]] = []
        self._pictures: dict[str, bytes] = {}
        self._open: int | None = None
        """Index of the message or call that is being written."""
        self._calls: dict[int, int] = {}
        self._drawings: dict[str, int] = {}
        self._finish: FinishReason = "stop"
        self._usage = Usage(0, 0)
        self.count = 0
        """Events so far."""
        self.ignored: tuple[str, ...] = ()
        """Of the request, what the model could not take into account."""

    @property
    def status(self) -> str:
        """`in_progress`, `completed`, `incomplete`, `failed` or `cancelled`."""
        return str(self._response["status"])

    def begin(self) -> list[PictureJson]:
        """The first events."""
        begun = dict(self._response)
        return self._numbered(
            [{"type": f"response.{state}", "response": begun} for state in ("created", "in_progress")]
        )

    def take(self, piece: LoopEvent) -> list[PictureJson]:
        """What a piece adds."""
        match piece:
            case ChatDelta():
                return self._numbered(self._take_delta(piece))
            case ToolBegun(makes="picture"):
                return self._numbered([*self._close("completed"), *self._begin_picture(piece)])
            case ToolProgress(piece=Partial() as partial):
                index = self._drawings[piece.call.id]
                midway = events.picture_midway(index, self._items[index], partial.index)
                return self._numbered([midway], ((midway, partial.data),), "partial_image_b64")
            case DrawnPicture():
                return self._end_picture(piece)
            case ToolFailed() if piece.call.id in self._drawings:
                index = self._drawings.pop(piece.call.id)
                item = self._items[index]
                item |= {"status": "failed", "result": "", "error": _error(piece.error)}
                return self._numbered(events.picture_closed(index, item))
        return []

    def finish(self) -> None:
        """The response is whole."""
        if self._finish == "length":
            self._response |= {"status": "incomplete", "incomplete_details": {"reason": "max_output_tokens"}}
        else:
            self._response |= {"status": "completed"}
        self._response |= {"completed_at": int(time.time()), "usage": _usage(self._usage)}

    def end(self) -> PictureJson:
        """The last event, which has the whole response."""
        return self._last(f"response.{self.status}")

    def fail(self, error: ApiError) -> PictureJson:
        """The last event of a response that cannot go on. What is not whole stays as it is."""
        status = "cancelled" if error.code == "cancelled" else "failed"
        for item in self._items:
            if item["status"] == "in_progress":
                item["status"] = "failed" if item["type"] == "image_generation_call" else "incomplete"
        self._response |= {"status": status, "error": _error(error)}
        self._response |= {"completed_at": None, "usage": None, "incomplete_details": None}
        return self._last("response.failed")

    def whole(self) -> PictureJson:
        """The response as it is now."""
        response, pictures = self._snapshot()
        return PictureJson(response, pictures)

    async def body(self) -> str:
        """JSON of the response without its output, to be kept."""
        return await PictureJson({name: each for name, each in self._response.items() if name != "output"}).text()

    async def stored_output(self) -> list[StoredItem]:
        """Its items, to be kept."""
        stored = []
        for item in self._items:
            copy = dict(item)
            picture = self._pictures.get(item["id"])
            text = await PictureJson(copy, () if picture is None else ((copy, picture),)).text()
            stored.append(StoredItem(item["id"], text, is_output=True))
        return stored

    def _take_delta(self, delta: ChatDelta) -> list[events.Event]:
        said: list[events.Event] = []
        self.ignored = delta.ignored
        if delta.text or (delta.logprobs and not delta.calls and delta.finish_reason is None):
            said += self._write_text(delta.text, delta.logprobs)
        for call in delta.calls:
            said += self._write_call(call)
        if delta.finish_reason is not None:
            self._finish, self._usage = delta.finish_reason, delta.usage or Usage(0, 0)
            if not self._items:  # a response that says nothing is a message without words
                said += self._write_text("", ())
            said += self._close("incomplete" if delta.finish_reason == "length" else "completed")
        return said

    def _write_text(self, text: str, tokens: Sequence[TokenLogprob]) -> list[events.Event]:
        said: list[events.Event] = []
        if self._open is None or self._items[self._open]["type"] != "message":
            said += self._close("completed")
            begun = {"id": _id("msg"), "type": "message", "status": "in_progress", "role": "assistant"}
            said += events.message_opened(self._add({**begun, "content": [events.text_part()]}), begun)
        assert self._open is not None
        item, logprobs = self._items[self._open], [_logprob(token) for token in tokens]
        item["content"][0]["text"] += text
        item["content"][0]["logprobs"] += logprobs
        if text or logprobs:
            said.append(events.text_delta(self._open, item, text, logprobs))
        return said

    def _write_call(self, call: CallDelta) -> list[events.Event]:
        said: list[events.Event] = []
        if call.index not in self._calls:
            said += self._close("completed")
            item = {
                "id": _id("fc"),
                "type": "function_call",
                "status": "in_progress",
                "call_id": call.id or _id("call"),
                "name": call.name or "",
                "arguments": "",
            }
            self._calls[call.index] = self._add(item)
            said.append(events.item_added(self._calls[call.index], item))
        index = self._calls[call.index]
        if call.arguments:
            self._items[index]["arguments"] += call.arguments
            said.append(events.arguments_delta(index, self._items[index], call.arguments))
        return said

    def _close(self, status: str) -> list[events.Event]:
        """Close what is being written, if anything is."""
        if self._open is None:
            return []
        index, self._open = self._open, None
        item = self._items[index]
        item["status"] = status
        return events.message_closed(index, item) if item["type"] == "message" else events.call_closed(index, item)

    def _begin_picture(self, begun: ToolBegun) -> list[events.Event]:
        item = {"id": _id("ig"), "type": "image_generation_call", "status": "in_progress", **self._looks}
        index = self._add(item)
        self._open = None  # it is closed by what ends its call
        self._drawings[begun.call.id] = index
        return events.picture_opened(index, item)

    def _end_picture(self, drawn: DrawnPicture) -> list[PictureJson]:
        index = self._drawings.pop(drawn.call.id)
        item = self._items[index]
        item |= {
            "status": "completed",
            "result": "",
            "revised_prompt": drawn.job.prompt,
            "size": f"{drawn.job.width}x{drawn.job.height}",
            "output_format": drawn.format,
            "action": "edit" if drawn.job.images else "generate",
            "seed": drawn.job.seed,
        }
        self._pictures[item["id"]] = drawn.data
        closing = events.picture_closed(index, item)
        return self._numbered(closing, ((closing[-1]["item"], drawn.data),))

    def _add(self, item: dict[str, Any]) -> int:
        self._items.append(item)
        self._open = len(self._items) - 1
        return self._open

    def _last(self, name: str) -> PictureJson:
        response, pictures = self._snapshot()
        (event,) = self._numbered([{"type": name, "response": response}], pictures)
        return event

    def _snapshot(self) -> tuple[dict[str, Any], Pictures]:
        output = [dict(item) for item in self._items]
        pictures = tuple((item, self._pictures[item["id"]]) for item in output if item["id"] in self._pictures)
        return {**self._response, "output": output}, pictures

    def _numbered(
        self, said: Sequence[events.Event], pictures: Pictures = (), name: str = "result"
    ) -> list[PictureJson]:
        """Events with their numbers; `pictures` are in the last one."""
        for event in said:
            event["sequence_number"] = self.count
            self.count += 1
        return [PictureJson(event, pictures if event is said[-1] else (), name) for event in said]


def _id(kind: str) -> str:
    return f"{kind}_{uuid.uuid4().hex}"


def _error(error: ApiError) -> dict[str, Any]:
    return {"code": error.code or error.type, "message": error.message, "param": error.param, "type": error.type}


def _logprob(token: TokenLogprob) -> dict[str, Any]:
    def entry(one: TokenLogprob) -> dict[str, Any]:
        return {"token": one.token, "logprob": one.logprob, "bytes": list(one.bytes)}

    return {**entry(token), "top_logprobs": [entry(each) for each in token.top]}


def _usage(usage: Usage) -> dict[str, Any]:
    return {
        "input_tokens": usage.prompt_tokens,
        "input_tokens_details": {
            "cached_tokens": 0,
            "cache_write_tokens": 0,
            "image_tokens": usage.image_tokens,
        },
        "output_tokens": usage.completion_tokens,
        "output_tokens_details": {"reasoning_tokens": 0},
        "total_tokens": usage.prompt_tokens + usage.completion_tokens,
    }
