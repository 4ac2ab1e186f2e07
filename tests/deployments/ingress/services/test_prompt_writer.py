"""The prompt writer against endpoints that are right, slow, down, failing or talking rubbish."""

from __future__ import annotations

import asyncio
import socket
import threading
from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import Any, Literal

import pytest
import uvicorn
from ray import serve
from starlette.applications import Starlette
from starlette.requests import Request
from starlette.responses import HTMLResponse, JSONResponse, Response
from starlette.routing import Route

import settings as configuration
from cli.environment import free_ports
from deployments.ingress.calls.model_calls import ModelCalls
from deployments.ingress.services.prompt_writer import (
    MAX_PROMPT,
    PromptWriter,
    UnusableAnswer,
    WrittenPrompt,
    caption,
    join_texts,
)
from deployments.vision import Answer
from models.tasks import ChatJob, Usage

ARGS: dict[str, Any] = {
    "models": {"vlm-fast": {"engine": "vlm", "checkpoint": "builtin:vlm"}},
    "image_search_enabled": False,
}
TEXTS = ("Autumn", "A red leaf on a wet stone.")
JOINED = "Autumn. A red leaf on a wet stone."


@dataclass
class Endpoint:
    """Somebody else's chat endpoint, which answers what the test tells it to."""

    port: int
    says: Any = "A red maple leaf on a wet grey stone, soft morning light"
    status: int = 200
    finish_reason: str = "stop"
    as_html: bool = False
    asked: list[dict[str, Any]] = field(default_factory=list)
    keys: list[str] = field(default_factory=list)
    came: threading.Event = field(default_factory=threading.Event)
    left: threading.Event = field(default_factory=threading.Event)
    may_answer: threading.Event = field(default_factory=threading.Event)

    async def complete(self, request: Request) -> Response:
        self.asked.append(await request.json())
        self.keys.append(request.headers["authorization"])
        self.came.set()
        while not self.may_answer.is_set():
            if await request.is_disconnected():
                self.left.set()
                return Response()
            await asyncio.sleep(0.01)
        if self.as_html:
            return HTMLResponse("<h1>Bad gateway</h1>")
        message = {"role": "assistant", "content": self.says}
        choice = {"index": 0, "message": message, "finish_reason": self.finish_reason}
        answer = {"id": "1", "object": "chat.completion", "created": 1, "model": "m", "choices": [choice]}
        return JSONResponse(answer if self.status == 200 else {"error": {"message": "no"}}, self.status)


class Outside(uvicorn.Server):
    """A server that says when it listens."""

    def __init__(self, ready: threading.Event, config: uvicorn.Config) -> None:
        super().__init__(config)
        self.ready = ready

    async def startup(self, sockets: list[socket.socket] | None = None) -> None:
        await super().startup(sockets)
        self.ready.set()


@pytest.fixture
def endpoint() -> Iterator[Endpoint]:
    (port,) = free_ports(1)
    endpoint = Endpoint(port)
    endpoint.may_answer.set()
    app = Starlette(routes=[Route("/v1/chat/completions", endpoint.complete, methods=["POST"])])
    ready = threading.Event()
    server = Outside(ready, uvicorn.Config(app, port=port, log_level="error", lifespan="off", ws="none"))
    thread = threading.Thread(target=server.run)
    thread.start()
    assert ready.wait(20)
    yield endpoint
    server.should_exit = True
    thread.join(20)
    assert not thread.is_alive()


class Writing:
    """A writer with the settings of an environment, closed at the end."""

    def __init__(self, seconds: float = 20, **environ: str) -> None:
        settings = configuration.validate(ARGS, environ)
        self.writer = PromptWriter(settings.prompts, ModelCalls(settings, {}), seconds)

    async def __aenter__(self) -> PromptWriter:
        return self.writer

    async def __aexit__(self, *_: object) -> None:
        await self.writer.close()


def to(endpoint: Endpoint, seconds: float = 20) -> Writing:
    base_url = f"http://127.0.0.1:{endpoint.port}/v1"
    return Writing(
        seconds, ATELIER_PROMPT_API_KEY="secret", ATELIER_PROMPT_BASE_URL=base_url, ATELIER_PROMPT_MODEL="writer-1"
    )


