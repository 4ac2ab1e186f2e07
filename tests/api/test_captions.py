"""Captions, through HTTP."""

from __future__ import annotations

import time
import uuid
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import httpx
import pytest

from tests.api.conftest import fault
from tests.api.pictures import SVG, TRUNCATED, many_scenes, png, scene
from training.world import render


def caption(http: httpx.Client, *pictures: bytes, path: str = "caption-images", **params: str) -> Any:
    """The answer of a caption route."""
    files = [("images", (f"{i}.png", picture)) for i, picture in enumerate(pictures)]
    return http.post(f"/api/{path}", params=params, files=files).raise_for_status().json()


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


@pytest.mark.parametrize("question", ["Is there a red circle?", "빨간 원이 있나요?", "赤い丸はありますか？"])
def test_a_flag_is_a_real_boolean_of_the_models_answer(http: httpx.Client, question: str) -> None:
    params = {"model": "gemma", "flag_caption_prompt": question}
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


@pytest.mark.parametrize("model", ["blip", "gemma"])
def test_a_caption_is_remembered_for_the_same_model_prompts_and_bytes(http: httpx.Client, model: str) -> None:
    prompt = f"a picture of {uuid.uuid4().hex}"
    pictures = [png(scene(colour="red")), png(scene(colour="green")), png(scene(colour="red"))]
    first = caption(http, *pictures[:1], model=model, caption_prompt=prompt)["results"]
    second = caption(http, *pictures, model=model, caption_prompt=prompt)["results"]
    assert [result["cache"] for result in first + second] == [False, True, False, True]
    assert [{**result, "cache": None, "filename": None} for result in (second[0], second[2])] == [
        {**first[0], "cache": None, "filename": None}
    ] * 2
    third = caption(http, *pictures, model=model, caption_prompt=f"{prompt} again")["results"]
    assert [result["cache"] for result in third] == [False] * 3


def test_nothing_of_a_request_with_a_bad_file_is_remembered(http: httpx.Client) -> None:
    params = {"model": "blip", "caption_prompt": f"a picture of {uuid.uuid4().hex}"}
    files = [("images", ("good.png", png())), ("images", ("bad.png", TRUNCATED))]
    answer = http.post("/api/caption-images", params=params, files=files)
    assert fault(answer) == (400, "invalid_image", "images[1]")
    (result,) = caption(http, png(), **params)["results"]
    assert result["cache"] is False


def test_many_callers_at_once_hear_what_each_would_hear_alone(http: httpx.Client) -> None:
    pictures = [png(each) for each in many_scenes(8)]
    alone = [caption(http, picture, model="blip2")["results"][0]["caption"] for picture in pictures]
    http.post("/api/admin/reset-cache").raise_for_status()
    with ThreadPoolExecutor(16) as threads:
        told = list(threads.map(lambda picture: caption(http, picture, model="blip2")["results"][0], pictures * 2))
    assert [each["caption"] for each in told] == alone * 2


def test_all_captions_are_forgotten_on_request(http: httpx.Client) -> None:
    prompt = f"a picture of {uuid.uuid4().hex}"
    for expected in (False, True):
        assert caption(http, png(), model="blip", caption_prompt=prompt)["results"][0]["cache"] is expected
    answer = http.post("/api/admin/reset-cache")
    assert (answer.status_code, answer.json()) == (200, {"message": "Redis cache cleared"})
    assert caption(http, png(), model="blip", caption_prompt=prompt)["results"][0]["cache"] is False


def test_a_collective_caption_is_of_all_pictures(http: httpx.Client) -> None:
    pictures = [png(scene("circle", "red")), png(scene("circle", "red", "green"))]
    params = {"model": "intern_vlm", "flag_caption_prompt": "Is there a red circle?"}
    answer = caption(http, *pictures, path="caption-collective-images", **params)
    assert set(answer) == {"collective_caption", "count", "tags", "flagged"}
    assert answer["count"] == 2
    assert answer["collective_caption"]
    assert isinstance(answer["tags"], list)
    assert isinstance(answer["flagged"], bool)
    assert caption(http, *pictures[::-1], path="caption-collective-images", **params) == answer


def test_a_collective_caption_of_as_many_pictures_as_may_be_sent(http: httpx.Client) -> None:
    pictures = [png(each) for each in many_scenes(32)]
    assert caption(http, *pictures, path="caption-collective-images", model="gemma")["count"] == 32


def test_a_model_that_only_continues_a_prefix_captions_nothing_together(http: httpx.Client) -> None:
    refused = http.post("/api/caption-collective-images", params={"model": "blip"}, files={"images": png()})
    assert fault(refused) == (400, "invalid_value", "model")
    bad = [("images", ("good.png", png())), ("images", ("bad.png", b"hello"))]
    refused = http.post("/api/caption-collective-images", files=bad)
    assert fault(refused) == (415, "unsupported_media_type", "images[1]")


def test_who_leaves_takes_no_answer_from_those_who_wait_for_the_same(http: httpx.Client) -> None:
    pictures = [png(render(each)) for each in many_scenes(32)]
    for _ in range(3):
        params = {"model": "gemma", "caption_prompt": f"Describe this image. {uuid.uuid4()}"}
        files = [("images", (f"{i}.png", picture)) for i, picture in enumerate(pictures)]

        def leave(other: httpx.Client, params: dict[str, str] = params, files: list[Any] = files) -> None:
            with pytest.raises(httpx.ReadTimeout):
                other.post("/api/caption-images", params=params, files=files)

        # made beforehand, which takes long on a busy machine: it has to ask first, and to be gone before the answer
        with httpx.Client(base_url=http.base_url, timeout=0.2) as client, ThreadPoolExecutor(1) as pool:
            left = pool.submit(leave, client)
            time.sleep(0.05)
            answer = http.post("/api/caption-images", params=params, files=files)
            left.result()
        assert len(answer.raise_for_status().json()["results"]) == len(pictures)
