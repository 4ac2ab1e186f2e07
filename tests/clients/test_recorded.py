"""What real clients send, as recorded by `make test-clients`, against the server; read by the SDK's own parser."""

from __future__ import annotations

import base64
import json
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from typing import Any, Final

import httpx
import jsonschema
import pytest
from openai import OpenAI, Stream
from openai.types import CreateEmbeddingResponse, ImagesResponse
from openai.types.chat import ChatCompletion, ChatCompletionChunk
from openai.types.image_edit_stream_event import ImageEditStreamEvent
from openai.types.image_gen_stream_event import ImageGenStreamEvent
from openai.types.responses import Response, ResponseStreamEvent

from tests.clients.environments import clients, pinned, program
from tests.clients.run import README, RECORDED, is_kept, rows, short_form
from tests.clients.snippets import snippets

FIRST: Final = (
    "openai_python",
    "openai_node",
    "open_webui",
    "langchain_sdk",
    "litellm_sdk",
    "ai_sdk_openai_compatible",
)
"""Tried at every change; the others send much the same, and are tried in the night."""
_TOKENS: Final = 60
"""Enough for every answer that ends; what a small model would ramble on with is not waited for."""
_AT_ONCE: Final = 4


@pytest.fixture(scope="module")
def sdk(server: Any) -> Any:
    with OpenAI(base_url=f"{server.url}/v1", api_key="none", max_retries=0) as client:
        yield client


@pytest.mark.parametrize(
    "client",
    [each if each in FIRST else pytest.param(each, marks=pytest.mark.nightly) for each in (*clients(), "open_webui")],
)
def test_what_a_client_sends_is_answered_in_a_way_that_it_reads(sdk: OpenAI, client: str) -> None:
    requests = [each for each in recorded(client) if each["path"] in ANSWERED]
    assert requests

    def replay(request: dict[str, Any]) -> str | None:
        try:
            ANSWERED[request["path"]](sdk, request)
        except Exception as error:  # noqa: BLE001 - told below, of all requests together
            return f"{request['case']}, {request['path']}: {type(error).__name__}: {error}"
        return None

    with ThreadPoolExecutor(_AT_ONCE) as threads:
        assert [each for each in threads.map(replay, requests) if each] == []


def recorded(client: str) -> list[dict[str, Any]]:
    """What a client sent; a chat with tools both whole and as a stream."""
    requests: list[dict[str, Any]] = []
    for each in json.loads((RECORDED / f"{client}.json").read_text(encoding="utf-8")):
        requests.append(each)
        if each["path"] == "/v1/chat/completions" and each["body"].get("tools"):
            requests.append({**each, "body": {**each["body"], "stream": not each["body"].get("stream")}})
    return requests


def chat(sdk: OpenAI, request: dict[str, Any]) -> None:
    body = request["body"]
    limit = "max_completion_tokens" if "max_completion_tokens" in body else "max_tokens"
    asked = {**body, limit: min(body.get(limit) or _TOKENS, _TOKENS)}
    asked.pop("stream_options", None)
    text, calls, end = streamed(sdk, asked) if asked.get("stream") else whole(sdk, asked)
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


def schema_of(body: dict[str, Any]) -> Any:
    """What a structured answer has to satisfy."""
    wanted = body.get("response_format") or {}
    return wanted["json_schema"]["schema"] if wanted.get("type") == "json_schema" else {}


def called(body: dict[str, Any], name: str) -> Any:
    """The schema of a tool's arguments."""
    return next(t["function"].get("parameters", {}) for t in body["tools"] if t["function"]["name"] == name)


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


def drawing(sdk: OpenAI, request: dict[str, Any]) -> None:
    path = request["path"].removeprefix("/v1")
    body = request.get("body")
    if body and body.get("stream"):
        events: Any = sdk.post(
            path, body=body, cast_to=ImagesResponse, stream=True, stream_cls=Stream[ImageGenStreamEvent]
        )
        last: ImageGenStreamEvent | ImageEditStreamEvent = list(events)[-1]
        assert last.type.endswith(".completed")
        assert base64.b64decode(last.b64_json)
        return
    made = ImagesResponse.model_validate_json(answer(sdk, request).content)
    assert made.data
    assert all(each.b64_json or each.url for each in made.data)


def speaking(sdk: OpenAI, request: dict[str, Any]) -> None:
    said = answer(sdk, request)
    assert said.headers["content-type"].startswith("audio/")
    assert len(said.content) > 1000


def hearing(sdk: OpenAI, request: dict[str, Any]) -> None:
    assert answer(sdk, request).json()["text"]


def responding(sdk: OpenAI, request: dict[str, Any]) -> None:
    body = {**request["body"], "max_output_tokens": _TOKENS}
    if body.get("stream"):
        events = sdk.post(
            "/responses", body=body, cast_to=Response, stream=True, stream_cls=Stream[ResponseStreamEvent]
        )
        last = list(events)[-1]
        assert last.type in {"response.completed", "response.incomplete"}
        made = last.response
    else:
        made = sdk.post("/responses", body=body, cast_to=Response)
    assert made.output
    if body.get("tool_choice") == "required":
        assert any(item.type == "function_call" for item in made.output)


def embedding(sdk: OpenAI, request: dict[str, Any]) -> None:
    made = sdk.post("/embeddings", body=request["body"], cast_to=CreateEmbeddingResponse)
    assert len(made.data) == len(request["body"]["input"]) or isinstance(request["body"]["input"], str)


def answer(sdk: OpenAI, request: dict[str, Any]) -> httpx.Response:
    """A request as it was sent, byte for byte where it is a form."""
    url = f"{str(sdk.base_url).removesuffix('/v1/')}{request['path']}"
    if "body" in request:
        got = httpx.post(url, json=request["body"], timeout=300)
    else:
        form = base64.b64decode(request["base64"])
        got = httpx.post(url, content=form, headers={"content-type": request["content_type"]}, timeout=300)
    got.raise_for_status()
    return got


ANSWERED: Final[dict[str, Callable[[OpenAI, dict[str, Any]], None]]] = {
    "/v1/chat/completions": chat,
    "/v1/responses": responding,
    "/v1/images/generations": drawing,
    "/v1/images/edits": drawing,
    "/v1/audio/speech": speaking,
    "/v1/audio/transcriptions": hearing,
    "/v1/embeddings": embedding,
}


def test_every_client_has_a_program_a_recording_lines_of_its_own_and_a_row_in_the_docs() -> None:
    table = rows()
    assert [pinned(client) for client in clients() if pinned(client) not in "".join(table.values())] == []
    assert set(snippets()) == set(clients())
    for client in clients():
        assert (RECORDED.parent / "programs" / program(client)[-1]).exists()
        sent = json.loads((RECORDED / f"{client}.json").read_text(encoding="utf-8"))
        assert sent
        assert all(is_kept(request) and request["path"] in ANSWERED for request in sent)
    assert short_form(table) in README.read_text(encoding="utf-8")