async def test_the_endpoints_caption_is_the_prompt(endpoint: Endpoint) -> None:
    async with to(endpoint) as writer:
        assert await writer.write(*TEXTS) == WrittenPrompt(endpoint.says, "model")
    (asked,) = endpoint.asked
    assert asked["model"] == "writer-1"
    assert asked["messages"][-1] == {"role": "user", "content": f"Title: {TEXTS[0]}\nDescription: {TEXTS[1]}"}
    assert endpoint.keys == ["Bearer secret"]


async def test_an_answer_is_remembered_and_a_failure_is_not(endpoint: Endpoint) -> None:
    async with to(endpoint) as writer:
        endpoint.says = ""
        assert await writer.write(*TEXTS) == WrittenPrompt(JOINED, "fallback")
        endpoint.says = "A leaf"
        assert [await writer.write(*TEXTS) for _ in range(3)] == [WrittenPrompt("A leaf", "model")] * 3
        assert len(endpoint.asked) == 2
        endpoint.says = "A flower"
        assert await writer.write("Spring", TEXTS[1]) == WrittenPrompt("A flower", "model")


async def test_the_same_texts_at_the_same_time_are_asked_once(endpoint: Endpoint) -> None:
    endpoint.may_answer.clear()
    async with to(endpoint) as writer:
        calls = [asyncio.ensure_future(writer.write(*TEXTS)) for _ in range(5)]
        assert await asyncio.to_thread(endpoint.came.wait, 20)
        calls[0].cancel()
        endpoint.may_answer.set()
        assert await asyncio.gather(*calls[1:]) == [WrittenPrompt(endpoint.says, "model")] * 4
        assert calls[0].cancelled()
    assert len(endpoint.asked) == 1


async def test_a_caller_who_leaves_ends_the_call_to_the_endpoint(endpoint: Endpoint) -> None:
    endpoint.may_answer.clear()
    async with to(endpoint) as writer:
        call = asyncio.ensure_future(writer.write(*TEXTS))
        assert await asyncio.to_thread(endpoint.came.wait, 20)
        call.cancel()
        with pytest.raises(asyncio.CancelledError):
            await call
        assert await asyncio.to_thread(endpoint.left.wait, 20)
        endpoint.may_answer.set()
        assert (await writer.write(*TEXTS)).source == "model"


async def test_an_endpoint_that_is_too_slow_costs_no_more_than_the_limit(endpoint: Endpoint) -> None:
    endpoint.may_answer.clear()
    async with to(endpoint, seconds=0.5) as writer:
        assert await writer.write(*TEXTS) == WrittenPrompt(JOINED, "fallback")


async def test_an_endpoint_that_is_down_is_no_error() -> None:
    (port,) = free_ports(1)
    async with Writing(
        ATELIER_PROMPT_API_KEY="secret", ATELIER_PROMPT_BASE_URL=f"http://127.0.0.1:{port}/v1"
    ) as writer:
        assert await writer.write(*TEXTS) == WrittenPrompt(JOINED, "fallback")


@pytest.mark.parametrize("status", [400, 401, 404, 500])
async def test_an_endpoint_that_refuses_or_fails_is_in_the_log_without_the_key(
    endpoint: Endpoint, status: int, caplog: pytest.LogCaptureFixture
) -> None:
    endpoint.status = status
    async with to(endpoint) as writer:
        assert await writer.write(*TEXTS) == WrittenPrompt(JOINED, "fallback")
    assert f"status {status}" in caplog.text
    assert "secret" not in caplog.text


@pytest.mark.parametrize("says", [None, 3, "", "one\ntwo", '{"caption": "A leaf"}', "leaf " * 500])
async def test_an_answer_that_is_no_caption_is_not_used(endpoint: Endpoint, says: Any) -> None:
    endpoint.says = says
    async with to(endpoint) as writer:
        assert await writer.write(*TEXTS) == WrittenPrompt(JOINED, "fallback")


async def test_an_answer_cut_off_or_no_json_is_not_used(endpoint: Endpoint) -> None:
    endpoint.finish_reason = "length"
    async with to(endpoint) as writer:
        assert await writer.write(*TEXTS) == WrittenPrompt(JOINED, "fallback")
        endpoint.finish_reason, endpoint.as_html = "stop", True
        assert await writer.write(*TEXTS) == WrittenPrompt(JOINED, "fallback")


