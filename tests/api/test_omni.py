"""A chat that draws and speaks: the default alias `atelier`, as any chat client uses it."""

from __future__ import annotations

import base64
import io
import re
from typing import Any

import httpx
import pytest
from openai import OpenAI
from openai.types.responses import Response
from PIL import Image

from tests.api.conftest import fault
from tests.api.pictures import data_url, png, scene

_PICTURE = re.compile(r"!\[([^\]]*)\]\((http\S+)\)")
_SPEECH = re.compile(r"(?<!!)\[([^\]]*)\]\((http\S+)\)")


def asked(http: httpx.Client, *words: str, **more: Any) -> httpx.Response:
    """The answer to the last of these, which users and assistants have said in turn."""
    messages = [{"role": ("user", "assistant")[i % 2], "content": text} for i, text in enumerate(words)]
    return http.post("/v1/chat/completions", json={"model": "atelier", "messages": messages, **more})


def said(answer: httpx.Response) -> str:
    text: str = answer.raise_for_status().json()["choices"][0]["message"]["content"]
    return text


def fetched(markdown: str) -> Image.Image:
    """The one picture in an answer, by its URL, without any key."""
    ((_, url),) = _PICTURE.findall(markdown)
    return Image.open(io.BytesIO(httpx.get(url).raise_for_status().content)).convert("RGB")


