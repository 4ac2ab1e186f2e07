"""Chat and vision, through HTTP."""

from __future__ import annotations

import json
from typing import Any, Literal

import httpx
import jsonschema
import openai
import pytest
from openai import OpenAI
from pydantic import BaseModel, Field

from tests.api.conftest import fault
from tests.api.pictures import SVG, TRUNCATED, bomb, data_url, png, scene
from training.evaluate import MODELS


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


class Seen(BaseModel):
    """What a caller wants to know."""

    shape: Literal["circle", "square", "star"]
    count: int = Field(ge=0, le=9)
    colours: list[Literal["red", "blue"]] = Field(max_length=2)


def test_the_sdk_parses_an_answer_into_a_model(sdk: OpenAI) -> None:
    answer = sdk.chat.completions.parse(
        model="vlm-fast", messages=asking("What is this?", data_url()), response_format=Seen
    )
    assert isinstance(answer.choices[0].message.parsed, Seen)
    with sdk.chat.completions.stream(
        model="vlm-fast", messages=asking("What is this?", data_url()), response_format=Seen
    ) as stream:
        assert stream.get_final_completion().choices[0].message.parsed == answer.choices[0].message.parsed


def test_json_object_is_an_object_unless_it_is_cut(sdk: OpenAI) -> None:
    for seed in range(3):
        answer = sdk.chat.completions.create(
            model="vlm-fast",
            messages=asking("JSON, please", data_url()),
            response_format={"type": "json_object"},
            temperature=1,
            seed=seed,
            max_tokens=60,
        )
        text = answer.choices[0].message.content or ""
        assert text.startswith("{")
        if answer.choices[0].finish_reason == "stop":
            assert isinstance(json.loads(text), dict)


def test_several_answers_are_those_of_their_seeds(sdk: OpenAI) -> None:
    def ask(**fields: Any) -> Any:
        return sdk.chat.completions.create(
            model="vlm-fast", messages=asking("Describe this image.", data_url()), temperature=1.5, **fields
        )

    answer = ask(n=3, seed=5)
    assert [choice.index for choice in answer.choices] == [0, 1, 2]
    alone = [ask(seed=5 + i) for i in range(3)]
    assert [c.message.content for c in answer.choices] == [a.choices[0].message.content for a in alone]
    assert answer.usage.completion_tokens == sum(a.usage.completion_tokens for a in alone)
    assert answer.usage.prompt_tokens == alone[0].usage.prompt_tokens
    texts, ends = ["", "", ""], []
    for chunk in ask(n=3, seed=5, stream=True):
        for choice in chunk.choices:
            texts[choice.index] += choice.delta.content or ""
            ends += [choice.index] if choice.finish_reason else []
    assert texts == [c.message.content for c in answer.choices]
    assert sorted(ends) == [0, 1, 2]


def test_several_answers_without_a_temperature_are_not_all_the_same(sdk: OpenAI) -> None:
    messages = asking("Tell me a long story about this image and everything in it.", data_url())
    answer = sdk.chat.completions.create(model="vlm-fast", messages=messages, n=12, seed=1)
    assert len({choice.message.content for choice in answer.choices}) > 1


def test_the_sdk_reads_probabilities_whole_and_streamed(sdk: OpenAI) -> None:
    messages = asking("What colour is the circle?", data_url(png(scene("circle", "red", "blue"))))
    answer = sdk.chat.completions.create(model="vlm-fast", messages=messages, logprobs=True, top_logprobs=2)
    told = answer.choices[0].logprobs
    assert told is not None
    assert told.content is not None
    assert "".join(one.token for one in told.content) == answer.choices[0].message.content
    assert all(len(one.top_logprobs) == 2 and one.bytes == list(one.token.encode()) for one in told.content)
    streamed = [
        one.logprob
        for chunk in sdk.chat.completions.create(
            model="vlm-fast", messages=messages, logprobs=True, top_logprobs=2, stream=True
        )
        if chunk.choices and chunk.choices[0].logprobs
        for one in chunk.choices[0].logprobs.content or []
    ]
    assert streamed == [one.logprob for one in told.content]


