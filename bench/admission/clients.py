"""Clients of the crowd: uploads of many megabytes, and small files that stand for large pictures."""

from __future__ import annotations

import asyncio
import base64
import hashlib
import io
import itertools
import json
from collections.abc import Callable
from dataclasses import dataclass
from functools import cache
from typing import Final
from urllib.parse import urlsplit

from PIL import Image

PROJECT: Final = "/v1/projects/admission/images"
_PIECE: Final = 2**18
_FORM: Final = b'--crowd\r\nContent-Disposition: form-data; name="file"; filename="a.png"\r\n\r\n'
_FORM_END: Final = b"\r\n--crowd--\r\n"
_PATIENCE_SECONDS: Final = 900.0


@dataclass(frozen=True)
class Request:
    """`body` is made when it is sent, since all of them together are more than there is memory."""

    path: str
    content_type: str
    length: int
    body: Callable[[], list[bytes]]
    digest: str | None = None
    """Of the picture, where it is stored."""


@dataclass(frozen=True)
class Outcome:
    """`status` is an HTTP status, or the name of what became of the connection."""

    status: str
    has_retry_after: bool = False
    id: str | None = None
    digest: str | None = None


def upload(number: int, size: int) -> Request:
    """A picture of `size` bytes, another for each number; what is behind its end is kept, and looked at by nobody."""
    stamp, filling = f"{number:08}".encode(), bytes(_PIECE)
    pieces = [_small(), stamp, *itertools.repeat(filling, (size - len(_small()) - 8) // _PIECE)]
    digest = hashlib.sha256()
    for piece in pieces:
        digest.update(piece)
    return _form(pieces, digest.hexdigest())


def bomb(number: int) -> Request:
    """A small file of 40 or 64 million pixels, by turns to image search and to a chat."""
    picture = _large("RGBA", 6300) if number % 4 < 2 else _large("RGB", 8000)
    picture += f"{number:08}".encode()
    if number % 2:
        return _form([picture], hashlib.sha256(picture).hexdigest())
    url = "data:image/png;base64," + base64.b64encode(picture).decode()
    content = [{"type": "text", "text": "What is this?"}, {"type": "image_url", "image_url": {"url": url}}]
    sent = {"model": "vlm-fast", "max_tokens": 4, "messages": [{"role": "user", "content": content}]}
    body = json.dumps(sent).encode()
    return Request("/v1/chat/completions", "application/json", len(body), lambda: [body])


async def send(url: str, request: Request) -> Outcome:
    """Send one request on a connection of its own; what came of it."""
    try:
        async with asyncio.timeout(_PATIENCE_SECONDS):
            return await _send(url, request)
    except (OSError, TimeoutError, asyncio.IncompleteReadError) as error:
        return Outcome(type(error).__name__)


async def _send(url: str, request: Request) -> Outcome:
    where = urlsplit(url)
    reader, writer = await asyncio.open_connection(where.hostname, where.port)
    try:
        lines = (
            f"POST {request.path} HTTP/1.1", "Host: crowd", "Connection: close",
            f"Content-Type: {request.content_type}", f"Content-Length: {request.length}", "", "",
        )  # fmt: skip
        writer.write("\r\n".join(lines).encode())
        for piece in request.body():
            writer.write(piece)
            await writer.drain()
        head = (await reader.readuntil(b"\r\n\r\n")).decode().lower()
        status = head.split(" ", 2)[1]
        answer = json.loads((await reader.read()) or b"{}") if status == "200" else {}
        stored = answer.get("id") if request.digest else None
        return Outcome(status, "\r\nretry-after:" in head, stored, request.digest)
    finally:
        writer.close()


def _form(pieces: list[bytes], digest: str) -> Request:
    whole = [_FORM, *pieces, _FORM_END]
    return Request(PROJECT, "multipart/form-data; boundary=crowd", sum(map(len, whole)), lambda: whole, digest)


@cache
def _small() -> bytes:
    return _png(Image.effect_noise((640, 480), 60).convert("RGB"))


@cache
def _large(mode: str, side: int) -> bytes:
    return _png(Image.new(mode, (side, side), "red"))


def _png(picture: Image.Image) -> bytes:
    encoded = io.BytesIO()
    picture.save(encoded, "PNG")
    return encoded.getvalue()
