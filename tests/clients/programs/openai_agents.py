"""openai-agents over both APIs; its voice."""

from __future__ import annotations

import asyncio
from typing import Literal

from agents import (
    Agent,
    ModelSettings,
    OpenAIChatCompletionsModel,
    OpenAIResponsesModel,
    Runner,
    function_tool,
    set_tracing_disabled,
)
from agents.voice import OpenAITTSModel, TTSModelSettings
from cases import MODEL, PNG_URL, QUESTION, case, main
from openai import AsyncOpenAI
from pydantic import BaseModel


class Seen(BaseModel):
    """What a model that has learned nothing but shapes can say."""

    colour: Literal["red", "blue", "green"]
    shape: Literal["circle", "square", "star"]


set_tracing_disabled(True)
PICTURE = [
    {
        "role": "user",
        "content": [
            {"type": "input_text", "text": QUESTION},
            {"type": "input_image", "image_url": PNG_URL, "detail": "auto"},
        ],
    }
]


@function_tool
def look(shape: str) -> str:
    """Look for a shape."""
    return f"a red {shape}"


def client(url: str) -> AsyncOpenAI:
    return AsyncOpenAI(base_url=url, api_key="none", max_retries=0)


def agent(url: str, kind: type = OpenAIChatCompletionsModel, **more: object) -> Agent:
    model = kind(MODEL, client(url))
    return Agent(name="looker", model=model, **more)


@case
def text(url: str) -> None:
    assert Runner.run_sync(agent(url), QUESTION).final_output


@case
def picture(url: str) -> None:
    assert "red" in Runner.run_sync(agent(url), PICTURE).final_output.lower()


@case
def stream(url: str) -> None:
    async def read() -> str:
        result = Runner.run_streamed(agent(url), QUESTION)
        async for _ in result.stream_events():
            pass
        return result.final_output

    assert asyncio.run(read())


@case
def structured(url: str) -> None:
    assert isinstance(Runner.run_sync(agent(url, output_type=Seen), QUESTION).final_output, Seen)


@case
def tools(url: str) -> None:
    settings = ModelSettings(tool_choice="required")
    assert Runner.run_sync(agent(url, tools=[look], model_settings=settings), QUESTION).final_output


@case
def responses(url: str) -> None:
    assert "red" in Runner.run_sync(agent(url, OpenAIResponsesModel), PICTURE).final_output.lower()


@case
def responses_tools(url: str) -> None:
    settings = ModelSettings(tool_choice="required")
    looking = agent(
        url, OpenAIResponsesModel, tools=[look], model_settings=settings, tool_use_behavior="stop_on_first_tool"
    )
    assert Runner.run_sync(looking, QUESTION).final_output


@case
def responses_structured(url: str) -> None:
    assert isinstance(Runner.run_sync(agent(url, OpenAIResponsesModel, output_type=Seen), QUESTION).final_output, Seen)


@case
def speech(url: str) -> None:
    async def read() -> bytes:
        said = OpenAITTSModel("gpt-4o-mini-tts", client(url)).run("A red circle.", TTSModelSettings())
        return b"".join([piece async for piece in said])

    assert len(asyncio.run(read())) > 24_000


if __name__ == "__main__":
    main()
