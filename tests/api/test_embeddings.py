"""Texts and pictures as vectors, through HTTP."""

from __future__ import annotations

import base64
from typing import Any

import httpx
import numpy as np
import openai
import pytest
from openai import OpenAI

from tests.api.conftest import fault
from tests.api.node import Node
from tests.api.pictures import SVG, TRUNCATED, bomb, data_url, png, scene

CIRCLE = data_url(png(scene("circle", "red", "white")))


def embed(http: httpx.Client, **fields: Any) -> np.ndarray:
    """The vectors, float64 [inputs, dimension]."""
    answer = http.post("/v1/embeddings", json=fields).raise_for_status().json()
    assert [item["index"] for item in answer["data"]] == list(range(len(answer["data"])))
    return np.array([item["embedding"] for item in answer["data"]])


def test_the_sdk_gets_a_vector_of_unit_length(sdk: OpenAI) -> None:
    answer = sdk.embeddings.create(model="clip", input=["a red circle"])
    assert (answer.object, answer.model) == ("list", "clip")
    (item,) = answer.data
    assert (item.object, item.index, len(item.embedding)) == ("embedding", 0, 768)
    assert np.linalg.norm(item.embedding) == pytest.approx(1, abs=1e-5)
    assert 2 < answer.usage.prompt_tokens == answer.usage.total_tokens < 10


def test_base64_and_floats_are_the_same_numbers(sdk: OpenAI, http: httpx.Client) -> None:
    floats = sdk.embeddings.create(model="clip", input="a red circle", encoding_format="float").data[0].embedding
    default = sdk.embeddings.create(model="clip", input="a red circle").data[0].embedding  # asks for base64
    assert default == floats == embed(http, input="a red circle")[0].tolist()
    raw = http.post("/v1/embeddings", json={"input": "a red circle", "encoding_format": "base64"}).json()
    assert np.frombuffer(base64.b64decode(raw["data"][0]["embedding"]), "<f4").tolist() == floats


def test_vectors_come_in_the_order_of_texts_and_pictures(http: httpx.Client) -> None:
    mixed = [{"image": CIRCLE}, "a blue star", {"text": "a red circle"}, {"image": data_url()}, "a blue star"]
    alone = np.concatenate([embed(http, input=each) for each in mixed])
    np.testing.assert_allclose(embed(http, input=mixed), alone, atol=1e-5)


def test_a_picture_is_near_the_words_for_it(http: httpx.Client) -> None:
    picture, right, wrong = embed(http, input=[{"image": CIRCLE}, "a red circle", "a blue star"])
    assert picture @ right > picture @ wrong + 0.1


def test_tokens_are_those_of_the_texts(sdk: OpenAI, http: httpx.Client) -> None:
    def tokens(*inputs: Any) -> int:
        usage = http.post("/v1/embeddings", json={"input": list(inputs)}).json()["usage"]
        assert usage["total_tokens"] == usage["prompt_tokens"]
        count: int = usage["prompt_tokens"]
        return count

    assert tokens({"image": CIRCLE}) == 0
    assert tokens("a red circle", {"image": CIRCLE}, "a blue star") == tokens("a red circle") + tokens("a blue star")


@pytest.mark.nightly
def test_as_many_texts_as_are_allowed_are_embedded(sdk: OpenAI, http: httpx.Client) -> None:
    answer = sdk.embeddings.create(model="clip", input=[f"{i} stars" for i in range(2048)])
    assert len(answer.data) == 2048
    np.testing.assert_allclose(answer.data[2000].embedding, embed(http, input="2000 stars")[0], atol=1e-5)


def test_more_texts_than_are_allowed_are_refused(http: httpx.Client) -> None:
    answers = http.post("/v1/embeddings", json={"input": ["a star"] * 2049})
    assert fault(answers) == (400, "array_above_max_length", "input")
    assert "2048" in answers.json()["error"]["message"]


def test_any_name_of_a_clip_model_will_do_and_a_user_changes_nothing(http: httpx.Client) -> None:
    expected = embed(http, input="a red circle")
    for fields in ({"model": "builtin:finder"}, {"model": "clip", "user": "somebody"}, {"dimensions": 768}):
        np.testing.assert_allclose(embed(http, input="a red circle", **fields), expected, atol=1e-5)