@pytest.mark.parametrize(
    "alias",
    [
        *("vlm-fast", "gpt-4o", "claude-x"),
        *(pytest.param(each, marks=pytest.mark.nightly) for each in ("vlm-best", "gemma", "intern_vlm")),
    ],
)
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
        ({"n": 0}, "n"),
        ({"n": 129}, "n"),
        ({"top_logprobs": 2}, "top_logprobs"),
        ({"logprobs": True, "top_logprobs": 21}, "top_logprobs"),
        ({"presence_penalty": 2.5}, "presence_penalty"),
        ({"temperature": 3}, "temperature"),
        ({"max_tokens": 0}, "max_tokens"),
        ({"response_format": {"type": "json_schema"}}, "response_format.json_schema"),
        ({"response_format": {"type": "xml"}}, "response_format.type"),
        (
            {"response_format": {"type": "json_schema", "json_schema": {"name": "a b", "schema": {}}}},
            "response_format.json_schema.name",
        ),
        (
            {"response_format": {"type": "json_schema", "json_schema": {"name": "a", "schema": {"type": "word"}}}},
            "response_format.json_schema.schema",
        ),
        ({"stop": ["a", "b", "c", "d", "e"]}, "stop"),
        ({"functions": [{"name": "f"}]}, "functions"),
        ({"function_call": "auto"}, "function_call"),
        ({"web_search_options": {}}, "web_search_options"),
        ({"audio": {"voice": "alloy"}}, "audio"),
        ({"logit_bias": {"word": 1}}, "logit_bias"),
        ({"logit_bias": {"5": 101}}, "logit_bias"),
        ({"logit_bias": {"999999999": 1}}, "logit_bias"),
        ({"top_k": 1.5}, "top_k"),
        ({"min_p": 2}, "min_p"),
        ({"repetition_penalty": 0}, "repetition_penalty"),
        ({"modalities": ["audio"]}, "modalities"),
        ({"messages": []}, "messages"),
        ({"model": "image-gen"}, "model"),
    ],
)
def test_what_is_not_supported_is_refused_by_name(http: httpx.Client, fields: dict[str, Any], param: str) -> None:
    body = {"model": "vlm-fast", "messages": asking("Hello"), **fields}
    status, _, named = fault(http.post("/v1/chat/completions", json=body))
    assert (status, named) == (400, param)


@pytest.mark.parametrize(
    "fields",
    [
        {"logit_bias": {}, "functions": [], "function_call": "none", "top_k": -1, "seed": -1, "stop": ""},
        {"max_tokens": -1, "top_logprobs": 0, "repetition_penalty": 1.0, "min_p": 0},
        {
            "messages": [
                *asking("a"),
                {"role": "assistant", "content": [{"type": "refusal", "refusal": "no"}]},
                *asking("b"),
            ]
        },
    ],
)
def test_what_says_nothing_changes_nothing(http: httpx.Client, fields: dict[str, Any]) -> None:
    body = {"model": "vlm-fast", "messages": asking("Hello"), "max_completion_tokens": 4, **fields}
    assert "x-ignored-parameters" not in http.post("/v1/chat/completions", json=body).raise_for_status().headers


def test_a_bias_forbids_a_token(sdk: OpenAI) -> None:
    asked: dict[str, Any] = {"messages": asking("What colour is the circle?", data_url()), "logprobs": True}
    free = sdk.chat.completions.create(model="vlm-fast", **asked).choices[0]
    assert free.logprobs is not None
    assert free.logprobs.content
    word = free.logprobs.content[0].token
    vocabulary = json.loads((MODELS / "vlm" / "tokenizer.json").read_text(encoding="utf-8"))["model"]["vocab"]
    bias = {str(vocabulary[word]): -100}
    bent = sdk.chat.completions.create(model="vlm-fast", logit_bias=bias, **asked).choices[0]
    assert bent.logprobs is not None
    assert bent.logprobs.content
    assert bent.logprobs.content[0].token != word


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


def test_an_analysis_with_a_schema_is_a_value_that_satisfies_it(http: httpx.Client) -> None:
    schema = {
        "type": "object",
        "properties": {"count": {"type": "integer", "minimum": 0, "maximum": 9}, "seen": {"enum": ["circle", "star"]}},
        "required": ["count", "seen"],
        "additionalProperties": False,
    }
    body = {"image": data_url(), "task": "custom", "prompt": "Count.", "schema": schema}
    answer = http.post("/v1/vision/analyze", json=body).raise_for_status().json()
    jsonschema.validate(answer["result"], schema)


def test_an_analysis_that_was_cut_short_is_never_passed_on(http: httpx.Client) -> None:
    schema = {"type": "object", "properties": {"a": {"enum": ["a long value " * 20]}}, "required": ["a"]}
    body = {"image": data_url(), "schema": schema, "max_tokens": 5}
    assert fault(http.post("/v1/vision/analyze", json=body)) == (502, "invalid_model_output", "schema")


def test_a_schema_that_no_answer_can_satisfy_is_refused_with_the_reason(http: httpx.Client) -> None:
    schemas: list[dict[str, Any]] = [{"type": "nonsense"}, {"enum": []}, {"$ref": "#/$defs/none"}]
    for schema in schemas:
        answer = http.post("/v1/vision/analyze", json={"image": data_url(), "schema": schema})
        assert fault(answer) == (400, "invalid_schema", "schema")


def test_an_unknown_task_lists_the_tasks(http: httpx.Client) -> None:
    answer = http.post("/v1/vision/analyze", json={"image": data_url(), "task": "paint"})
    assert fault(answer)[0::2] == (400, "task")
    assert "'ocr'" in answer.json()["error"]["message"]