async def test_without_key_and_alias_the_texts_are_joined() -> None:
    async with Writing() as writer:
        assert await writer.write(*TEXTS) == WrittenPrompt(JOINED, "joined")


class Chat:
    """A chat model of this server that always says the same."""

    def __init__(self, says: str, finish_reason: Literal["stop", "length"]) -> None:
        self.says, self.finish_reason = says, finish_reason

    async def chat(self, job: ChatJob) -> Answer:
        assert [message.role for message in job.messages] == ["system", "user"]
        return Answer(self.says, self.finish_reason, Usage(1, 1))


@pytest.mark.parametrize(
    ("says", "finish_reason", "written"),
    [
        ("Caption: A leaf", "stop", WrittenPrompt("A leaf", "model")),
        ("A leaf on a", "length", WrittenPrompt(JOINED, "fallback")),
        ("", "stop", WrittenPrompt(JOINED, "fallback")),
    ],
)
async def test_without_a_key_the_configured_alias_writes(
    says: str, finish_reason: Literal["stop", "length"], written: WrittenPrompt
) -> None:
    settings = configuration.validate({**ARGS, "prompts": {"alias": "vlm-fast"}}, {})
    chat = serve.run(serve.deployment(Chat).bind(says, finish_reason), name="chat", _local_testing_mode=True)
    writer = PromptWriter(settings.prompts, ModelCalls(settings, {"vlm-fast": chat}))
    assert await writer.write(*TEXTS) == written


async def test_an_alias_that_is_not_deployed_is_no_error() -> None:
    settings = configuration.validate({**ARGS, "prompts": {"alias": "vlm-fast"}}, {})
    assert await PromptWriter(settings.prompts, ModelCalls(settings, {})).write(*TEXTS) == WrittenPrompt(
        JOINED, "fallback"
    )


@pytest.mark.parametrize(
    "answer",
    [
        "A red leaf",
        '  "A red leaf"\n',
        "“A red leaf”",
        "Caption: A red leaf",
        "**Caption:** A red leaf",
        'Prompt: "A red leaf"',
        "Image prompt:\nA red leaf",
        "```\nA red leaf\n```",
        '```text\n"A red leaf"\n```',
        "Sure! Here is a caption: A red leaf",
        "<think>What is autumn?\nLeaves.</think>\n\nA red leaf",
        "- A  red\tleaf",
        "# A red leaf",
    ],
)
def test_what_models_put_around_a_caption_is_taken_away(answer: str) -> None:
    assert caption(answer) == "A red leaf"


@pytest.mark.parametrize("answer", ["A café by the sea, 1950s", "'A' and 'B' on a wall", "3 cats: one red, two blue"])
def test_a_caption_is_otherwise_left_as_it_is(answer: str) -> None:
    assert caption(answer) == answer


@pytest.mark.parametrize(
    ("answer", "why"),
    [
        (None, "not text"),
        ([], "not text"),
        (" \n", "empty"),
        ('""', "empty"),
        ("A leaf\nA stone", "several lines"),
        ("[1, 2]", "JSON"),
        ("```json\n{}\n```", "JSON"),
        ("<html>", "markup"),
        ("a" * (MAX_PROMPT + 1), "more than 2000"),
        ("A leaf \ufffd\ufffd", "not text"),
        ("A leaf \x07", "not text"),
        ("빨간 단풍잎", "not English"),
        ("…", "not English"),
        ("I'm sorry, but I can't help with that.", "refusal"),
    ],
)
def test_rubbish_is_named_for_what_it_is(answer: object, why: str) -> None:
    with pytest.raises(UnusableAnswer, match=why):
        caption(answer)


@pytest.mark.parametrize(
    ("title", "description", "line"),
    [
        ("Autumn", "A leaf", "Autumn. A leaf"),
        ("Autumn!", "A\n leaf", "Autumn! A leaf"),
        ("가을。", "단풍", "가을。 단풍"),
        (" ", "A leaf", "A leaf"),
    ],
)
def test_joined_texts_are_one_line(title: str, description: str, line: str) -> None:
    assert join_texts(title, description) == line


def test_joined_texts_end_with_a_whole_word_at_the_limit_of_a_prompt() -> None:
    words = join_texts("T", "leaf " * 800)
    assert len(words) <= MAX_PROMPT
    assert words.endswith("leaf")
    assert len(join_texts("제목", "가" * 4000)) == MAX_PROMPT
