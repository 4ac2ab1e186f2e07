"""The events of a response's stream, each without its number: what opens, fills and closes an item.

`output_index` counts items, `content_index` the parts of a message, of which there is one. Parsers of SDKs want an
item before its parts, a part before its deltas, and everything closed before the response is completed.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, Final

from deployments.ingress.responses.picture_json import PictureJson

Event = dict[str, Any]

_MIDWAY: Final = ("size", "quality", "background", "output_format")
"""What a partial picture says of itself, as its item does."""


def item_added(index: int, item: Mapping[str, Any]) -> Event:
    """An item begins."""
    return {"type": "response.output_item.added", "output_index": index, "item": dict(item)}


def item_done(index: int, item: Mapping[str, Any]) -> Event:
    """An item is whole, or all there will be of it."""
    return {"type": "response.output_item.done", "output_index": index, "item": dict(item)}


def text_part(text: str = "", logprobs: Sequence[Any] = ()) -> dict[str, Any]:
    """The part of a message."""
    return {"type": "output_text", "text": text, "annotations": [], "logprobs": list(logprobs)}


def message_opened(index: int, item: Mapping[str, Any]) -> list[Event]:
    """A message begins, with its part."""
    part = {"item_id": item["id"], "output_index": index, "content_index": 0, "part": text_part()}
    return [item_added(index, {**item, "content": []}), {"type": "response.content_part.added", **part}]


def text_delta(index: int, item: Mapping[str, Any], delta: str, logprobs: Sequence[Any]) -> Event:
    """A piece of a message's text."""
    return {
        "type": "response.output_text.delta",
        "item_id": item["id"],
        "output_index": index,
        "content_index": 0,
        "delta": delta,
        "logprobs": list(logprobs),
    }


def message_closed(index: int, item: Mapping[str, Any]) -> list[Event]:
    """The end of a message."""
    where = {"item_id": item["id"], "output_index": index, "content_index": 0}
    part = item["content"][0]
    return [
        {"type": "response.output_text.done", **where, "text": part["text"], "logprobs": part["logprobs"]},
        {"type": "response.content_part.done", **where, "part": part},
        item_done(index, item),
    ]


def arguments_delta(index: int, item: Mapping[str, Any], delta: str) -> Event:
    """A piece of a call's arguments."""
    return {
        "type": "response.function_call_arguments.delta",
        "item_id": item["id"],
        "output_index": index,
        "delta": delta,
    }


def call_closed(index: int, item: Mapping[str, Any]) -> list[Event]:
    """The end of a call of a function."""
    done = {
        "type": "response.function_call_arguments.done",
        "item_id": item["id"],
        "output_index": index,
        "name": item["name"],
        "arguments": item["arguments"],
    }
    return [done, item_done(index, item)]


def _picture(index: int, item: Mapping[str, Any], state: str) -> Event:
    return {"type": f"response.image_generation_call.{state}", "item_id": item["id"], "output_index": index}


def picture_opened(index: int, item: Mapping[str, Any]) -> list[Event]:
    """A picture is begun."""
    added = item_added(index, {**item, "status": "in_progress"})
    return [added, _picture(index, item, "in_progress"), _picture(index, item, "generating")]


def picture_midway(index: int, item: Mapping[str, Any], number: int) -> Event:
    """A partial picture, still without its base64: `partial_image_b64`."""
    looks = {name: item[name] for name in _MIDWAY if name in item}
    return {**_picture(index, item, "partial_image"), "partial_image_index": number, **looks}


def picture_closed(index: int, item: Mapping[str, Any]) -> list[Event]:
    """The end of a picture, still without its base64, which the item of the last event gets."""
    if item["status"] == "failed":
        return [item_done(index, item)]
    return [_picture(index, item, "completed"), item_done(index, item)]


def replayed(response: Mapping[str, Any], last: int) -> list[PictureJson]:
    """The events of a response that has ended, each text in one piece; the last one has the number `last`.

    A stream that broke off is continued by what follows a number: the events here have lower numbers than those that
    they stand for, or the same, so nothing is left out but what was read before, and the end is never.
    """
    begun = {**response, "status": "in_progress", "output": [], "usage": None, "completed_at": None}
    begun |= {"error": None, "incomplete_details": None}
    events: list[Event] = [{"type": f"response.{state}", "response": begun} for state in ("created", "in_progress")]
    for index, item in enumerate(response["output"]):
        match item["type"]:
            case "message":
                part = item["content"][0]
                events += message_opened(index, {**item, "status": "in_progress"})
                if part["text"]:
                    events.append(text_delta(index, item, part["text"], part["logprobs"]))
                events += message_closed(index, item)
            case "function_call":
                events.append(item_added(index, {**item, "arguments": "", "status": "in_progress"}))
                events.append(arguments_delta(index, item, item["arguments"]))
                events += call_closed(index, item)
            case _:
                events += picture_opened(index, {name: each for name, each in item.items() if name != "result"})
                events += picture_closed(index, item)
    numbered = [PictureJson({**event, "sequence_number": number}) for number, event in enumerate(events)]
    ended = {"type": f"response.{response['status']}", "response": response}
    return [*numbered, PictureJson({**ended, "sequence_number": max(last, len(events))})]
