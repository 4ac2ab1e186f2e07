"""An alias whose model runs on another server, through HTTP."""

from __future__ import annotations

import threading
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from http.server import BaseHTTPRequestHandler

import httpx
import openai
import pytest
import yaml
from openai import OpenAI

from cli.environment import ROOT, free_ports
from tests.api.conftest import fault
from tests.api.pictures import data_url, png, scene
from tests.api.test_chat import asking
from tests.servers import Server, start_server
from tests.upstreams import FINE, pretending

AT_ONCE = 6


@pytest.fixture(scope="module")
def front(server: Server, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Server]:
    """A second server: its chat models run on the first, which does not know one of them, on none, and on one that
    answers only when so many ask at once.
    """
    folder = tmp_path_factory.mktemp("front")
    (closed,) = free_ports(1)
    together = threading.Barrier(AT_ONCE, timeout=30)

    def meet(handler: BaseHTTPRequestHandler) -> None:
        together.wait()
        FINE(handler)

    def upstream(url: str, model: str = "vlm-fast") -> dict[str, object]:
        return {"engine": "upstream", "checkpoint": model, "options": {"base_url": url}}

    with pretending(meet) as meeting:
        models = {
            "far": upstream(f"{server.url}/v1"),
            "down": upstream(f"http://127.0.0.1:{closed}/v1"),
            "unknown": upstream(f"{server.url}/v1", "nobody"),
            "together": upstream(meeting.url),
        }
        document = yaml.safe_load((ROOT / "serve_config.yaml").read_text())
        document["applications"][0] |= {
            "args": {"models": models, "image_enabled": False, "image_search_enabled": False, "voice_enabled": False},
            "deployments": [],
        }
        config = folder / "front.yaml"
        config.write_text(yaml.safe_dump(document))
        started = start_server(folder / "home", config)
        try:
            started.wait_until_ready()
            yield started
        finally:
            started.stop()


def test_the_answers_are_the_upstreams_whole_and_streamed(front: Server, sdk: OpenAI) -> None:
    messages = asking("Describe this image.", data_url(png(scene("circle", "red", "blue"))))
    near = sdk.chat.completions.create(model="vlm-fast", messages=messages)
    with OpenAI(base_url=f"{front.url}/v1", api_key="none", max_retries=0) as client:
        far = client.chat.completions.create(model="far", messages=messages)
        assert far.choices[0].message.content == near.choices[0].message.content
        assert (far.model, far.choices[0].finish_reason, far.usage) == ("far", "stop", near.usage)
        chunks = list(client.chat.completions.create(model="far", messages=messages, stream=True))
        assert "".join(c.choices[0].delta.content or "" for c in chunks) == near.choices[0].message.content
        assert len(chunks) > 3
        with pytest.raises(openai.BadRequestError) as caught:
            client.chat.completions.create(model="far", messages=asking("colour? " * 4000))
        assert caught.value.code == "context_length_exceeded"


def test_an_upstream_that_does_not_answer_is_a_bad_gateway(front: Server) -> None:
    with httpx.Client(base_url=front.url, timeout=60) as http:
        for model in ("down", "unknown"):
            for stream in (False, True):
                body = {"model": model, "messages": asking("Hello"), "stream": stream}
                assert fault(http.post("/v1/chat/completions", json=body)) == (502, "UPSTREAM_FAILED", None)


def test_requests_do_not_wait_for_one_another(front: Server) -> None:
    with httpx.Client(base_url=front.url, timeout=60) as http, ThreadPoolExecutor(AT_ONCE) as callers:
        body = {"model": "together", "messages": asking("Hello")}
        answers = list(callers.map(lambda _: http.post("/v1/chat/completions", json=body), range(AT_ONCE)))
    assert [answer.json()["choices"][0]["message"]["content"] for answer in answers] == ["Hello"] * AT_ONCE
