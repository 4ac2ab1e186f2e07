"""pydantic-ai: agents over the chat API, output by a tool and natively."""

from __future__ import annotations

import asyncio
from typing import Literal

from cases import MODEL, PNG, QUESTION, case, main
from pydantic import BaseModel
from pydantic_ai import Agent, BinaryContent, NativeOutput
from pydantic_ai.models.openai import OpenAIChatModel
from pydantic_ai.providers.openai import OpenAIProvider


class Seen(BaseModel):
    """What a model that has learned nothing but shapes can say."""

    colour: Literal["red", "blue", "green"]
    shape: Literal["circle", "square", "star"]


PICTURE = [QUESTION, BinaryContent(data=PNG, media_type="image/png")]


def agent(url: str, **more: object) -> Agent:
    return Agent(OpenAIChatModel(MODEL, provider=OpenAIProvider(base_url=url, api_key="none")), **more)


@case
def text(url: str) -> None:
    assert agent(url).run_sync(QUESTION).output


@case
def picture(url: str) -> None:
    assert "red" in agent(url).run_sync(PICTURE).output.lower()


@case
def stream(url: str) -> None:
    async def read() -> str:
        async with agent(url).run_stream(QUESTION) as result:
            return "".join([piece async for piece in result.stream_text(delta=True)])

    assert asyncio.run(read())


@case
def structured(url: str) -> None:
    assert isinstance(agent(url, output_type=Seen).run_sync(PICTURE).output, Seen)


@case
def native(url: str) -> None:
    assert isinstance(agent(url, output_type=NativeOutput(Seen)).run_sync(QUESTION).output, Seen)


@case
def tools(url: str) -> None:
    looking = agent(url)

    @looking.tool_plain
    def look(shape: str) -> str:
        """Look for a shape."""
        return f"a red {shape}"

    assert looking.run_sync(QUESTION).output


if __name__ == "__main__":
    main()
