"""Upstream servers that say what a test tells them to."""

from __future__ import annotations

import json
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any


@dataclass
class Pretender:
    """An HTTP server that says what the test tells it to."""

    say: Callable[[BaseHTTPRequestHandler], None]
    url: str = ""
    asked: list[dict[str, Any]] = field(default_factory=list)
    headers: list[dict[str, str]] = field(default_factory=list)


@contextmanager
def pretending(say: Callable[[BaseHTTPRequestHandler], None]) -> Iterator[Pretender]:
    pretender = Pretender(say)

    class Handler(BaseHTTPRequestHandler):
        def do_POST(self) -> None:
            pretender.asked.append(json.loads(self.rfile.read(int(self.headers["content-length"]))))
            pretender.headers.append({name.lower(): value for name, value in self.headers.items()})
            say(self)

        def log_message(self, *_: object) -> None:
            """Nothing on stderr."""

    with ThreadingHTTPServer(("127.0.0.1", 0), Handler) as server:
        server.daemon_threads = True
        thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.02})
        thread.start()
        pretender.url = f"http://127.0.0.1:{server.server_address[1]}/v1"
        try:
            yield pretender
        finally:
            server.shutdown()
            thread.join()


def begin(handler: BaseHTTPRequestHandler, media: str = "text/event-stream", status: int = 200) -> None:
    handler.send_response(status)
    handler.send_header("content-type", media)
    handler.end_headers()


def event(handler: BaseHTTPRequestHandler, body: object) -> None:
    handler.wfile.write(f"data: {body if isinstance(body, str) else json.dumps(body)}\n\n".encode())
    handler.wfile.flush()


def chunk(text: str | None = None, end: str | None = None, **more: object) -> dict[str, Any]:
    choice = {"index": 0, "delta": {} if text is None else {"content": text}, "finish_reason": end}
    return {"id": "1", "object": "chat.completion.chunk", "created": 1, "model": "m", "choices": [choice], **more}


def saying(*bodies: object) -> Callable[[BaseHTTPRequestHandler], None]:
    """A stream of these events, and its end."""

    def say(handler: BaseHTTPRequestHandler) -> None:
        begin(handler)
        for body in bodies:
            event(handler, body)

    return say


def refusing(status: int, message: str) -> Callable[[BaseHTTPRequestHandler], None]:
    def say(handler: BaseHTTPRequestHandler) -> None:
        begin(handler, "application/json", status)
        handler.wfile.write(json.dumps({"error": {"message": message, "param": "messages", "code": "odd"}}).encode())

    return say


FINE = saying(chunk("Hel"), chunk("lo"), chunk(end="stop"), "[DONE]")
