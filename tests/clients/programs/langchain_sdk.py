"""langchain-openai: `ChatOpenAI` in both APIs, with_structured_output and bind_tools; `OpenAIEmbeddings`."""

from __future__ import annotations

from typing import Literal

from cases import MODEL, PNG_BASE64, QUESTION, case, main
from langchain_core.messages import HumanMessage, ToolMessage
from langchain_core.tools import tool
from langchain_openai import ChatOpenAI, OpenAIEmbeddings
from pydantic import BaseModel


class Seen(BaseModel):
    """What a model that has learned nothing but shapes can say."""

    colour: Literal["red", "blue", "green"]
    shape: Literal["circle", "square", "star"]


PICTURE = [
    HumanMessage(
        content=[
            {"type": "text", "text": QUESTION},
            {"type": "image", "source_type": "base64", "data": PNG_BASE64, "mime_type": "image/png"},
        ]
    )
]


@tool
def look(shape: str) -> str:
    """Look for a shape."""
    return f"a red {shape}"


def chat(url: str, **more: object) -> ChatOpenAI:
    return ChatOpenAI(base_url=url, api_key="none", model=MODEL, max_retries=0, **more)


@case
def text(url: str) -> None:
    assert chat(url).invoke(QUESTION).content


@case
def picture(url: str) -> None:
    assert "red" in chat(url).invoke(PICTURE).content.lower()


@case
def stream(url: str) -> None:
    assert "".join(piece.content for piece in chat(url).stream(QUESTION))


@case
def structured(url: str) -> None:
    assert isinstance(chat(url).with_structured_output(Seen).invoke(PICTURE), Seen)


@case
def structured_function_calling(url: str) -> None:
    assert isinstance(chat(url).with_structured_output(Seen, method="function_calling").invoke(PICTURE), Seen)


@case
def tools(url: str) -> None:
    bound = chat(url).bind_tools([look], tool_choice="any")
    answer = bound.invoke(QUESTION)
    (call,) = answer.tool_calls
    assert call["name"] == "look"
    result = ToolMessage("a red circle", tool_call_id=call["id"])
    assert chat(url).bind_tools([look]).invoke([HumanMessage(QUESTION), answer, result]).content


@case
def responses(url: str) -> None:
    assert "red" in chat(url, use_responses_api=True).invoke(PICTURE).text.lower()


@case
def responses_tools(url: str) -> None:
    (call,) = chat(url, use_responses_api=True).bind_tools([look], tool_choice="any").invoke(QUESTION).tool_calls
    assert call["name"] == "look"


@case
def embeddings(url: str) -> None:
    assert len(OpenAIEmbeddings(base_url=url, api_key="none").embed_documents(["a red circle", "a blue star"])) == 2


if __name__ == "__main__":
    main()
