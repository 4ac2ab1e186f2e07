"""Making pictures, through HTTP."""

from __future__ import annotations

import base64
import io
from typing import Any

import httpx
import openai
import pytest
from openai import OpenAI
from PIL import Image

from tests.api.conftest import fault
from training.oracle import look

PROMPT = "a big red circle on a blue background"


def opened(b64: str | None) -> Image.Image:
    assert b64 is not None
    return Image.open(io.BytesIO(base64.b64decode(b64)))


def test_the_sdk_gets_the_picture_that_the_prompt_describes(sdk: OpenAI) -> None:
    answer = sdk.images.generate(prompt=PROMPT, model="image-gen", extra_body={"seed": 7})
    assert answer.data is not None
    picture = opened(answer.data[0].b64_json).convert("RGB")
    assert picture.size == (128, 128)
    seen = look(picture)
    assert seen.background == "blue"
    assert [(thing.colour, thing.size) for thing in seen.things] == [("red", "big")]
    assert answer.size == "128x128"
    assert answer.output_format == "png"
    assert answer.usage is not None
    assert answer.data[0].revised_prompt == PROMPT


def test_the_same_seed_gives_the_same_bytes_and_image_i_of_n_uses_seed_plus_i(http: httpx.Client) -> None:
    def make(**fields: Any) -> list[dict[str, Any]]:
        answer = http.post("/v1/images/generations", json={"prompt": PROMPT, "steps": 3, **fields})
        data: list[dict[str, Any]] = answer.raise_for_status().json()["data"]
        return data

    three = make(seed=5, n=3)
    assert [item["seed"] for item in three] == [5, 6, 7]
    assert make(seed=6)[0]["b64_json"] == three[1]["b64_json"]
    assert len({item["b64_json"] for item in three}) == 3


def test_a_seed_is_chosen_and_returned_when_none_is_given(http: httpx.Client) -> None:
    answer = http.post("/v1/images/generations", json={"prompt": PROMPT, "steps": 1}).json()
    assert answer["usage"]["seed"] == answer["data"][0]["seed"]
    assert answer["usage"]["latency"] > 0


@pytest.mark.parametrize("output_format", ["png", "jpeg", "webp"])
def test_the_format_asked_for_is_what_comes(sdk: OpenAI, output_format: Any) -> None:
    answer = sdk.images.generate(prompt=PROMPT, output_format=output_format, extra_body={"steps": 1})
    assert answer.data is not None
    assert (opened(answer.data[0].b64_json).format or "").lower() == output_format == answer.output_format


def test_a_size_is_what_comes(sdk: OpenAI) -> None:
    answer = sdk.images.generate(prompt=PROMPT, size="1024x1024", extra_body={"steps": 1})
    assert answer.data is not None
    assert opened(answer.data[0].b64_json).size == (1024, 1024)


def test_a_form_gets_both_base64_and_a_url_that_works_without_a_key(http: httpx.Client) -> None:
    answer = http.post("/v1/images/generations", data={"prompt": PROMPT, "steps": "1", "n": "1"}).raise_for_status()
    item = answer.json()["data"][0]
    fetched = httpx.get(item["url"])
    assert fetched.status_code == 200
    assert fetched.headers["content-type"] == "image/png"
    assert fetched.content == base64.b64decode(item["b64_json"])


@pytest.mark.parametrize(
    ("model", "in_json", "in_a_form"),
    [
        ("gpt-image-1", {"b64_json"}, {"b64_json"}),
        ("chatgpt-image-latest", {"b64_json"}, {"b64_json"}),
        ("dall-e-3", {"b64_json", "url"}, {"b64_json", "url"}),
        ("image-gen", {"b64_json"}, {"b64_json", "url"}),
    ],
)
def test_pictures_come_as_clients_of_the_named_model_read_them(
    http: httpx.Client, model: str, in_json: set[str], in_a_form: set[str]
) -> None:
    body = {"prompt": PROMPT, "steps": 1, "model": model}
    path = "/v1/images/generations"
    for answer, expected in ((http.post(path, json=body), in_json), (http.post(path, data=body), in_a_form)):
        (item,) = answer.raise_for_status().json()["data"]
        assert item.keys() & {"b64_json", "url"} == expected


def test_a_url_that_was_tampered_with_is_refused(http: httpx.Client) -> None:
    body = {"prompt": PROMPT, "steps": 1, "response_format": "url"}
    item = http.post("/v1/images/generations", json=body).json()["data"][0]
    assert "b64_json" not in item
    assert httpx.get(item["url"][:-2] + "xx").status_code == 403


def test_the_older_route_gives_png_bytes_with_seed_and_prompt(http: httpx.Client) -> None:
    answer = http.post("/v1/images/generate", json={"prompt": "빨간 원", "num_inference_steps": 2})
    assert answer.status_code == 200
    assert answer.headers["content-type"] == "image/png"
    assert answer.headers["x-seed"] == "42"
    assert answer.headers["x-prompt"].startswith("%EB%B9%A8")
    assert Image.open(io.BytesIO(answer.content)).size == (128, 128)


@pytest.mark.parametrize(
    ("fields", "code", "param"),
    [
        ({"prompt": ""}, "string_below_min_length", "prompt"),
        ({"size": "64"}, "invalid_value", "size"),
        ({"size": "63x64"}, "invalid_value", "size"),
        ({"size": "4096x64"}, "invalid_value", "size"),
        ({"size": "64x64", "width": 128}, "invalid_value", "size"),
        ({"n": 0}, "integer_below_min_value", "n"),
        ({"n": 11}, "integer_above_max_value", "n"),
        ({"seed": 2**53}, "integer_above_max_value", "seed"),
        ({"seed": 2**53 - 1, "n": 2}, "invalid_value", "seed"),
        ({"background": "transparent"}, "invalid_value", "background"),
        ({"output_format": "svg"}, "invalid_value", "output_format"),
        ({"output_compression": 50}, "invalid_value", "output_compression"),
        ({"partial_images": 2}, "invalid_value", "partial_images"),
        ({"stream": True, "partial_images": 4}, "integer_above_max_value", "partial_images"),
        ({"stream": True, "response_format": "url"}, "invalid_value", "response_format"),
        ({"loras": [{"name": "x"}]}, "invalid_value", "loras[0].name"),
        ({"stpes": 2}, "unsupported_parameter", "stpes"),
        ({"model": "blip"}, "invalid_value", "model"),
    ],
)
def test_each_bad_field_is_a_400_that_names_it(
    http: httpx.Client, fields: dict[str, Any], code: str, param: str
) -> None:
    assert fault(http.post("/v1/images/generations", json={"prompt": PROMPT, **fields})) == (400, code, param)


def test_an_unknown_model_is_a_404_that_lists_the_models(sdk: OpenAI) -> None:
    with pytest.raises(openai.NotFoundError, match="image-gen") as caught:
        sdk.images.generate(prompt=PROMPT, model="imaginary-9000")
    assert caught.value.code == "model_not_found"
    assert caught.value.request_id


def test_models_of_older_clients_are_routed(sdk: OpenAI) -> None:
    for model in ("dall-e-3", "gpt-image-1", "gpt-image-1-mini", "chatgpt-image-latest", "schnell", "flux"):
        assert sdk.images.generate(prompt=PROMPT, model=model, extra_body={"steps": 1}).data
