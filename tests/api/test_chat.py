"""Chat and vision, through HTTP."""

from __future__ import annotations

import json
from typing import Any

import httpx
import openai
import pytest
from openai import OpenAI

from tests.api.conftest import fault
from tests.api.pictures import SVG, TRUNCATED, bomb, data_url, png, scene


def asking(text: str, *urls: str) -> list[Any]:
    images = [{"type": "image_url", "image_url": {"url": url}} for url in urls]
    return [{"role": "user", "content": [*images, {"type": "text", "text": text}]}]


def test_the_sdk_gets_a_true_answer_about_a_picture(sdk: OpenAI) -> None:
    for colour in ("red", "yellow", "purple"):
        url = data_url(png(scene("circle", colour, "blue")))
        answer = sdk.chat.completions.create(model="vlm-fast", messages=asking("What colour is the circle?", url))
        assert colour in (answer.choices[0].message.content or "").lower()
        assert answer.choices[0].finish_reason == "stop"
        assert answer.usage is not None
        assert answer.usage.total_tokens == answer.usage.prompt_tokens + answer.usage.completion_tokens


def test_korean_and_japanese_are_answered_in_kind(sdk: OpenAI) -> None:
    url = data_url(png(scene("star", "yellow", "blue")))
    korean = sdk.chat.completions.create(model="vlm-fast", messages=asking("배경은 무슨 색이야?", url))
    assert "파란" in (korean.choices[0].message.content or "") or "파랑" in (korean.choices[0].message.content or "")
    japanese = sdk.chat.completions.create(model="vlm-fast", messages=asking("背景は何色ですか?", url))
    assert "青" in (japanese.choices[0].message.content or "")


def test_a_stream_has_the_shape_that_clients_read_and_the_same_words(sdk: OpenAI) -> None:
    messages = asking("Describe this image.", data_url())
    whole = sdk.chat.completions.create(model="vlm-fast", messages=messages)
    chunks = list(
        sdk.chat.completions.create(
            model="vlm-fast", messages=messages, stream=True, stream_options={"include_usage": True}
        )
    )
    assert chunks[0].choices[0].delta.role == "assistant"
    assert all(chunk.choices[0].delta.role is None for chunk in chunks[1:-1])
    assert "".join(c.choices[0].delta.content or "" for c in chunks if c.choices) == whole.choices[0].message.content
    assert chunks[-2].choices[0].finish_reason == "stop"
    assert chunks[-1].choices == []
    assert chunks[-1].usage is not None
    assert whole.usage is not None
    assert chunks[-1].usage.total_tokens == whole.usage.total_tokens
    assert len({chunk.id for chunk in chunks}) == 1


def test_a_raw_stream_ends_with_done(http: httpx.Client) -> None:
    body = {"model": "gpt-4o", "messages": asking("Hello"), "stream": True}
    with http.stream("POST", "/v1/chat/completions", json=body) as answer:
        assert answer.headers["content-type"].startswith("text/event-stream")
        assert answer.headers["x-request-id"]
        text = answer.read().decode()
    assert text.endswith("data: [DONE]\n\n")
    assert json.loads(text.split("\n\n")[0].removeprefix("data: "))["choices"][0]["delta"]["content"] == ""


def test_more_images_mean_more_tokens(sdk: OpenAI) -> None:
    def tokens(*urls: str) -> int:
        answer = sdk.chat.completions.create(model="vlm-fast", messages=asking("Hello", *urls))
        assert answer.usage is not None
        return answer.usage.prompt_tokens

    none, one, two = tokens(), tokens(data_url()), tokens(data_url(), data_url())
    assert none < one < two


def test_max_tokens_cuts_with_reason_length(sdk: OpenAI) -> None:
    messages = asking("Describe this image.", data_url())
    answer = sdk.chat.completions.create(model="vlm-fast", messages=messages, max_completion_tokens=1)
    assert answer.choices[0].finish_reason == "length"
    assert answer.usage is not None
    assert answer.usage.completion_tokens == 1


def test_a_stop_text_is_cut_before(sdk: OpenAI) -> None:
    messages = asking("What colour is the circle?", data_url(png(scene("circle", "red"))))
    answer = sdk.chat.completions.create(model="vlm-fast", messages=messages, stop=["ed"])
    assert "ed" not in (answer.choices[0].message.content or "")
    assert answer.choices[0].finish_reason == "stop"


@pytest.mark.parametrize("alias", ["vlm-fast", "vlm-best", "gemma", "intern_vlm", "gpt-4o", "claude-x"])
def test_every_alias_and_pattern_answers(sdk: OpenAI, alias: str) -> None:
    answer = sdk.chat.completions.create(model=alias, messages=asking("Hello"))
    assert answer.choices[0].message.content
    assert answer.model == alias


