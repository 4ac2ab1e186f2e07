"""A body is there once, and what its pieces say does not depend on where they end."""

from __future__ import annotations

import asyncio
import os
import tracemalloc
from pathlib import Path

import pytest
from starlette.applications import Starlette
from starlette.middleware import Middleware
from starlette.requests import Request
from starlette.responses import JSONResponse, Response
from starlette.routing import Route
from starlette.types import Message

from deployments.ingress.middleware import idempotency
from deployments.ingress.middleware.access import Access
from deployments.ingress.middleware.authentication import Keys
from deployments.ingress.middleware.idempotency import Idempotency
from deployments.ingress.middleware.ledgers import Ledger
from tests.deployments.apps import settings_of


async def test_a_body_is_there_once_while_its_request_is_answered(ledger: Ledger, tmp_path: Path) -> None:
    size, pieces = 8 * 2**20, 128
    grown = 0

    async def route(request: Request) -> Response:
        nonlocal grown
        body = bytearray()
        async for piece in request.stream():
            body += piece
        grown = tracemalloc.get_traced_memory()[0] - before
        assert len(body) == size
        return JSONResponse(1)

    sent = iter(range(pieces))

    async def receive() -> Message:
        number = next(sent, None)
        if number is None:
            await asyncio.Event().wait()
        body = os.urandom(size // pieces)
        return {"type": "http.request", "body": body, "more_body": number != pieces - 1}

    async def send(_: Message) -> None:
        return

    app = Starlette(
        routes=[Route("/v1/images", route, methods=["POST"])],
        middleware=[
            Middleware(Keys, access=Access(settings_of(tmp_path))),
            Middleware(Idempotency, ledger=ledger, max_body=2 * size),
        ],
    )
    scope = {
        "type": "http", "method": "POST", "path": "/v1/images", "raw_path": b"/v1/images", "query_string": b"",
        "headers": [(b"idempotency-key", b"k")], "client": ("192.0.2.1", 1), "server": ("test", 80), "root_path": "",
    }  # fmt: skip
    tracemalloc.start()
    try:
        before = tracemalloc.get_traced_memory()[0]
        await app(scope, receive, send)
    finally:
        tracemalloc.stop()
    assert size <= grown < 1.5 * size


@pytest.mark.parametrize("cut", range(1, 24))
def test_the_boundary_of_a_form_does_not_count_wherever_the_pieces_end(cut: int) -> None:
    def digest(boundary: str, at: int) -> bytes:
        content = f"--{boundary}\r\n\r\na--b---c\r\n--{boundary}--\r\n".encode()
        found = idempotency._Digest(f"multipart/form-data; boundary={boundary}")
        for begin in range(0, len(content), at):
            found.update(content[begin : begin + at])
        return found.whole()

    assert digest("one", cut) == digest("another-boundary", 1000)
    assert digest("one", cut) != idempotency._Digest("multipart/form-data; boundary=one").whole()
