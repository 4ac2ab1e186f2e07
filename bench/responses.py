"""What the Responses API adds to a chat: `python -m bench.responses`.

A server of its own is asked for the same answer as a streamed chat and as a streamed response, in turns, each on a
connection of its own: until the first token of the chat, until the response's first event and first token, and whole
answers with `store` and without. Differences are taken pair by pair, since the machine is not always equally fast.
"""

from __future__ import annotations

import contextlib
import http.client
import json
import os
import platform
import statistics
import time
from collections.abc import Callable, Sequence
from typing import Any

import httpx
from rich.console import Console
from rich.table import Table

from bench.overhead import built, running_server, seconds

MODEL = "vlm-fast"
QUESTION = "What can you do?"
TOKENS = 16
ROUNDS = 51
FIRST_TOKEN = b'"content":"'
FIRST_WORDS = b"response.output_text.delta"
NO_WORDS = b'"content":""'


def main() -> None:
    """Measure and print."""
    console = Console(width=120)
    table = Table("in turns, median", "one", "the other", "difference", "middle half")
    with running_server() as server:
        load(server.client)
        address = server.client.base_url
        chat = Stream(address, "/v1/chat/completions", chat_body(), has_token)
        event = Stream(address, "/v1/responses", response_body(stream=True), lambda line: line.startswith(b"event:"))
        words = Stream(address, "/v1/responses", response_body(stream=True), lambda line: FIRST_WORDS in line)
        table.add_row("first token of a chat; first event of a response", *compared(chat.seconds, event.seconds))
        table.add_row("first token of a chat; of a response", *compared(chat.seconds, words.seconds))
        forgotten, kept = (whole_response(server.client, stores=stores) for stores in (False, True))
        asked = compared(lambda: seconds(forgotten), lambda: seconds(kept))
        table.add_row("a response with store: false; true", *asked)
    console.print(f"{platform.machine()}, {os.cpu_count()} cores, Python {platform.python_version()}")
    console.print(table)


def load(client: httpx.Client) -> None:
    """Have the model loaded, however long that takes."""
    while True:
        with contextlib.suppress(httpx.TransportError):
            answer = client.post("/v1/responses", json=response_body(store=False), timeout=600)
            if answer.status_code == httpx.codes.OK:
                return
        time.sleep(1)


class Stream:
    """A request whose answer is streamed, and which of its lines is waited for."""

    def __init__(self, address: httpx.URL, path: str, body: dict[str, Any], is_it: Callable[[bytes], bool]) -> None:
        self._address, self._path, self._is_it = address, path, is_it
        self._body = json.dumps(body).encode()

    def seconds(self) -> float:
        """From the request to the line; the rest of the answer is read too.

        Raises:
            RuntimeError: the line has not come.
        """
        connection = http.client.HTTPConnection(self._address.host, self._address.port or 80, timeout=120)
        connection.connect()
        begun = time.perf_counter()
        connection.request("POST", self._path, self._body, {"Content-Type": "application/json"})
        answer = connection.getresponse()
        took: float | None = None
        last = b""
        while line := answer.readline():
            last = line.strip() or last
            if took is None and self._is_it(line):
                took = time.perf_counter() - begun
        connection.close()
        if took is None:
            raise RuntimeError(f"{self._path}: {answer.status}, without what was waited for: {last[:200]!r}")
        return took


def chat_body() -> dict[str, Any]:
    """The chat."""
    messages = [{"role": "user", "content": QUESTION}]
    return {"model": MODEL, "messages": messages, "max_tokens": TOKENS, "stream": True}


def response_body(**told: Any) -> dict[str, Any]:
    """The same as a response."""
    return {"model": MODEL, "input": QUESTION, "max_output_tokens": TOKENS, **told}


def has_token(line: bytes) -> bool:
    """Whether it is a chunk with text."""
    line = line.replace(b": ", b":")
    return FIRST_TOKEN in line and NO_WORDS not in line


def whole_response(client: httpx.Client, *, stores: bool) -> Callable[[], bytes]:
    """A response that is not streamed, as a call."""
    return built(client.build_request("POST", "/v1/responses", json=response_body(store=stores)))


def compared(one: Callable[[], float], other: Callable[[], float]) -> Sequence[str]:
    """The medians of two, taken in turns, and of what the other takes longer."""
    one(), other()  # the first of a kind does not count
    pairs = [(one(), other()) for _ in range(ROUNDS)]
    longer = [late - early for early, late in pairs]
    first, middle, third = statistics.quantiles(longer, n=4)
    medians = [statistics.median(each) for each in zip(*pairs, strict=True)]
    return [f"{each * 1000:.1f} ms" for each in (*medians, middle)] + [f"{first * 1000:.1f} to {third * 1000:.1f} ms"]


if __name__ == "__main__":
    main()
