"""openai-agents over the chat API."""

from __future__ import annotations

import asyncio
from typing import Literal

from agents import Agent, ModelSettings, OpenAIChatCompletionsModel, Runner, function_tool, set_tracing_disabled
from cases import MODEL, PNG_URL, QUESTION, case, main
from openai import AsyncOpenAI
from pydantic import BaseModel


class Seen(BaseModel):
    """What a model that has learned nothing but shapes can say."""

    colour: Literal["red", "blue", "green"]
    shape: Literal["circle", "square", "star"]


set_tracing_disabled(True)


@function_tool
def look(shape: str) -> str:
    """Look for a shape."""
    return f"a red {shape}"


def agent(url: str, **more: object) -> Agent:
    model = OpenAIChatCompletionsModel(MODEL, AsyncOpenAI(base_url=url, api_key="none", max_retries=0))
    return Agent(name="looker", model=model, **more)


@case
def text(url: str) -> None:
    assert Runner.run_sync(agent(url), QUESTION).final_output


@case
def picture(url: str) -> None:
    content = [
        {"type": "input_text", "text": QUESTION},
        {"type": "input_image", "image_url": PNG_URL, "detail": "auto"},
    ]
    assert "red" in Runner.run_sync(agent(url), [{"role": "user", "content": content}]).final_output.lower()


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


if __name__ == "__main__":
    main()