@pytest.mark.parametrize(
    ("fields", "code", "param"),
    [
        ({}, "missing_required_parameter", "input"),
        ({"input": None}, "missing_required_parameter", "input"),
        ({"input": ""}, "string_below_min_length", "input"),
        ({"input": []}, "array_below_min_length", "input"),
        ({"input": "a" * 100_001}, "string_above_max_length", "input"),
        ({"input": "star " * 8190}, "context_length_exceeded", "input"),
        ({"input": ["star", "star " * 8190]}, "context_length_exceeded", "input[1]"),
        ({"input": [{"text": "star " * 8190}]}, "context_length_exceeded", "input[0].text"),
        ({"input": 5}, "invalid_type", "input"),
        ({"input": ["a", 5]}, "invalid_type", "input[1]"),
        ({"input": [5, "a"]}, "invalid_type", "input[1]"),
        ({"input": [5, 100_300]}, "invalid_value", "input[1]"),
        ({"input": [[5], [-6]]}, "invalid_value", "input[1][0]"),
        ({"input": [[5], []]}, "array_below_min_length", "input[1]"),
        ({"input": ["a", {"text": 5}]}, "invalid_type", "input[1].text"),
        ({"input": ["a", {"picture": CIRCLE}]}, "invalid_value", "input[1]"),
        ({"input": ["a", {}]}, "invalid_value", "input[1]"),
        ({"input": ["a", {"text": "a", "image": CIRCLE}]}, "invalid_value", "input[1]"),
        ({"input": [{"image": CIRCLE}] * 33}, "invalid_value", "input[32].image"),
        ({"input": "a", "dimensions": 0}, "integer_below_min_value", "dimensions"),
        ({"input": "a", "dimensions": 769}, "invalid_value", "dimensions"),
        ({"input": "a", "dimensions": 256.5}, "invalid_type", "dimensions"),
        ({"input": "a", "encoding_format": "int8"}, "invalid_value", "encoding_format"),
        ({"input": "a", "user": 5}, "invalid_type", "user"),
        ({"input": "a", "inptu": "search"}, "unsupported_parameter", "inptu"),
        ({"input": "a", "model": "vlm-fast"}, "invalid_value", "model"),
    ],
)
def test_what_cannot_be_embedded_is_refused_by_name(
    http: httpx.Client, fields: dict[str, Any], code: str, param: str
) -> None:
    assert fault(http.post("/v1/embeddings", json=fields)) == (400, code, param)


def test_token_ids_are_read_as_the_text_that_they_were_made_of(http: httpx.Client) -> None:
    red_circle, hello = [64, 2579, 12960], [9906, 11, 1917, 0]
    expected = embed(http, input=["a red circle", "Hello, world!"])
    np.testing.assert_allclose(embed(http, input=[red_circle, hello]), expected, atol=1e-5)
    np.testing.assert_allclose(embed(http, input=red_circle), expected[:1], atol=1e-5)
    np.testing.assert_allclose(embed(http, input=["a red circle", hello]), expected, atol=1e-5)


def test_a_long_text_is_embedded_in_windows_which_the_answer_says(http: httpx.Client) -> None:
    long = "a red circle on a white background, and a blue star. " * 60
    answer = http.post("/v1/embeddings", json={"input": ["a star", long]}).raise_for_status()
    assert answer.headers["x-truncated"] == "windows"
    assert np.linalg.norm(answer.json()["data"][1]["embedding"]) == pytest.approx(1, abs=1e-5)
    assert answer.json()["usage"]["prompt_tokens"] > 500
    assert "x-truncated" not in http.post("/v1/embeddings", json={"input": "a star"}).headers


def test_dimensions_shorten_and_an_empty_text_among_others_has_a_vector(http: httpx.Client, sdk: OpenAI) -> None:
    whole = embed(http, input="a star")[0]
    short = sdk.embeddings.create(model="clip", input="a star", dimensions=64).data[0].embedding
    np.testing.assert_allclose(short, whole[:64] / np.linalg.norm(whole[:64]), atol=1e-5)
    assert embed(http, input=["", "a star"]).shape == (2, 768)
    message = http.post("/v1/embeddings", json={"input": "a", "dimensions": 769}).json()["error"]["message"]
    assert "allowed: 1 to 768" in message


@pytest.mark.parametrize(
    ("url", "code"),
    [
        ("http://127.0.0.1/x.png", "invalid_value"),
        ("file:///etc/passwd", "invalid_value"),
        ("", "string_below_min_length"),
        ("data:image/png;base64,", "invalid_image"),
        ("data:image/png;base64,####", "invalid_base64"),
        ("data:text/plain;base64,aGVsbG8=", "invalid_image"),
        (data_url(b"hello"), "invalid_image"),
        (data_url(SVG, "image/svg+xml"), "invalid_image"),
        (data_url(TRUNCATED), "invalid_image"),
        (data_url(bomb()), "invalid_image"),
    ],
)
def test_a_bad_picture_is_a_400_that_names_its_place(http: httpx.Client, url: str, code: str) -> None:
    answer = http.post("/v1/embeddings", json={"input": ["a", {"image": CIRCLE}, {"image": url}]})
    assert fault(answer) == (400, code, "input[2].image")


def test_an_unknown_model_is_a_404_of_the_sdk(sdk: OpenAI) -> None:
    with pytest.raises(openai.NotFoundError) as caught:
        sdk.embeddings.create(model="nonesuch", input="a")
    assert (caught.value.code, caught.value.param) == ("model_not_found", "model")


def test_a_key_for_repetition_changes_nothing(http: httpx.Client) -> None:
    headers = {"Idempotency-Key": "embeddings-make-nothing"}
    for text in ("a red circle", "a blue star"):
        answer = http.post("/v1/embeddings", json={"input": text}, headers=headers)
        assert answer.status_code == 200
        assert "idempotent-replayed" not in answer.headers


def test_the_sdk_of_node_gets_the_same_numbers_whichever_way_they_are_written(node: Node, http: httpx.Client) -> None:
    texts = ["a red circle", "a blue star"]
    expected = embed(http, input=texts)
    for fields in ({}, {"encoding_format": "float"}):  # without, it asks for base64 and reads it
        answer = node.call("embeddings.create", {"model": "clip", "input": texts, **fields})["answer"]
        np.testing.assert_allclose([item["embedding"] for item in answer["data"]], expected, atol=1e-6)
    error = node.call("embeddings.create", {"model": "clip", "input": ["a", {}]})["error"]
    assert (error["name"], error["code"], error["param"]) == (
        "BadRequestError", "invalid_value", "input[1]",
    )  # fmt: skip
