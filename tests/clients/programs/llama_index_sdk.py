"""LlamaIndex: `OpenAILike` and `OpenAILikeEmbedding`."""

from __future__ import annotations

import base64
from typing import Literal

from cases import MODEL, PNG, QUESTION, case, main
from llama_index.core.llms import ChatMessage, ImageBlock, TextBlock
from llama_index.core.tools import FunctionTool
from llama_index.embeddings.openai_like import OpenAILikeEmbedding
from llama_index.llms.openai_like import OpenAILike
from pydantic import BaseModel


class Seen(BaseModel):
    """What a model that has learned nothing but shapes can say."""

    colour: Literal["red", "blue", "green"]
    shape: Literal["circle", "square", "star"]


ASKED = [ChatMessage(role="user", content=QUESTION)]


def model(url: str) -> OpenAILike:
    return OpenAILike(
        model=MODEL, api_base=url, api_key="none", is_chat_model=True, is_function_calling_model=True, max_retries=0
    )


def look(shape: str) -> str:
    """Look for a shape."""
    return f"a red {shape}"


@case
def text(url: str) -> None:
    assert model(url).chat(ASKED).message.content


@case
def picture(url: str) -> None:
    blocks = [TextBlock(text=QUESTION), ImageBlock(image=base64.b64encode(PNG), image_mimetype="image/png")]
    assert "red" in model(url).chat([ChatMessage(role="user", blocks=blocks)]).message.content.lower()


@case
def stream(url: str) -> None:
    assert "".join(piece.delta or "" for piece in model(url).stream_chat(ASKED))


@case
def structured(url: str) -> None:
    assert isinstance(model(url).as_structured_llm(Seen).chat(ASKED).raw, Seen)


@case
def tools(url: str) -> None:
    answer = model(url).chat_with_tools([FunctionTool.from_defaults(look)], user_msg=QUESTION, tool_required=True)
    assert model(url).get_tool_calls_from_response(answer)[0].tool_name == "look"


@case
def embeddings(url: str) -> None:
    made = OpenAILikeEmbedding(model_name="text-embedding-3-small", api_base=url, api_key="none", max_retries=0)
    assert len(made.get_text_embedding_batch(["a red circle", "a blue star"])) == 2


if __name__ == "__main__":
    main()
