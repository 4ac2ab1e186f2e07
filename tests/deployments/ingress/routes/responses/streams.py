"""A response's stream as it is sent, and the rules that every one keeps."""

from __future__ import annotations

import json
from typing import Any

import httpx

Event = dict[str, Any]
ENDS = {"response.completed", "response.incomplete", "response.failed"}
_OF_ITEMS = {
    "message": {"content_part.added", "output_text.delta", "output_text.done", "content_part.done"},
    "function_call": {"function_call_arguments.delta", "function_call_arguments.done"},
    "image_generation_call": {
        f"image_generation_call.{state}" for state in ("in_progress", "generating", "partial_image", "completed")
    },
}


async def streamed(http: httpx.AsyncClient, **body: Any) -> list[Event]:
    """The events of a request, which keep all rules."""
    async with http.stream("POST", "/v1/responses", json={"model": "chat", "stream": True, **body}) as answer:
        text = (await answer.aread()).decode()
    assert answer.status_code == 200, text
    return read(text)


def read(text: str) -> list[Event]:
    """The events of a stream, which keep all rules."""
    blocks = [block for block in text.split("\n\n") if block and not block.startswith(":")]
    assert text.endswith("\n\n")
    events = []
    for block in blocks:
        name, data = block.split("\n")
        event = json.loads(data.removeprefix("data: "))
        assert name == f"event: {event['type']}"
        events.append(event)
    check(events)
    return events


def check(events: list[Event]) -> None:
    """What the parsers of SDKs count on."""
    assert [event["sequence_number"] for event in events] == list(range(len(events)))
    assert [event["type"] for event in events[:2]] == ["response.created", "response.in_progress"]
    assert events[-1]["type"] in ENDS
    assert sum(event["type"] in ENDS for event in events) == 1
    whole = events[-1]["response"]
    assert {event["response"]["id"] for event in (*events[:2], events[-1])} == {whole["id"]}
    items: dict[int, Event] = {}
    texts: dict[int, str] = {}
    closed: set[int] = set()
    for event in events[2:-1]:
        index = event["output_index"]
        kind = event["type"].removeprefix("response.")
        if kind == "output_item.added":
            assert index == len(items)
            assert set(items) == closed, "an item begins before the one before it is whole"
            items[index] = event["item"]
            continue
        item = items[index]
        assert index not in closed
        if kind == "output_item.done":
            assert event["item"]["id"] == item["id"]
            assert event["item"]["type"] == item["type"]
            assert event["item"]["status"] != "in_progress"
            closed.add(index)
            continue
        assert event["item_id"] == item["id"]
        assert kind in _OF_ITEMS[item["type"]]
        if kind == "content_part.added":
            assert index not in texts
            texts[index] = ""
        elif kind.endswith(".delta"):
            assert event["delta"] or event.get("logprobs")
            assert index in texts or item["type"] == "function_call"
            texts[index] = texts.get(index, "") + event["delta"]
        elif kind.endswith(("text.done", "arguments.done")):
            assert event.get("text", event.get("arguments")) == texts.get(index, "")
    assert [item["id"] for item in whole["output"]] == [items[index]["id"] for index in range(len(items))]
    if events[-1]["type"] != "response.failed":
        assert set(items) == closed
        assert whole["usage"]["total_tokens"] == whole["usage"]["input_tokens"] + whole["usage"]["output_tokens"]


def text_of(events: list[Event]) -> str:
    """All words of a stream."""
    return "".join(event["delta"] for event in events if event["type"] == "response.output_text.delta")
