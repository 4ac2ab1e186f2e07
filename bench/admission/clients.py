"""Clients of the crowd: uploads of many megabytes, and small files that stand for large pictures."""

from __future__ import annotations

import asyncio
import base64
import hashlib
import io
import itertools
import json
import random
from dataclasses import dataclass
from functools import cache
from typing import Final
from urllib.parse import urlsplit

from PIL import Image

PROJECT: Final = "/v1/projects/admission/images"
_PIECE: Final = 2**18
_FILLING: Final = bytes(_PIECE)
_FORM: Final = b'--crowd\r\nContent-Disposition: form-data; name="file"; filename="a.png"\r\n\r\n'
_FORM_END: Final = b"\r\n--crowd--\r\n"
_PATIENCE_SECONDS: Final = 900.0


@dataclass(frozen=True)
class Crowd:
    """So many clients at once: uploads of so many bytes each, and bombs."""

    uploads: int
    bytes: int
    bombs: int

    def send(self, url: str) -> list[Outcome]:
        """What came of each, all sent at once in a random order."""
        return asyncio.run(self._send(url))

    async def _send(self, url: str) -> list[Outcome]:
        requests = [upload(number, self.bytes) for number in range(self.uploads)]
        requests += [bomb(number) for number in range(self.bombs)]
        order = random.Random(1).sample(range(len(requests)), len(requests))
        outcomes = await asyncio.gather(*(send(url, requests[place]) for place in order))
        return [outcome for _, outcome in sorted(zip(order, outcomes, strict=True), key=lambda each: each[0])]


@dataclass(frozen=True)
class Request:
    """A body in pieces, which share what all of them have: together they are more than there is memory."""

    path: str
    content_type: str
    body: list[bytes]
    picture: list[bytes] | None = None
    """Where it is stored."""

    @property
    def digest(self) -> str | None:
        """Of the picture, where it is stored."""
        return None if self.picture is None else hashlib.sha256(b"".join(self.picture)).hexdigest()


@dataclass(frozen=True)
class Outcome:
    """`status` is an HTTP status, or the name of what became of the connection."""

    status: str
    has_retry_after: bool = False
    id: str | None = None
    digest: str | None = None


def upload(number: int, size: int) -> Request:
    """A picture of `size` bytes, another for each number; what is behind its end is kept, and looked at by nobody."""
    pieces = [_small(), f"{number:08}".encode(), *itertools.repeat(_FILLING, (size - len(_small()) - 8) // _PIECE)]
    return _form(pieces)


def bomb(number: int) -> Request:
    """A small file of 40 or 64 million pixels, by turns to image search and to a chat."""
    picture = _large("RGBA", 6300) if number % 4 < 2 else _large("RGB", 8000)
    picture += f"{number:08}".encode()
    if number % 2:
        return _form([picture])
    url = "data:image/png;base64," + base64.b64encode(picture).decode()
    content = [{"type": "text", "text": "What is this?"}, {"type": "image_url", "image_url": {"url": url}}]
    sent = {"model": "vlm-fast", "max_tokens": 4, "messages": [{"role": "user", "content": content}]}
    return Request("/v1/chat/completions", "application/json", [json.dumps(sent).encode()])


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
            f"Content-Type: {request.content_type}", f"Content-Length: {sum(map(len, request.body))}", "", "",
        )  # fmt: skip
        writer.write("\r\n".join(lines).encode())
        for piece in request.body:
            writer.write(piece)
            await writer.drain()
        head = (await reader.readuntil(b"\r\n\r\n")).decode().lower()
        status = head.split(" ", 2)[1]
        answer = json.loads((await reader.read()) or b"{}") if status == "200" else {}
        stored = answer.get("id") if request.picture else None
        return Outcome(status, "\r\nretry-after:" in head, stored, request.digest if stored else None)
    finally:
        writer.close()


def _form(pieces: list[bytes]) -> Request:
    return Request(PROJECT, "multipart/form-data; boundary=crowd", [_FORM, *pieces, _FORM_END], pieces)


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
