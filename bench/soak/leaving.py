"""Ways in which clients leave: at every moment of a request, with every end of a connection, as real clients do it."""

from __future__ import annotations

import asyncio
import io
import json
import random
import socket
import struct
import subprocess
import time
from collections.abc import Callable
from contextlib import suppress
from dataclasses import dataclass
from functools import cache
from importlib import import_module
from pathlib import Path
from typing import Any, Final, Literal, get_args
from urllib.parse import urlsplit

import httpx
import openai
from PIL import Image

LONG_PICTURE: Final = {"prompt": "a red circle", "steps": 150, "n": 4}
COUNTING: Final = "Count from one to a thousand."
LONG_CHAT: Final = {
    "model": "vlm-fast", "max_tokens": 2000, "stream": True, "logit_bias": {},
    "messages": [{"role": "user", "content": COUNTING}],
}  # fmt: skip
LONG_SPEECH: Final = {"model": "tts-1", "voice": "alloy", "input": "Good morning to you all. " * 150}

Route = Literal[
    "picture", "partial pictures", "chat", "response", "drawn response", "message", "speech", "transcription", "upload",
    "caption",
]  # fmt: skip
Moment = Literal["within the head", "within the body", "before an answer", "within the answer"]
End = Literal["FIN", "RST", "half-closed", "stops reading"]

ROUTES: Final[tuple[Route, ...]] = get_args(Route)
MOMENTS: Final[tuple[Moment, ...]] = ("within the head", "within the body", "before an answer", "within the answer")
ENDS: Final[tuple[End, ...]] = ("FIN", "RST", "half-closed", "stops reading")


