"""langchain-openai: `ChatOpenAI`, with_structured_output and bind_tools."""

from __future__ import annotations

from typing import Literal

from cases import MODEL, PNG_BASE64, QUESTION, case, main
from langchain_core.messages import HumanMessage, ToolMessage
from langchain_core.tools import tool
from langchain_openai import ChatOpenAI
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


def chat(url: str) -> ChatOpenAI:
    return ChatOpenAI(base_url=url, api_key="none", model=MODEL, max_retries=0)


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
def function_calling(url: str) -> None:
    assert isinstance(chat(url).with_structured_output(Seen, method="function_calling").invoke(PICTURE), Seen)


@case
def tools(url: str) -> None:
    bound = chat(url).bind_tools([look], tool_choice="any")
    answer = bound.invoke(QUESTION)
    (call,) = answer.tool_calls
    assert call["name"] == "look"
    result = ToolMessage("a red circle", tool_call_id=call["id"])
    assert chat(url).bind_tools([look]).invoke([HumanMessage(QUESTION), answer, result]).content


if __name__ == "__main__":
    main()
