"""Captions, through HTTP."""

from __future__ import annotations

import httpx
import pytest

from tests.api.conftest import fault
from tests.api.pictures import SVG, TRUNCATED, png, scene


def test_captions_come_in_input_order_with_tags(http: httpx.Client) -> None:
    colours = ["red", "green", "yellow"]
    files = [("images", (f"{colour}.png", png(scene("square", colour, "black")))) for colour in colours]
    answer = http.post("/api/caption-images", params={"model": "blip"}, files=files).raise_for_status().json()
    assert [result["filename"] for result in answer["results"]] == ["red.png", "green.png", "yellow.png"]
    for colour, result in zip(colours, answer["results"], strict=True):
        assert colour in result["caption"].lower()
        assert colour in result["tags"]
        assert result["flagged"] is False


@pytest.mark.parametrize("alias", ["blip", "blip2", "gemma", "intern_vlm"])
def test_every_captioner_captions(http: httpx.Client, alias: str) -> None:
    answer = http.post("/api/caption-images", params={"model": alias}, files={"images": png()})
    (result,) = answer.raise_for_status().json()["results"]
    assert "circle" in result["caption"].lower()


def test_a_prefix_is_continued(http: httpx.Client) -> None:
    params = {"model": "blip", "caption_prompt": "a picture of"}
    (result,) = http.post("/api/caption-images", params=params, files={"images": png()}).json()["results"]
    assert result["caption"].lower().startswith("a picture of")


def test_a_flag_is_a_real_boolean_of_the_models_answer(http: httpx.Client) -> None:
    params = {"model": "gemma", "flag_caption_prompt": "Is there a red circle?"}
    for picture, expected in ((scene("circle", "red"), True), (scene("star", "yellow"), False)):
        answer = http.post("/api/caption-images", params=params, files={"images": png(picture)})
        (result,) = answer.json()["results"]
        assert result["flagged"] is expected


@pytest.mark.parametrize(
    ("data", "expected"),
    [
        (b"", (400, "invalid_image", "images[1]")),
        (b"hello", (415, "unsupported_media_type", "images[1]")),
        (SVG, (415, "unsupported_media_type", "images[1]")),
        (TRUNCATED, (400, "invalid_image", "images[1]")),
    ],
)
def test_one_bad_file_fails_the_request_with_its_index(
    http: httpx.Client, data: bytes, expected: tuple[int, str, str]
) -> None:
    files = [("images", ("good.png", png())), ("images", ("bad.png", data))]
    assert fault(http.post("/api/caption-images", files=files)) == expected


def test_no_files_too_many_files_and_a_model_that_cannot_caption_are_refused(http: httpx.Client) -> None:
    assert fault(http.post("/api/caption-images", files={"other": b"x"}))[0] == 400
    many = [("images", (f"{i}.png", png())) for i in range(33)]
    assert fault(http.post("/api/caption-images", files=many)) == (400, "array_above_max_length", "images")
    wrong = http.post("/api/caption-images", params={"model": "clip"}, files={"images": png()})
    assert fault(wrong) == (400, "invalid_value", "model")
    unknown = http.post("/api/caption-images", params={"modell": "clip"}, files={"images": png()})
    assert fault(unknown) == (400, "unsupported_parameter", "modell")
