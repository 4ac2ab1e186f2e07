"""openai-python: plain calls, its stream helper and `parse`, in both APIs; pictures, speech and vectors."""

from __future__ import annotations

import base64
from typing import Literal

from cases import MODEL, PNG, PNG_URL, QUESTION, WANTS_PICTURE, case, is_mp3, is_picture, main
from openai import OpenAI, pydantic_function_tool
from openai.resources.chat.completions import Completions
from pydantic import BaseModel


class Seen(BaseModel):
    """What a model that has learned nothing but shapes can say."""

    colour: Literal["red", "blue", "green"]
    shape: Literal["circle", "square", "star"]


def client(url: str) -> OpenAI:
    return OpenAI(base_url=url, api_key="none", max_retries=0)


def completions(url: str) -> Completions:
    return client(url).chat.completions


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


@case
def responses(url: str) -> None:
    content = [
        {"type": "input_text", "text": QUESTION},
        {"type": "input_image", "image_url": PNG_URL, "detail": "auto"},
    ]
    answer = client(url).responses.create(model=MODEL, input=[{"role": "user", "content": content}])
    assert "red" in answer.output_text.lower()


@case
def responses_stream(url: str) -> None:
    with client(url).responses.stream(model=MODEL, input=QUESTION) as events:
        assert events.get_final_response().output_text


@case
def responses_structured(url: str) -> None:
    assert client(url).responses.parse(model=MODEL, input=QUESTION, text_format=Seen).output_parsed


@case
def draw(url: str) -> None:
    made = client(url).images.generate(model="gpt-image-1", prompt="a red circle")
    assert is_picture(base64.b64decode(made.data[0].b64_json))


@case
def draw_stream(url: str) -> None:
    events = list(
        client(url).images.generate(model="gpt-image-1", prompt="a red circle", stream=True, partial_images=1)
    )
    assert events[-1].type == "image_generation.completed"
    assert is_picture(base64.b64decode(events[-1].b64_json))


@case
def edit(url: str) -> None:
    picture = ("circle.png", PNG, "image/png")
    made = client(url).images.edit(model="gpt-image-1", image=picture, prompt="make the circle green")
    assert is_picture(base64.b64decode(made.data[0].b64_json))


@case
def speech(url: str) -> None:
    said = client(url).audio.speech.create(model="gpt-4o-mini-tts", voice="alloy", input="A red circle.")
    assert is_mp3(said.content)


@case
def embeddings(url: str) -> None:
    made = client(url).embeddings.create(model="text-embedding-3-small", input=["a red circle", "a blue star"])
    assert len(made.data) == 2


if __name__ == "__main__":
    main()
