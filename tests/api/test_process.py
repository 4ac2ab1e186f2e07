"""Flux Imaging's form, through HTTP."""

from __future__ import annotations

import io
import re

import httpx
import pytest
from PIL import Image

from tests.api.conftest import fault
from tests.api.pictures import SVG, png


def test_picture_and_prompt_edit(http: httpx.Client) -> None:
    fields = {"prompt": "make the circle green", "seed": "0", "num_inference_steps": "2", "guidance_scale": "0"}
    answer = http.post("/process", data=fields, files={"input_file": ("red.png", png())}).raise_for_status().json()
    assert answer["mode"] == "edit"
    assert answer["input_image"] == {
        "source": "file",
        "bearer_token": None,
        "filename": "red.png",
        "original_width": 64,
        "original_height": 64,
    }
    assert (answer["seed"], answer["num_inference_steps"], answer["guidance_scale"]) == (0, 2, 0)
    assert (answer["width"], answer["height"], answer["model"], answer["loras"]) == (64, 64, "image-gen", [])
    assert re.search(r"/i/[0-9a-f]{32}\.png$", answer["result_image_url"])
    assert Image.open(io.BytesIO(httpx.get(answer["result_image_url"]).content)).size == (64, 64)


def test_a_picture_alone_is_varied(http: httpx.Client) -> None:
    answer = http.post("/process", data={"num_inference_steps": "2"}, files={"input_file": png()}).json()
    assert (answer["mode"], answer["prompt"]) == ("variation", None)


def test_a_prompt_alone_generates_and_empty_fields_are_absent(http: httpx.Client) -> None:
    fields = {"prompt": "a red circle", "num_inference_steps": "2", "input_image_url": "", "seed": "", "width": "96"}
    answer = http.post("/process", data=fields).raise_for_status().json()
    assert (answer["mode"], answer["input_image"], answer["width"], answer["height"]) == ("generate", None, 96, 64)


def test_the_raw_route_gives_the_png(http: httpx.Client) -> None:
    answer = http.post("/process/raw", data={"prompt": "a red circle", "seed": "5", "num_inference_steps": "2"})
    assert answer.headers["content-type"] == "image/png"
    assert {name: answer.headers[name] for name in ("x-seed", "x-mode", "x-model")} == {
        "x-seed": "5",
        "x-mode": "generate",
        "x-model": "image-gen",
    }
    assert Image.open(io.BytesIO(answer.content)).size == (64, 64)


def test_neither_picture_nor_prompt_is_refused_as_old_clients_know_it(http: httpx.Client) -> None:
    answer = http.post("/process", data={"seed": "1"})
    assert fault(answer) == (400, "missing_required_parameter", "prompt")
    assert answer.json()["detail"] == "invalid input"


@pytest.mark.parametrize(
    ("fields", "file", "param"),
    [
        ({"prompt": "x", "seed": "-2"}, None, "seed"),
        ({"prompt": "x", "width": "0"}, None, "width"),
        ({"prompt": "x", "num_inference_steps": "0"}, None, "num_inference_steps"),
        ({"prompt": "x", "steps": "3", "num_inference_steps": "4"}, None, "steps"),
        ({"input_image_url": "http://localhost/x.png"}, None, "input_image_url"),
        ({}, SVG, "input_file"),
        ({}, b"", "input_file"),
    ],
)
def test_each_bad_field_is_named(http: httpx.Client, fields: dict[str, str], file: bytes | None, param: str) -> None:
    files = {} if file is None else {"input_file": file}
    status, _, named = fault(http.post("/process", data=fields, files=files))
    assert (status, named) == (400, param)