def colour(picture: Image.Image) -> str:
    """Which of its channels is strongest in the middle, and how many are."""
    width, height = picture.size
    box = picture.crop((width * 3 // 8, height * 3 // 8, width * 5 // 8, height * 5 // 8)).resize((1, 1))
    channels = box.getpixel((0, 0))
    assert isinstance(channels, tuple)
    return "".join(name for name, value in zip("rgb", channels, strict=True) if value > 128)


def test_it_is_the_first_model_and_says_what_it_is_made_of(http: httpx.Client) -> None:
    first = http.get("/v1/models").json()["data"][0]
    assert (first["id"], first["kind"]) == ("atelier", "omni")
    assert first["parts"] == {"chat": "vlm-fast", "image": "image-gen", "voice": "voice"}
    assert {"chat", "chat.vision", "image.generate", "image.edit", "speech"} <= set(first["capabilities"])
    assert http.get("/v1/models/atelier").json() == first


def test_a_wish_is_drawn_and_another_changes_what_was_drawn(http: httpx.Client) -> None:
    wish = "Draw a big red circle on a white background"
    drawn = said(asked(http, wish))
    assert colour(fetched(drawn)) == "r"
    looked = said(asked(http, wish, drawn, "What colour is the circle?"))
    assert looked == "Red"
    changed = said(asked(http, wish, drawn, "make the circle blue"))
    assert colour(fetched(changed)) == "b"


@pytest.mark.parametrize(
    ("wish", "prompt"), [("큰 초록색 별을 그려줘", "큰 초록색 별"), ("大きな緑の星を描いてください", "大きな緑の星")]
)
def test_wishes_in_korean_and_japanese_are_drawn_too(http: httpx.Client, wish: str, prompt: str) -> None:
    answer = said(asked(http, wish))
    ((label, _),) = _PICTURE.findall(answer)
    assert label.startswith(prompt)
    assert fetched(answer).size == (128, 128)
    assert not answer.isascii()


def test_a_picture_that_the_user_sent_is_changed(http: httpx.Client) -> None:
    picture = {"type": "image_url", "image_url": {"url": data_url(png(scene("circle", "red", "white")))}}
    messages = [{"role": "user", "content": [picture, {"type": "text", "text": "Make the circle blue"}]}]
    answer = http.post("/v1/chat/completions", json={"model": "atelier", "messages": messages})
    assert colour(fetched(said(answer))) == "b"


def test_a_text_is_spoken(http: httpx.Client) -> None:
    answer = said(asked(http, "Say: good evening"))
    ((label, url),) = _SPEECH.findall(answer)
    assert label == "good evening"
    spoken = httpx.get(url).raise_for_status()
    assert spoken.headers["content-type"] == "audio/mpeg"
    assert len(spoken.content) > 1000


def test_a_response_draws_looks_changes_and_speaks(sdk: OpenAI) -> None:
    def go_on(words: str, before: Response | None = None) -> Response:
        return sdk.responses.create(
            model="atelier", input=words, previous_response_id=before.id if before is not None else None
        )

    def picture(response: Response) -> Image.Image:
        (item,) = (item for item in response.output if item.type == "image_generation_call")
        return Image.open(io.BytesIO(base64.b64decode(item.result or ""))).convert("RGB")

    drawn = go_on("Draw a big red circle on a white background")
    assert colour(picture(drawn)) == "r"
    looked = go_on("What colour is the circle?", drawn)
    assert [item.type for item in looked.output] == ["message"]
    assert looked.output_text == "Red"
    changed = go_on("make the circle blue", looked)
    assert colour(picture(changed)) == "b"
    spoken = go_on("Say: good morning", changed)
    ((label, url),) = _SPEECH.findall(spoken.output_text)
    assert label == "good morning"
    assert httpx.get(url).raise_for_status().headers["content-type"] == "audio/mpeg"
    thanked = go_on("What is the capital of Portugal?", spoken)
    assert [item.type for item in thanked.output] == ["message"]
    assert "](" not in thanked.output_text


def test_a_streamed_response_tells_of_its_picture(sdk: OpenAI) -> None:
    with sdk.responses.stream(model="atelier", input="초록색 별을 그려줘") as stream:
        kinds = [event.type for event in stream]
        final = stream.get_final_response()
    assert "response.image_generation_call.generating" in kinds
    assert final.output[0].type == "image_generation_call"
    assert final.output[0].result


def test_a_question_is_answered_in_words(http: httpx.Client) -> None:
    plain = http.post(
        "/v1/chat/completions",
        json={"model": "vlm-fast", "messages": [{"role": "user", "content": "What is the capital of Portugal?"}]},
    )
    assert said(asked(http, "What is the capital of Portugal?")) == said(plain)


def test_a_stream_says_how_the_work_goes_before_the_picture_comes(sdk: OpenAI) -> None:
    chunks = list(
        sdk.chat.completions.create(
            model="atelier",
            messages=[{"role": "user", "content": "초록색 별을 그려줘"}],
            stream=True,
            stream_options={"include_usage": True},
        )
    )
    deltas = [chunk.choices[0].delta for chunk in chunks if chunk.choices]
    progress = [getattr(delta, "reasoning_content", None) for delta in deltas]
    words = [delta.content for delta in deltas if delta.content]
    assert next(text for text in progress if text).startswith("초록색 별")
    assert _PICTURE.match(words[0])
    assert chunks[-2].choices[0].finish_reason == "stop"
    assert chunks[-1].usage is not None
    assert chunks[-1].usage.completion_tokens > 0


def test_the_picture_is_a_job_of_the_request(http: httpx.Client) -> None:
    answer = asked(http, "Draw a big red heart on a white background")
    job = http.get(f"/v1/jobs/{answer.headers['x-request-id']}").raise_for_status().json()
    assert (job["state"], job["model"]) == ("done", "image-gen")


def test_where_no_tool_may_be_called_nothing_is_drawn(http: httpx.Client) -> None:
    assert "](" not in said(asked(http, "draw a red heart", tool_choice="none"))
    schema = {"type": "object", "properties": {"answer": {"enum": ["yes", "no"]}}, "required": ["answer"]}
    held = {"type": "json_schema", "json_schema": {"name": "reply", "schema": schema}}
    assert said(asked(http, "draw a red heart", response_format=held)) in ('{"answer": "yes"}', '{"answer": "no"}')


def test_a_callers_own_tool_is_still_the_callers(http: httpx.Client) -> None:
    tool = {"type": "function", "function": {"name": "report", "parameters": {"type": "object", "properties": {}}}}
    answer = asked(http, "draw a red heart", tools=[tool], tool_choice="required").raise_for_status().json()
    (call,) = answer["choices"][0]["message"]["tool_calls"]
    assert call["function"] == {"name": "report", "arguments": "{}"}


def test_several_answers_at_a_time_are_refused_by_name(http: httpx.Client) -> None:
    assert fault(asked(http, "draw a cat", n=2)) == (400, "invalid_value", "n")


def test_links_to_what_is_not_here_are_only_words(http: httpx.Client) -> None:
    gone = "![a cat](http://elsewhere.test/files/images/generated/00000000-0000-0000-0000-000000000000.png?expires=1)"
    other = "![a cat](http://elsewhere.test/cat.png) and [this](http://[bad)"
    for answer in (gone, other):
        assert said(asked(http, "draw a cat", answer, "thanks, that was helpful"))


@pytest.mark.parametrize(
    ("path", "body"),
    [
        ("/v1/images/generations", {"model": "atelier", "prompt": "a red circle"}),
        ("/v1/audio/speech", {"model": "atelier", "input": "Hello", "voice": "nova"}),
        ("/v1/chat/completions", {"model": "openai/atelier:latest", "messages": [{"role": "user", "content": "Hi"}]}),
    ],
)
def test_its_name_stands_for_its_parts_elsewhere(http: httpx.Client, path: str, body: dict[str, Any]) -> None:
    assert http.post(path, json=body).status_code == 200
