"""pydantic-ai: agents over both APIs, output by a tool and natively; vectors."""

from __future__ import annotations

import asyncio
from typing import Literal

from cases import MODEL, PNG, QUESTION, case, main
from pydantic import BaseModel
from pydantic_ai import Agent, BinaryContent, Embedder, NativeOutput
from pydantic_ai.embeddings.openai import OpenAIEmbeddingModel
from pydantic_ai.models.openai import OpenAIChatModel, OpenAIResponsesModel
from pydantic_ai.providers.openai import OpenAIProvider


class Seen(BaseModel):
    """What a model that has learned nothing but shapes can say."""

    colour: Literal["red", "blue", "green"]
    shape: Literal["circle", "square", "star"]


PICTURE = [QUESTION, BinaryContent(data=PNG, media_type="image/png")]


def agent(url: str, kind: type = OpenAIChatModel, **more: object) -> Agent:
    return Agent(kind(MODEL, provider=OpenAIProvider(base_url=url, api_key="none")), **more)


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
def structured_native(url: str) -> None:
    assert isinstance(agent(url, output_type=NativeOutput(Seen)).run_sync(QUESTION).output, Seen)


@case
def tools(url: str) -> None:
    looking = agent(url)

    @looking.tool_plain
    def look(shape: str) -> str:
        """Look for a shape."""
        return f"a red {shape}"

    assert looking.run_sync(QUESTION).output


@case
def responses(url: str) -> None:
    assert "red" in agent(url, OpenAIResponsesModel).run_sync(PICTURE).output.lower()


@case
def responses_structured(url: str) -> None:
    assert isinstance(agent(url, OpenAIResponsesModel, output_type=Seen).run_sync(PICTURE).output, Seen)


@case
def embeddings(url: str) -> None:
    model = OpenAIEmbeddingModel("text-embedding-3-small", provider=OpenAIProvider(base_url=url, api_key="none"))
    assert len(Embedder(model).embed_documents_sync(["a red circle", "a blue star"]).embeddings) == 2


if __name__ == "__main__":
    main()
