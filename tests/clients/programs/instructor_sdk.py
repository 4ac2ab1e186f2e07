"""instructor: a model out of a chat, by tools and by JSON schemas."""

from __future__ import annotations

from typing import Literal

import instructor
from cases import MODEL, QUESTION, WANTS_PICTURE, case, main
from openai import OpenAI
from pydantic import BaseModel


class Seen(BaseModel):
    """What a model that has learned nothing but shapes can say."""

    colour: Literal["red", "blue", "green"]
    shape: Literal["circle", "square", "star"]


def seen(url: str, mode: instructor.Mode, content: object) -> Seen:
    client = instructor.from_openai(OpenAI(base_url=url, api_key="none", max_retries=0), mode=mode)
    messages = [{"role": "user", "content": content}]
    return client.chat.completions.create(model=MODEL, messages=messages, response_model=Seen, max_retries=0)


@case
def tools(url: str) -> None:
    seen(url, instructor.Mode.TOOLS, WANTS_PICTURE)


@case
def tools_strict(url: str) -> None:
    seen(url, instructor.Mode.TOOLS_STRICT, QUESTION)


@case
def structured(url: str) -> None:
    seen(url, instructor.Mode.JSON_SCHEMA, QUESTION)


@case
def responses(url: str) -> None:
    client = instructor.from_openai(
        OpenAI(base_url=url, api_key="none", max_retries=0), mode=instructor.Mode.RESPONSES_TOOLS
    )
    client.responses.create(model=MODEL, input=QUESTION, response_model=Seen, max_retries=0)


if __name__ == "__main__":
    main()
