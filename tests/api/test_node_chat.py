"""The official SDK of Node, against the chat route."""

from __future__ import annotations

import json
from typing import Any

import jsonschema

from tests.api.node import Node
from tests.api.pictures import data_url, png, scene

SCHEMA = {
    "type": "object",
    "properties": {"shape": {"enum": ["circle", "star"]}, "count": {"type": "integer", "minimum": 0, "maximum": 9}},
    "required": ["shape", "count"],
    "additionalProperties": False,
}


def asking(text: str, **fields: Any) -> dict[str, Any]:
    url = data_url(png(scene("circle", "red", "blue")))
    content = [{"type": "image_url", "image_url": {"url": url}}, {"type": "text", "text": text}]
    return {"model": "vlm-fast", "messages": [{"role": "user", "content": content}], **fields}


def test_a_question_is_answered_whole_and_streamed_alike(node: Node) -> None:
    whole = node.call("chat.completions.create", asking("Describe this image."))["answer"]["choices"][0]
    assert whole["finish_reason"] == "stop"
    assert "red circle" in whole["message"]["content"]
    streaming = asking("Describe this image.", stream=True, stream_options={"include_usage": True})
    events = node.call("chat.completions.create", streaming)["events"]
    texts = [choice["delta"].get("content") or "" for event in events for choice in event["choices"]]
    assert "".join(texts) == whole["message"]["content"]
    assert events[-1]["choices"] == []
    assert events[-1]["usage"]["total_tokens"] > 0


def test_parse_gives_a_value_of_the_schema(node: Node) -> None:
    format_ = {"type": "json_schema", "json_schema": {"name": "seen", "schema": SCHEMA, "strict": True}}
    went = node.call("chat.completions.create", asking("What is this?", response_format=format_))
    jsonschema.validate(json.loads(went["answer"]["choices"][0]["message"]["content"]), SCHEMA)


def test_a_refusal_is_the_error_class_of_its_status_with_the_field(node: Node) -> None:
    bad = {"type": "json_schema", "json_schema": {"name": "seen", "schema": {"type": "nonsense"}}}
    error = node.call("chat.completions.create", asking("What is this?", response_format=bad))["error"]
    assert (error["name"], error["status"]) == ("BadRequestError", 400)
    assert (error["code"], error["param"]) == ("invalid_schema", "response_format.json_schema.schema")
