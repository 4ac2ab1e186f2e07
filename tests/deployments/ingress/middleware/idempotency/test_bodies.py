"""What may be asked and answered: forms, streams, files, and bodies in pieces."""

from __future__ import annotations

import asyncio
import hashlib
import json
from collections.abc import AsyncIterator
from typing import Any

import httpx
import pytest

from deployments.ingress.middleware import idempotency
from deployments.ingress.middleware.ledgers import Ledger
from tests.deployments.ingress.middleware.idempotency.service import LIMIT, MAKE, Service, app_of, is_replayed, twice


async def test_a_form_sent_again_with_another_boundary_is_the_same_body(
    service: Service, http: httpx.AsyncClient
) -> None:
    parts: dict[str, Any] = {"image": ("a.png", b"\x89PNG\r\n--", "image/png"), "prompt": (None, "a")}
    first, second = await twice(http, "/v1/images", files=parts)
    assert first.request.headers["content-type"] != second.request.headers["content-type"]
    assert first.json() == [1, ["image", "prompt"]]
    assert (second.content, is_replayed(second)) == (first.content, True)
    parts["image"] = ("a.png", b"\x89PNG\r\n-", "image/png")
    assert (await http.post("/v1/images", files=parts)).status_code == 422


async def test_a_stream_is_given_again_as_it_was_sent(service: Service, http: httpx.AsyncClient) -> None:
    asked = {"events": [{"text": "a"}, {"text": 'he said "error"'}]}
    first, second = await twice(http, "/v1/chat/completions", json=asked)
    assert first.content.count(b"data: ") == 2
    assert (second.content, second.headers["content-type"]) == (first.content, first.headers["content-type"])
    assert is_replayed(second)


async def test_a_stream_begins_before_it_is_whole(service: Service, ledger: Ledger) -> None:
    service.may_end.clear()
    sent: asyncio.Queue[Any] = asyncio.Queue()
    body = json.dumps({"events": [{"text": "a"}]}).encode()
    messages = iter([{"type": "http.request", "body": body, "more_body": False}])

    async def receive() -> Any:
        return next(messages, None) or await asyncio.Event().wait()

    scope = {
        "type": "http", "method": "POST", "path": "/v1/chat/completions", "query_string": b"",
        "headers": [(b"idempotency-key", b"k-1")],
    }  # fmt: skip
    running = asyncio.ensure_future(app_of(service, ledger)(scope, receive, sent.put))
    assert (await sent.get())["type"] == "http.response.start"
    assert b'{"text": "a"}' in (await sent.get())["body"]
    assert not running.done()
    service.may_end.set()
    await running


@pytest.mark.parametrize(
    "asked",
    [
        {"events": [{"text": "a"}, {"error": {"message": "out of memory"}}]},
        {"events": [{"type": "error", "error": {"message": "x"}}]},
        {"events": [{"text": "a"}], "breaks": True},
    ],
)
async def test_a_stream_that_failed_is_not_kept(service: Service, http: httpx.AsyncClient, asked: Any) -> None:
    for _ in range(2):
        try:
            assert not is_replayed(await http.post("/v1/chat/completions", json=asked))
        except RuntimeError:
            assert "breaks" in asked
    assert service.made == 2


async def test_a_file_is_given_again_and_one_that_is_too_large_is_made_again(
    service: Service, http: httpx.AsyncClient, monkeypatch: pytest.MonkeyPatch
) -> None:
    first, second = await twice(http, "/upload", content=b"200000")
    assert (len(second.content), second.content, is_replayed(second)) == (200_000, first.content, True)
    monkeypatch.setattr(idempotency, "MAX_ANSWER_BYTES", 1000)
    first, second = await twice(http, "/upload", content=b"1001", headers={"Idempotency-Key": "k-4"})
    assert (len(first.content), len(second.content), is_replayed(second)) == (1001, 1001, False)
    assert service.made == 3


async def test_a_body_that_no_route_takes_reaches_the_route_whole_and_is_not_kept(
    service: Service, http: httpx.AsyncClient
) -> None:
    async def chunks() -> AsyncIterator[bytes]:
        for _ in range(5):
            yield b"x" * (LIMIT // 4)

    whole = hashlib.sha256(b"x" * (LIMIT // 4 * 5)).hexdigest()
    answers = [await http.post(MAKE, content=chunks()) for _ in range(2)]
    assert [answer.json() for answer in answers] == [[1, whole], [2, whole]]


async def test_a_body_in_pieces_is_the_body_in_one(http: httpx.AsyncClient) -> None:
    async def chunks() -> AsyncIterator[bytes]:
        yield b"ab"
        yield b"c"

    await http.post(MAKE, content=b"abc")
    assert is_replayed(await http.post(MAKE, content=chunks()))


async def test_the_names_of_ignored_fields_are_repeated(http: httpx.AsyncClient) -> None:
    first, second = await twice(http, "/v1/voice/generate", content=b"a")
    assert first.headers.get_list("x-ignored-parameters") == ["frames"]
    assert second.headers.get_list("x-ignored-parameters") == ["frames"]
    assert is_replayed(second)
