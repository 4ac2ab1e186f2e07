"""The Responses API with the models that come with the server."""

from __future__ import annotations

import base64
import io
import json
from typing import Any

import jsonschema
from openai import OpenAI
from openai.types.responses.response_output_item import ImageGenerationCall
from PIL import Image

from tests.api.pictures import data_url, png, scene

SHAPE: Any = {
    "type": "function",
    "name": "look",
    "parameters": {"type": "object", "properties": {"shape": {"enum": ["circle", "star"]}}, "required": ["shape"]},
}


def test_a_picture_is_seen_and_the_conversation_goes_on(sdk: OpenAI) -> None:
    url = data_url(png(scene("circle", "red", "blue")))
    content: Any = [
        {"type": "input_image", "image_url": url, "detail": "auto"},
        {"type": "input_text", "text": "What colour is the circle?"},
    ]
    first = sdk.responses.create(model="gpt-4o", input=[{"role": "user", "content": content}])
    assert "red" in first.output_text.lower()
    second = sdk.responses.create(model="gpt-4o", input="Hello", previous_response_id=first.id)
    assert second.usage is not None
    assert first.usage is not None
    assert second.usage.input_tokens > first.usage.input_tokens
    assert sdk.responses.retrieve(second.id).output_text == second.output_text


def test_a_stream_has_the_words_of_the_whole_answer(sdk: OpenAI) -> None:
    whole = sdk.responses.create(model="vlm-fast", input="Hello", store=False)
    with sdk.responses.stream(model="vlm-fast", input="Hello") as stream:
        deltas = [event.delta for event in stream if event.type == "response.output_text.delta"]
        final = stream.get_final_response()
    assert "".join(deltas) == final.output_text == whole.output_text


def test_a_call_that_is_required_fits_its_schema(sdk: OpenAI) -> None:
    response = sdk.responses.create(model="vlm-fast", input="Hello", tools=[SHAPE], tool_choice="required")
    (call,) = response.output
    assert call.type == "function_call"
    jsonschema.validate(json.loads(call.arguments), SHAPE["parameters"])


def test_a_picture_is_drawn_and_changed(sdk: OpenAI) -> None:
    tool: Any = {"type": "image_generation", "size": "64x64", "steps": 2, "partial_images": 1}
    asked: Any = {"model": "vlm-fast", "tools": [tool], "tool_choice": {"type": "image_generation"}}
    with sdk.responses.stream(input="a big red circle on a blue background", **asked) as stream:
        seen = [event.type for event in stream]
        drawn = stream.get_final_response()
    assert "response.image_generation_call.completed" in seen
    changed = sdk.responses.create(input="make the circle yellow", previous_response_id=drawn.id, **asked)
    pictures = [response.output[0] for response in (drawn, changed)]
    for picture in pictures:
        assert isinstance(picture, ImageGenerationCall)
        assert Image.open(io.BytesIO(base64.b64decode(picture.result or ""))).size == (64, 64)
