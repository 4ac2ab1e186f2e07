"""Semantic Kernel: its chat service, and those for pictures, speech and vectors."""

from __future__ import annotations

import asyncio
import base64
from collections.abc import Coroutine
from typing import Literal, TypeVar

from cases import MODEL, PNG, QUESTION, case, is_mp3, is_picture, main
from openai import AsyncOpenAI
from pydantic import BaseModel
from semantic_kernel import Kernel
from semantic_kernel.connectors.ai import FunctionChoiceBehavior
from semantic_kernel.connectors.ai.open_ai import (
    OpenAIChatCompletion,
    OpenAIChatPromptExecutionSettings,
    OpenAITextEmbedding,
    OpenAITextToAudio,
    OpenAITextToAudioExecutionSettings,
    OpenAITextToImage,
)
from semantic_kernel.contents import ChatHistory, ChatMessageContent, ImageContent, TextContent
from semantic_kernel.functions import kernel_function

T = TypeVar("T")


class Seen(BaseModel):
    """What a model that has learned nothing but shapes can say."""

    colour: Literal["red", "blue", "green"]
    shape: Literal["circle", "square", "star"]


class Looking:
    """A plugin."""

    @kernel_function(description="Look for a shape.")
    def look(self, shape: str) -> str:
        """Find it."""
        return f"a red {shape}"


def client(url: str) -> AsyncOpenAI:
    return AsyncOpenAI(base_url=url, api_key="none", max_retries=0)


def service(url: str) -> OpenAIChatCompletion:
    return OpenAIChatCompletion(ai_model_id=MODEL, async_client=client(url))


def now(coroutine: Coroutine[object, object, T]) -> T:
    return asyncio.run(coroutine)


def asked(*more: object) -> ChatHistory:
    history = ChatHistory()
    history.add_message(ChatMessageContent(role="user", items=[TextContent(text=QUESTION), *more]))
    return history


@case
def text(url: str) -> None:
    assert now(service(url).get_chat_message_content(asked(), OpenAIChatPromptExecutionSettings())).content


@case
def picture(url: str) -> None:
    history = asked(ImageContent(data=PNG, data_format="base64", mime_type="image/png"))
    answer = now(service(url).get_chat_message_content(history, OpenAIChatPromptExecutionSettings()))
    assert "red" in answer.content.lower()


@case
def stream(url: str) -> None:
    async def read() -> str:
        settings = OpenAIChatPromptExecutionSettings()
        pieces = service(url).get_streaming_chat_message_content(asked(), settings)
        return "".join([str(piece) async for piece in pieces])

    assert now(read())


@case
def structured(url: str) -> None:
    settings = OpenAIChatPromptExecutionSettings(response_format=Seen)
    Seen.model_validate_json(now(service(url).get_chat_message_content(asked(), settings)).content)


@case
def tools(url: str) -> None:
    kernel = Kernel()
    kernel.add_plugin(Looking(), plugin_name="looking")
    settings = OpenAIChatPromptExecutionSettings(
        function_choice_behavior=FunctionChoiceBehavior.Required(auto_invoke=False)
    )
    answer = now(service(url).get_chat_message_content(asked(), settings, kernel=kernel))
    assert answer.items[0].function_name == "look"


@case
def draw(url: str) -> None:
    painter = OpenAITextToImage(ai_model_id="gpt-image-1", async_client=client(url))
    (made,) = now(painter.generate_images("a red circle"))
    assert is_picture(base64.b64decode(made))


@case
def edit(url: str) -> None:
    painter = OpenAITextToImage(ai_model_id="gpt-image-1", async_client=client(url))
    assert now(painter.edit_image("make the circle green", image_paths=["circle.png"]))


@case
def speech(url: str) -> None:
    speaker = OpenAITextToAudio(ai_model_id="tts-1", async_client=client(url))
    settings = OpenAITextToAudioExecutionSettings(voice="alloy", response_format="mp3")
    assert is_mp3(now(speaker.get_audio_content("A red circle.", settings)).data)


@case
def embeddings(url: str) -> None:
    embedder = OpenAITextEmbedding(ai_model_id="text-embedding-3-small", async_client=client(url))
    assert len(now(embedder.generate_embeddings(["a red circle", "a blue star"]))) == 2


if __name__ == "__main__":
    main()
