"""Strands: agents over both APIs."""

from __future__ import annotations

import asyncio
from typing import Literal

from cases import MODEL, PNG, QUESTION, case, main
from pydantic import BaseModel
from strands import Agent, tool
from strands.models.openai import OpenAIModel
from strands.models.openai_responses import OpenAIResponsesModel


class Seen(BaseModel):
    """What a model that has learned nothing but shapes can say."""

    colour: Literal["red", "blue", "green"]
    shape: Literal["circle", "square", "star"]


PICTURE = [{"text": QUESTION}, {"image": {"format": "png", "source": {"bytes": PNG}}}]


@tool
def look(shape: str) -> str:
    """Look for a shape."""
    return f"a red {shape}"


def agent(url: str, kind: type = OpenAIModel, **more: object) -> Agent:
    model = kind(client_args={"base_url": url, "api_key": "none", "max_retries": 0}, model_id=MODEL)
    return Agent(model=model, callback_handler=None, **more)


@case
def text(url: str) -> None:
    assert str(agent(url)(QUESTION))


@case
def picture(url: str) -> None:
    assert "red" in str(agent(url)(PICTURE)).lower()


@case
def stream(url: str) -> None:
    async def read() -> str:
        return "".join([event["data"] async for event in agent(url).stream_async(QUESTION) if "data" in event])

    assert asyncio.run(read())


@case
def structured(url: str) -> None:
    assert isinstance(agent(url)(PICTURE, structured_output_model=Seen).structured_output, Seen)


@case
def tools(url: str) -> None:
    assert str(agent(url, tools=[look])(QUESTION))


@case
def responses(url: str) -> None:
    assert "red" in str(agent(url, OpenAIResponsesModel)(PICTURE)).lower()


if __name__ == "__main__":
    main()
