"""Haystack: `OpenAIChatGenerator` and `OpenAIResponsesChatGenerator`, pictures and vectors."""

from __future__ import annotations

import base64
from typing import Literal

from cases import MODEL, PNG_BASE64, QUESTION, case, is_picture, main
from haystack.components.embedders import OpenAITextEmbedder
from haystack.components.generators import OpenAIImageGenerator
from haystack.components.generators.chat import OpenAIChatGenerator, OpenAIResponsesChatGenerator
from haystack.dataclasses import ChatMessage, ImageContent
from haystack.tools import Tool
from haystack.utils import Secret
from pydantic import BaseModel


class Seen(BaseModel):
    """What a model that has learned nothing but shapes can say."""

    colour: Literal["red", "blue", "green"]
    shape: Literal["circle", "square", "star"]


LOOK = Tool(
    name="look",
    description="Looks for a shape",
    parameters={"type": "object", "properties": {"shape": {"type": "string"}}, "required": ["shape"]},
    function=lambda shape: f"a red {shape}",
)


def reply(url: str, content: list[object], *, given: object = None, **more: object) -> ChatMessage:
    generator = OpenAIChatGenerator(
        api_base_url=url, api_key=Secret.from_token("none"), model=MODEL, max_retries=0, **more
    )
    return generator.run([ChatMessage.from_user(content_parts=content)], tools=given)["replies"][0]


@case
def text(url: str) -> None:
    assert reply(url, [QUESTION]).text


@case
def picture(url: str) -> None:
    picture = ImageContent(base64_image=PNG_BASE64, mime_type="image/png")
    assert "red" in reply(url, [QUESTION, picture]).text.lower()


@case
def stream(url: str) -> None:
    pieces: list[object] = []
    assert reply(url, [QUESTION], streaming_callback=pieces.append).text
    assert len(pieces) > 1


@case
def structured(url: str) -> None:
    Seen.model_validate_json(reply(url, [QUESTION], generation_kwargs={"response_format": Seen}).text)


@case
def tools(url: str) -> None:
    answer = reply(url, [QUESTION], given=[LOOK], generation_kwargs={"tool_choice": "required"})
    assert answer.tool_calls[0].tool_name == "look"


@case
def responses(url: str) -> None:
    generator = OpenAIResponsesChatGenerator(api_base_url=url, api_key=Secret.from_token("none"), model=MODEL)
    assert generator.run([ChatMessage.from_user(QUESTION)])["replies"][0].text


@case
def draw(url: str) -> None:
    painter = OpenAIImageGenerator(api_base_url=url, api_key=Secret.from_token("none"))
    assert is_picture(base64.b64decode(painter.run("a red circle")["images"][0]))


@case
def embeddings(url: str) -> None:
    embedder = OpenAITextEmbedder(api_base_url=url, api_key=Secret.from_token("none"))
    assert embedder.run("a red circle")["embedding"]


if __name__ == "__main__":
    main()
