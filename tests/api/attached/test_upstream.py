"""Aliases whose models are those of an upstream, through HTTP."""

from __future__ import annotations

from concurrent.futures import ThreadPoolExecutor

import httpx
import openai
import pytest
from openai import OpenAI

from tests.api.attached.conftest import AT_ONCE, KEYS
from tests.api.conftest import fault
from tests.api.pictures import data_url, png, scene
from tests.api.test_chat import asking
from tests.servers import Server

pytestmark = pytest.mark.nightly


def test_the_answers_are_the_upstreams_whole_and_streamed(attached: Server) -> None:
    messages = asking("Describe this image.", data_url(png(scene("circle", "red", "blue"))))
    with OpenAI(base_url=f"{attached.url}/v1", api_key=KEYS["ATELIER_API_KEYS"], max_retries=0) as client:
        near = client.chat.completions.create(model="vlm-fast", messages=messages)
        far = client.chat.completions.create(model="far", messages=messages)
        assert far.choices[0].message.content == near.choices[0].message.content
        assert (far.model, far.choices[0].finish_reason, far.usage) == ("far", "stop", near.usage)
        chunks = list(client.chat.completions.create(model="far", messages=messages, stream=True))
        assert "".join(c.choices[0].delta.content or "" for c in chunks) == near.choices[0].message.content
        assert len(chunks) > 3
        with pytest.raises(openai.BadRequestError) as caught:
            client.chat.completions.create(model="far", messages=asking("colour? " * 4000))
        assert caught.value.code == "context_length_exceeded"


def test_an_upstream_that_does_not_answer_is_a_bad_gateway(caller: httpx.Client) -> None:
    for model in ("down", "unknown"):
        for stream in (False, True):
            body = {"model": model, "messages": asking("Hello"), "stream": stream}
            assert fault(caller.post("/v1/chat/completions", json=body)) == (502, "UPSTREAM_FAILED", None)


def test_requests_do_not_wait_for_one_another(caller: httpx.Client) -> None:
    with ThreadPoolExecutor(AT_ONCE) as callers:
        body = {"model": "together", "messages": asking("Hello")}
        answers = list(callers.map(lambda _: caller.post("/v1/chat/completions", json=body), range(AT_ONCE)))
    assert [answer.json()["choices"][0]["message"]["content"] for answer in answers] == ["Hello"] * AT_ONCE
