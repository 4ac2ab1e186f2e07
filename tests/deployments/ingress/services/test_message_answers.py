"""Answers in Anthropic's dialect: pictures among the words, whole and in events."""

from __future__ import annotations

import base64
import json
from collections.abc import AsyncIterator

from deployments.ingress.services.message_answers import message, message_events, message_head
from deployments.ingress.services.tool_loop import DrawnPicture, LoopEvent
from models.tasks import ChatDelta, ImageJob, ToolCall, Usage
from tests.api.pictures import png

PIECES: list[LoopEvent] = [
    ChatDelta("Here:"),
    DrawnPicture(ToolCall("call_1", "generate_image", "{}"), png(), "png", ImageJob("a cat", 8, 8, 1, 1.0, seed=1)),
    ChatDelta("As you like it.", "stop", Usage(3, 4)),
]
PICTURE = {
    "type": "image",
    "source": {"type": "base64", "media_type": "image/png", "data": base64.b64encode(png()).decode()},
}


async def test_a_whole_answer_has_its_pictures_among_the_words() -> None:
    made = json.loads(await message(message_head("1", "atelier"), PIECES))
    words = [{"type": "text", "text": text} for text in ("Here:", "As you like it.")]
    assert made["content"] == [words[0], PICTURE, words[1]]
    assert (made["stop_reason"], made["usage"]["output_tokens"]) == ("end_turn", 4)


async def test_a_picture_in_a_stream_is_a_block_that_begins_whole() -> None:
    async def pieces() -> AsyncIterator[LoopEvent]:
        for piece in PIECES:
            yield piece

    events = [json.loads(each["data"]) async for each in message_events(message_head("1", "atelier"), pieces(), "1")]
    begun = [event["content_block"] for event in events if event["type"] == "content_block_start"]
    assert begun == [{"type": "text", "text": ""}, PICTURE, {"type": "text", "text": ""}]
    assert [event["index"] for event in events if event["type"] == "content_block_stop"] == [0, 1, 2]
    assert events[-1]["type"] == "message_stop"
