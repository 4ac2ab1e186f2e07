"""Anthropic's SDK of Node, with its helpers, as its users write them (`tests/node/messages.mjs`)."""

from __future__ import annotations

import base64
import json
import subprocess
from typing import Any

import pytest

from tests.api.node import NODE, Node, ended
from tests.api.pictures import png, scene


@pytest.fixture(scope="module")
def told(node: Node) -> dict[str, Any]:
    """What came of each call."""
    process = subprocess.Popen(
        [NODE, "messages.mjs"], cwd=node.folder, stdin=subprocess.PIPE, stdout=subprocess.PIPE,
        stderr=subprocess.PIPE, text=True,
    )  # fmt: skip
    assert process.stdin
    picture = base64.b64encode(png(scene("circle", "red", "blue"))).decode()
    process.stdin.write(json.dumps({"url": node.url, "picture": picture}) + "\n")
    process.stdin.flush()
    return ended(process)


def test_a_picture_is_looked_at(told: dict[str, Any]) -> None:
    answer = told["picture"]
    assert [(block["type"], block["text"]) for block in answer["content"]] == [("text", "Red")]
    assert (answer["stop_reason"], answer["named"]) == ("end_turn", True)


def test_a_stream_read_by_the_helper_is_the_whole_answer(told: dict[str, Any]) -> None:
    stream = told["stream"]
    assert stream["text"] == stream["final"] == stream["whole"] != ""
    assert stream["stop"] == "end_turn"


def test_a_tool_is_called_and_its_result_read(told: dict[str, Any]) -> None:
    tool = told["tool"]
    assert (tool["use"]["type"], tool["use"]["name"], tool["stop_reason"]) == ("tool_use", "report", "tool_use")
    assert tool["use"]["input"]["colour"] in ("red", "blue")
    assert tool["after"] == "text"


def test_tokens_are_counted(told: dict[str, Any]) -> None:
    assert told["tokens"] > 1


def test_a_wish_is_drawn(told: dict[str, Any]) -> None:
    assert [block["type"] for block in told["drawing"]] == ["image", "text"]
    assert base64.b64decode(told["drawing"][0]["source"]["data"]).startswith(b"\x89PNG")


def test_errors_have_the_sdks_own_classes(told: dict[str, Any]) -> None:
    assert told["unknown"] == {"raised": "NotFoundError", "status": 404, "type": "not_found_error", "named": True}
    assert told["left"]["raised"] == "APIUserAbortError"
