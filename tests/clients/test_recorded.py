"""What real clients send, as recorded by `make test-clients`, against the server; read by the SDK's own parser."""

from __future__ import annotations

import json
from typing import Any

import jsonschema
import pytest
from openai import OpenAI, Stream
from openai.types.chat import ChatCompletion, ChatCompletionChunk

from tests.clients.run import RECORDED, TABLE, clients, row

_TOKENS = 100
"""Enough for every answer that ends; what a small model would ramble on with is not waited for."""


def recorded() -> list[Any]:
    requests = []
    for path in sorted(RECORDED.glob("*.json")):
        for number, request in enumerate(json.loads(path.read_text(encoding="utf-8"))):
            body = request["body"]
            ways = {True, False} if body.get("tools") else {bool(body.get("stream"))}  # with tools, both ways
            for stream in sorted(ways):
                name = f"{path.stem}-{request['case']}-{number}{'-stream' if stream else ''}"
                requests.append(pytest.param(body, stream, id=name))
    return requests


def schema_of(body: dict[str, Any]) -> Any:
    """What a structured answer has to satisfy."""
    wanted = body.get("response_format") or {}
    return wanted["json_schema"]["schema"] if wanted.get("type") == "json_schema" else {}


def called(body: dict[str, Any], name: str) -> Any:
    """The schema of a tool's arguments."""
    return next(t["function"].get("parameters", {}) for t in body["tools"] if t["function"]["name"] == name)


@pytest.fixture(scope="module")
def sdk(server: Any) -> Any:
    with OpenAI(base_url=f"{server.url}/v1", api_key="none", max_retries=0) as client:
        yield client


@pytest.mark.parametrize(("body", "stream"), recorded())
def test_what_a_client_sends_is_answered_in_a_way_that_it_reads(
    sdk: OpenAI, body: dict[str, Any], stream: bool
) -> None:
    limit = "max_completion_tokens" if "max_completion_tokens" in body else "max_tokens"
    asked = {**body, "stream": stream, limit: min(body.get(limit) or _TOKENS, _TOKENS)}
    asked.pop("stream_options", None)
    text, calls, end = streamed(sdk, asked) if stream else whole(sdk, asked)
    if body.get("tools") and body.get("tool_choice") not in (None, "auto", "none"):
        assert end == "tool_calls"
        assert calls
        for name, arguments in calls:
            jsonschema.validate(json.loads(arguments), called(body, name))
        return
    assert end in ("stop", "length")
    assert text
    if body.get("response_format"):
        assert end == "stop"
        jsonschema.validate(json.loads(text), schema_of(body))


def whole(sdk: OpenAI, asked: dict[str, Any]) -> tuple[str, list[tuple[str, str]], str]:
    answer = sdk.post("/chat/completions", body=asked, cast_to=ChatCompletion)
    choice = answer.choices[0]
    functions = [call.function for call in choice.message.tool_calls or () if call.type == "function"]
    return choice.message.content or "", [(f.name, f.arguments) for f in functions], choice.finish_reason


def streamed(sdk: OpenAI, asked: dict[str, Any]) -> tuple[str, list[tuple[str, str]], str]:
    chunks = sdk.post(
        "/chat/completions",
        body=asked,
        cast_to=ChatCompletion,
        stream=True,
        stream_cls=Stream[ChatCompletionChunk],
    )
    text, end = "", ""
    calls: dict[int, tuple[str, str]] = {}
    for chunk in chunks:
        choice = chunk.choices[0]
        text += choice.delta.content or ""
        end = choice.finish_reason or end
        for piece in choice.delta.tool_calls or ():
            assert piece.function is not None
            name, arguments = calls.get(piece.index, (piece.function.name or "", ""))
            calls[piece.index] = name, arguments + (piece.function.arguments or "")
    return text, list(calls.values()), end


def test_every_client_has_a_program_a_recording_and_a_line_in_the_docs() -> None:
    table = TABLE.read_text(encoding="utf-8")
    for client in clients():
        assert (RECORDED.parent / "programs" / f"{client}.py").exists()
        assert json.loads((RECORDED / f"{client}.json").read_text(encoding="utf-8"))
        assert row(client, {}).split("|")[1] in table