@pytest.mark.parametrize(
    ("url", "code"),
    [
        ("http://127.0.0.1/x.png", "invalid_value"),
        ("file:///etc/passwd", "invalid_value"),
        ("data:image/png;base64,", "invalid_image"),
        ("data:image/png;base64,####", "invalid_base64"),
        ("data:image/png,abc", "invalid_base64"),
        ("data:text/plain;base64,aGVsbG8=", "invalid_image"),
        (data_url(b"hello"), "invalid_image"),
        (data_url(SVG, "image/svg+xml"), "invalid_image"),
        (data_url(TRUNCATED), "invalid_image"),
        (data_url(bomb()), "invalid_image"),
    ],
)
def test_a_bad_picture_is_a_400_that_names_its_place(http: httpx.Client, url: str, code: str) -> None:
    body = {"model": "vlm-fast", "messages": asking("What is this?", data_url(), url)}
    assert fault(http.post("/v1/chat/completions", json=body)) == (400, code, "messages[0].content[1].image_url")


@pytest.mark.parametrize(
    ("fields", "param"),
    [
        ({"n": 2}, "n"),
        ({"logprobs": True}, "logprobs"),
        ({"temperature": 3}, "temperature"),
        ({"max_tokens": 0}, "max_tokens"),
        ({"response_format": {"type": "json_object"}}, "response_format"),
        ({"tools": [{"type": "function", "function": {"name": "f"}}], "tool_choice": "required"}, "tool_choice"),
        ({"stop": ["a", "b", "c", "d", "e"]}, "stop"),
        ({"modalities": ["audio"]}, "modalities"),
        ({"messages": []}, "messages"),
        ({"model": "image-gen"}, "model"),
    ],
)
def test_what_is_not_supported_is_refused_by_name(http: httpx.Client, fields: dict[str, Any], param: str) -> None:
    body = {"model": "vlm-fast", "messages": asking("Hello"), **fields}
    status, _, named = fault(http.post("/v1/chat/completions", json=body))
    assert (status, named) == (400, param)


def test_a_prompt_longer_than_the_context_is_a_400(sdk: OpenAI) -> None:
    with pytest.raises(openai.BadRequestError) as caught:
        sdk.chat.completions.create(model="vlm-fast", messages=asking("red circle " * 50_000), stream=True)
    assert caught.value.param == "messages"


def test_the_tasks_are_listed(http: httpx.Client) -> None:
    listed = [task["id"] for task in http.get("/v1/vision/tasks").json()["tasks"]]
    assert listed == ["caption", "ocr", "describe", "analyze", "objects", "custom"]


@pytest.mark.parametrize("task", ["caption", "ocr", "describe", "analyze", "objects"])
def test_every_task_answers(http: httpx.Client, task: str) -> None:
    answer = http.post("/v1/vision/analyze", json={"image": data_url(), "task": task}).raise_for_status().json()
    assert answer["task"] == task
    assert answer["result"]
    assert answer["usage"]["latency"] > 0
    if task == "objects":
        assert len(answer["objects"]) == 1
        assert "circle" in answer["objects"][0]


def test_a_custom_task_needs_its_prompt(http: httpx.Client) -> None:
    body = {"image": data_url(), "task": "custom"}
    answer = http.post("/v1/vision/analyze", json=body)
    assert fault(answer) == (400, "missing_required_parameter", "prompt")
    assert answer.json()["detail"]
    body["prompt"] = "What colour is the background?"
    assert "blue" in http.post("/v1/vision/analyze", json=body).json()["result"].lower()


def test_an_answer_that_does_not_fit_the_schema_is_never_passed_on(http: httpx.Client) -> None:
    schema = {"type": "object", "properties": {"n": {"type": "integer"}}, "required": ["n"]}
    body = {"image": data_url(), "task": "custom", "prompt": "Count.", "schema": schema}
    answer = http.post("/v1/vision/analyze", json=body)
    if answer.status_code == 200:
        assert isinstance(answer.json()["result"]["n"], int)
    else:
        assert fault(answer) == (502, "invalid_model_output", "schema")
    body["schema"] = {"type": "nonsense"}
    assert fault(http.post("/v1/vision/analyze", json=body)) == (400, "invalid_value", "schema")


def test_an_unknown_task_lists_the_tasks(http: httpx.Client) -> None:
    answer = http.post("/v1/vision/analyze", json={"image": data_url(), "task": "paint"})
    assert fault(answer)[0::2] == (400, "task")
    assert "'ocr'" in answer.json()["error"]["message"]
