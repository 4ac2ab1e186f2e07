"""LiteLLM, its SDK."""

from __future__ import annotations

import base64
from typing import Literal

import litellm
from cases import MODEL, PNG, QUESTION, WANTS_PICTURE, case, is_mp3, is_picture, main
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


@case
def responses(url: str) -> None:
    answer = litellm.responses(model=f"openai/{MODEL}", api_base=url, api_key="none", input=QUESTION)
    assert answer.output[0].content[0].text


@case
def draw(url: str) -> None:
    made = litellm.image_generation("a red circle", model="openai/gpt-image-1", api_base=url, api_key="none")
    assert is_picture(base64.b64decode(made.data[0].b64_json))


@case
def edit(url: str) -> None:
    made = litellm.image_edit(
        image=PNG, prompt="make the circle green", model="openai/gpt-image-1", api_base=url, api_key="none"
    )
    assert is_picture(base64.b64decode(made.data[0].b64_json))


@case
def speech(url: str) -> None:
    said = litellm.speech("openai/tts-1", "A red circle.", voice="alloy", api_base=url, api_key="none")
    assert is_mp3(said.content)


@case
def embeddings(url: str) -> None:
    texts = ["a red circle", "a blue star"]
    made = litellm.embedding("openai/text-embedding-3-small", texts, api_base=url, api_key="none")
    assert len(made.data) == 2


if __name__ == "__main__":
    main()
