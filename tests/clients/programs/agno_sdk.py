"""agno: agents over both APIs; its tools that draw and speak, which read OPENAI_BASE_URL; vectors."""

from __future__ import annotations

import os
from typing import Literal

from agno.agent import Agent
from agno.knowledge.embedder.openai import OpenAIEmbedder
from agno.media import Image
from agno.models.openai import OpenAIResponses
from agno.models.openai.like import OpenAILike
from agno.tools import tool
from agno.tools.dalle import DalleTools
from agno.tools.openai import OpenAITools
from cases import MODEL, PNG, QUESTION, case, is_mp3, is_picture, main
from pydantic import BaseModel


class Seen(BaseModel):
    """What a model that has learned nothing but shapes can say."""

    colour: Literal["red", "blue", "green"]
    shape: Literal["circle", "square", "star"]


@tool(stop_after_tool_call=True)
def look(shape: Literal["circle", "square", "star"]) -> str:
    """Look for a shape."""
    return f"a red {shape}"


def agent(url: str, kind: type = OpenAILike, **more: object) -> Agent:
    return Agent(model=kind(id=MODEL, base_url=url, api_key="none"), telemetry=False, **more)


@case
def text(url: str) -> None:
    assert agent(url).run(QUESTION).content


@case
def picture(url: str) -> None:
    assert "red" in agent(url).run(QUESTION, images=[Image(content=PNG, format="png")]).content.lower()


@case
def stream(url: str) -> None:
    assert "".join(event.content or "" for event in agent(url).run(QUESTION, stream=True))


@case
def structured(url: str) -> None:
    assert isinstance(agent(url, output_schema=Seen).run(QUESTION).content, Seen)


@case
def tools(url: str) -> None:
    assert agent(url, tools=[look], tool_choice="required").run(QUESTION).tools


@case
def responses(url: str) -> None:
    assert "red" in agent(url, OpenAIResponses).run(QUESTION, images=[Image(content=PNG, format="png")]).content.lower()


@case
def draw(url: str) -> None:
    os.environ["OPENAI_BASE_URL"] = url
    made = OpenAITools(image_model="gpt-image-1").generate_image("a red circle")
    assert is_picture(made.images[0].content)


@case
def draw_dalle(url: str) -> None:
    os.environ["OPENAI_BASE_URL"] = url
    assert DalleTools().create_image("a red circle").images[0].url


@case
def speech(url: str) -> None:
    os.environ["OPENAI_BASE_URL"] = url
    (said,) = OpenAITools().generate_speech(agent(url), "A red circle.").audios
    assert is_mp3(said.content)


@case
def embeddings(url: str) -> None:
    assert OpenAIEmbedder(base_url=url, api_key="none", dimensions=128).get_embedding("a red circle")


if __name__ == "__main__":
    main()
