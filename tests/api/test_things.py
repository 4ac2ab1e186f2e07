"""Drawings of everyday things and photographs, asked about and captioned through HTTP.

The drawings are of FxEmoji (Mozilla, Apache 2.0), a design that no built-in model has learnt; the photograph is
scikit-learn's. Answers of small models are bounded: each is of what is plain to see.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any, Literal

import httpx
import pytest
import sklearn.datasets
from openai import OpenAI
from pydantic import BaseModel

from tests.api.pictures import data_url, png, scene

PICTURES = Path(__file__).parent.parent / "pictures"


def drawing(name: str) -> bytes:
    return (PICTURES / f"{name}.png").read_bytes()


def flower() -> bytes:
    return (Path(sklearn.datasets.__file__).parent / "images" / "flower.jpg").read_bytes()


def ask(sdk: OpenAI, question: str, *pictures: bytes) -> str:
    shown = [{"type": "image_url", "image_url": {"url": data_url(picture)}} for picture in pictures]
    messages: list[Any] = [{"role": "user", "content": [*shown, {"type": "text", "text": question}]}]
    answer = sdk.chat.completions.create(model="vlm-fast", messages=messages).choices[0]
    assert answer.finish_reason == "stop"
    return str(answer.message.content)


@pytest.mark.parametrize(
    ("question", "names"),
    [
        ("What is in this picture?", ("elephant", "rocket")),
        ("이 그림에 뭐가 있어?", ("코끼리", "로켓")),
        ("この絵には何がありますか?", ("象", "ロケット")),
    ],
)
def test_a_thing_is_named_in_the_language_of_the_question(sdk: OpenAI, question: str, names: tuple[str, str]) -> None:
    for picture, name in zip(("elephant", "rocket"), names, strict=True):
        assert name in ask(sdk, question, drawing(picture)).lower()


def test_things_are_told_with_their_places_and_their_ground(sdk: OpenAI) -> None:
    assert "apple" in ask(sdk, "What is on the left?", drawing("fruit")).lower()
    assert "banana" in ask(sdk, "What is on the right?", drawing("fruit")).lower()
    assert ask(sdk, "How many things are there?", drawing("fruit")) == "2"
    assert "space" in ask(sdk, "What is in the background?", drawing("rocket")).lower()
    assert ask(sdk, "Is there a banana in the picture?", drawing("fruit")) == "Yes"
    assert ask(sdk, "Is there a banana in the picture?", drawing("elephant")) == "No"


def test_a_word_is_read(sdk: OpenAI) -> None:
    assert ask(sdk, "Read the text in this image. Answer with the text only.", drawing("sign")) == "HELLO"
    assert "no text" in ask(sdk, "What does the text say?", drawing("elephant")).lower()


class Inventory(BaseModel):
    background: str
    object_count: int
    items: list[str]
    contains_text: bool
    side: Literal["left", "right", "top", "bottom", "centre"]


def test_a_form_is_filled_in_rightly(sdk: OpenAI) -> None:
    url = {"url": data_url(drawing("fruit"))}
    content: list[Any] = [
        {"type": "image_url", "image_url": url},
        {"type": "text", "text": "Describe this picture as JSON."},
    ]
    answer = sdk.chat.completions.parse(
        model="vlm-fast",
        messages=[{"role": "user", "content": content}],
        response_format=Inventory,
    )
    found = answer.choices[0].message.parsed
    assert found is not None
    assert (found.object_count, found.items, found.contains_text) == (2, ["apple", "banana"], False)
    assert found.background == "white"


def test_a_photograph_is_named_and_what_it_does_not_tell_is_not_made_up(sdk: OpenAI) -> None:
    assert ask(sdk, "What is in this picture?", flower()) == "A photo of a daisy."
    assert "not know" in ask(sdk, "Who took this photo?", flower())


def test_shapes_and_things_go_together_in_one_conversation(sdk: OpenAI) -> None:
    both = (png(scene("star", "yellow", "blue")), drawing("rocket"))
    assert "second" in ask(sdk, "Which picture has a rocket?", *both).lower()
    assert "first" in ask(sdk, "Which picture has a rocket?", *reversed(both)).lower()
    assert "yellow" in ask(sdk, "What colour is the star?", both[0]).lower()


def test_captions_name_things_and_shapes_alike(http: httpx.Client) -> None:
    files = [
        ("images", (name, picture))
        for name, picture in (("elephant.png", drawing("elephant")), ("red.png", png()), ("flower.jpg", flower()))
    ]
    answer = http.post("/api/caption-images", params={"model": "blip"}, files=files).raise_for_status().json()
    captions = [result["caption"] for result in answer["results"]]
    for word, caption in zip(("elephant", "circle", "daisy"), captions, strict=True):
        assert word in caption
        assert caption == caption.lower().rstrip(".")


def test_a_caption_of_a_thing_goes_on_from_a_prefix(http: httpx.Client) -> None:
    params = {"model": "blip", "caption_prompt": "a drawing of"}
    files = {"images": ("elephant.png", drawing("elephant"))}
    (result,) = http.post("/api/caption-images", params=params, files=files).raise_for_status().json()["results"]
    assert result["caption"].startswith("a drawing of")
    assert "elephant" in result["caption"]
