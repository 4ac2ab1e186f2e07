"""LiteLLM, its SDK."""

from __future__ import annotations

from typing import Literal

import litellm
from cases import MODEL, QUESTION, WANTS_PICTURE, case, main
from pydantic import BaseModel


class Seen(BaseModel):
    """What a model that has learned nothing but shapes can say."""

    colour: Literal["red", "blue", "green"]
    shape: Literal["circle", "square", "star"]


TOOL = {
    "type": "function",
    "function": {
        "name": "look",
        "parameters": {"type": "object", "properties": {"shape": {"type": "string"}}, "required": ["shape"]},
    },
}


def ask(url: str, content: object, **more: object) -> object:
    messages = [{"role": "user", "content": content}]
    return litellm.completion(
        model=f"openai/{MODEL}", api_base=url, api_key="none", num_retries=0, messages=messages, **more
    )


@case
def text(url: str) -> None:
    assert ask(url, QUESTION).choices[0].message.content


@case
def picture(url: str) -> None:
    assert "red" in ask(url, WANTS_PICTURE).choices[0].message.content.lower()


@case
def stream(url: str) -> None:
    assert "".join(chunk.choices[0].delta.content or "" for chunk in ask(url, QUESTION, stream=True))


@case
def structured(url: str) -> None:
    Seen.model_validate_json(ask(url, WANTS_PICTURE, response_format=Seen).choices[0].message.content)


@case
def tools(url: str) -> None:
    answer = ask(url, QUESTION, tools=[TOOL], tool_choice="required")
    assert answer.choices[0].message.tool_calls[0].function.name == "look"


if __name__ == "__main__":
    main()
