"""openai-python: plain calls, its stream helper and `parse`."""

from __future__ import annotations

from typing import Literal

from cases import MODEL, QUESTION, WANTS_PICTURE, case, main
from openai import OpenAI, pydantic_function_tool
from openai.resources.chat.completions import Completions
from pydantic import BaseModel


class Seen(BaseModel):
    """What a model that has learned nothing but shapes can say."""

    colour: Literal["red", "blue", "green"]
    shape: Literal["circle", "square", "star"]


def completions(url: str) -> Completions:
    return OpenAI(base_url=url, api_key="none", max_retries=0).chat.completions


@case
def text(url: str) -> None:
    answer = completions(url).create(model=MODEL, messages=[{"role": "user", "content": QUESTION}])
    assert answer.choices[0].message.content


@case
def picture(url: str) -> None:
    answer = completions(url).create(model=MODEL, messages=[{"role": "user", "content": WANTS_PICTURE}])
    assert "red" in answer.choices[0].message.content.lower()


@case
def stream(url: str) -> None:
    messages = [{"role": "user", "content": WANTS_PICTURE}]
    with completions(url).stream(model=MODEL, messages=messages, stream_options={"include_usage": True}) as events:
        final = events.get_final_completion()
    assert "red" in final.choices[0].message.content.lower()
    assert final.usage


@case
def structured(url: str) -> None:
    answer = completions(url).parse(
        model=MODEL, messages=[{"role": "user", "content": WANTS_PICTURE}], response_format=Seen
    )
    assert answer.choices[0].message.parsed


@case
def tools(url: str) -> None:
    answer = completions(url).create(
        model=MODEL,
        messages=[{"role": "user", "content": WANTS_PICTURE}],
        tools=[pydantic_function_tool(Seen)],
        tool_choice="required",
    )
    Seen.model_validate_json(answer.choices[0].message.tool_calls[0].function.arguments)


if __name__ == "__main__":
    main()