@dataclass(frozen=True)
class Leaving:
    """A client over a plain socket, which sends head and body apart or together and then leaves."""

    route: Route
    moment: Moment
    end: End
    is_apart: bool

    def run(self, url: str, stays: float = 0.5) -> None:
        """Send as far as `moment`, stay for some seconds, and leave."""
        head, body = _request(self.route)
        address = (urlsplit(url).hostname or "127.0.0.1", urlsplit(url).port or 80)
        with socket.create_connection(address, timeout=30) as connection, suppress(ConnectionError, TimeoutError):
            connection.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
            if self.moment == "within the head":
                connection.sendall(head[: len(head) // 2])
            elif self.moment == "within the body":
                self._send(connection, head, body[: len(body) // 2])
            else:
                self._send(connection, head, body)
            if self.moment == "within the answer":
                connection.recv(100)
            self._leave(connection, stays)

    def _send(self, connection: socket.socket, head: bytes, body: bytes) -> None:
        if self.is_apart:
            connection.sendall(head)
            time.sleep(0.02)
            connection.sendall(body)
        else:
            connection.sendall(head + body)

    def _leave(self, connection: socket.socket, stays: float) -> None:
        if self.end == "half-closed":
            connection.shutdown(socket.SHUT_WR)
        time.sleep(stays)  # without reading what comes
        if self.end == "RST":
            connection.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))


def all_over_sockets() -> list[Leaving]:
    """Every route, moment, end and way to send."""
    return [
        Leaving(route, moment, end, is_apart)
        for route in ROUTES
        for moment in MOMENTS
        for end in ENDS
        for is_apart in (False, True)
    ]


def with_httpx(url: str) -> None:
    """Httpx gives up waiting for a picture."""
    with suppress(httpx.ReadTimeout):
        httpx.post(f"{url}/v1/images/generations", json=LONG_PICTURE, timeout=0.5)


def with_sdk(url: str) -> None:
    """The OpenAI SDK gives up waiting for a picture."""
    client = openai.OpenAI(base_url=f"{url}/v1", api_key="none", max_retries=0, timeout=0.5)
    with client, suppress(openai.APITimeoutError):
        client.images.generate(prompt="a red circle", n=4, extra_body={"steps": 150})


def with_sdk_stream(url: str) -> None:
    """The OpenAI SDK leaves a chat in the middle of its stream."""
    with openai.OpenAI(base_url=f"{url}/v1", api_key="none", max_retries=0) as client:
        sent: Any = {name: value for name, value in LONG_CHAT.items() if name != "logit_bias"}
        with client.chat.completions.create(**sent) as events:
            next(iter(events), None)


def with_cancelled_sdk(url: str) -> None:
    """A task with the asynchronous SDK is cancelled while it waits for a picture."""

    async def ask() -> None:
        async with openai.AsyncOpenAI(base_url=f"{url}/v1", api_key="none", max_retries=0) as client:
            asking = asyncio.create_task(client.images.generate(prompt="a ring", n=4, extra_body={"steps": 150}))
            await asyncio.sleep(0.5)
            asking.cancel()
            with suppress(asyncio.CancelledError):
                await asking

    asyncio.run(ask())


def with_curl(url: str) -> None:
    """`curl -F` waits no longer than half a second."""
    fields = ("image=@-;filename=a.png", "prompt=make it blue", "steps=150", "n=4")
    command = [
        "curl",
        "-s",
        "-m",
        "0.5",
        *(part for field in fields for part in ("-F", field)),
        f"{url}/v1/images/edits",
    ]
    subprocess.run(command, input=_picture(), capture_output=True, check=False)


REAL_CLIENTS: Final[tuple[Callable[[str], None], ...]] = (
    with_httpx, with_sdk, with_sdk_stream, with_cancelled_sdk, with_curl
)  # fmt: skip


def any_way(chance: random.Random) -> Callable[[str], None]:
    """Some way to leave."""
    if chance.random() < 0.3:
        return chance.choice(REAL_CLIENTS)
    stays = chance.choice((0.0, 0.2, 1.0, 5.0))
    leaving = Leaving(chance.choice(ROUTES), chance.choice(MOMENTS), chance.choice(ENDS), chance.random() < 0.5)
    return lambda url: leaving.run(url, stays)


def _request(route: Route) -> tuple[bytes, bytes]:
    """Head and body."""
    match route:
        case "picture":
            return _json("/v1/images/generations", LONG_PICTURE)
        case "partial pictures":
            return _json("/v1/images/generations", {**LONG_PICTURE, "n": 1, "stream": True, "partial_images": 3})
        case "chat":
            return _json("/v1/chat/completions", LONG_CHAT)
        case "response":
            return _json("/v1/responses", {"model": "vlm-fast", "stream": True, "input": COUNTING})
        case "drawn response":
            tool = {"type": "image_generation", "partial_images": 3, "steps": 150}
            drawn = {"model": "atelier", "stream": True, "input": "a red circle", "tools": [tool]}
            return _json("/v1/responses", {**drawn, "tool_choice": "required"})
        case "message":
            messages = [{"role": "user", "content": COUNTING}]
            return _json("/v1/messages", {"model": "atelier", "max_tokens": 2000, "stream": True, "messages": messages})
        case "speech":
            return _json("/v1/audio/speech", LONG_SPEECH)
        case "transcription":
            return _form("/v1/audio/transcriptions", "file", _sound(), model="listen", stream="true")
        case "upload":
            return _form("/v1/projects/soak/images", "file", _picture() + bytes(500_000))
        case "caption":
            return _form("/api/caption-images?model=gemma", "images", _picture())


def _json(path: str, body: Any) -> tuple[bytes, bytes]:
    return _head(path, "application/json", content := json.dumps(body).encode()), content


def _form(path: str, name: str, data: bytes, **fields: str) -> tuple[bytes, bytes]:
    begin = '--bound\r\nContent-Disposition: form-data; name="'
    texts = "".join(f'{begin}{field}"\r\n\r\n{text}\r\n' for field, text in fields.items())
    content = f'{texts}{begin}{name}"; filename="a.png"\r\n\r\n'.encode() + data + b"\r\n--bound--\r\n"
    return _head(path, "multipart/form-data; boundary=bound", content), content


def _head(path: str, kind: str, content: bytes) -> bytes:
    lines = (f"POST {path} HTTP/1.1", "Host: x", f"Content-Type: {kind}", f"Content-Length: {len(content)}", "", "")
    return "\r\n".join(lines).encode()


@cache
def _sound() -> bytes:
    """Somebody who reads aloud, 38 s: a recording that the built-in recogniser's package brings along."""
    package: Any = import_module("moonshine_voice")
    return (Path(package.get_assets_path()) / "two_cities.wav").read_bytes()


def _picture() -> bytes:
    encoded = io.BytesIO()
    Image.effect_noise((64, 64), 50).save(encoded, "PNG")
    return encoded.getvalue()
