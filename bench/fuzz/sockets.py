"""Bytes that are hardly HTTP, over plain sockets, sent whole, in pieces, or only in part."""

from __future__ import annotations

import random
import socket
import time
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from typing import Final
from urllib.parse import urlsplit

from bench.fuzz.verdict import HANGS_AFTER, Tally

_PATHS: Final = ("/healthz", "/v1/models", "/v1/chat/completions", "/v1/images/edits", "/upload", "/nowhere")
_BODY: Final = b'{"prompt": "a red circle", "steps": 1}'


def run(url: str, seed: int, seconds: float, workers: int) -> Tally:
    """Send such bytes for so long, from so many threads; the same seed sends the same to each."""
    tally = Tally("raw")
    until = time.monotonic() + seconds
    address = (urlsplit(url).hostname or "127.0.0.1", urlsplit(url).port or 80)
    with ThreadPoolExecutor(workers) as pool:
        list(pool.map(lambda number: _work(address, random.Random(f"{seed}/{number}"), until, tally), range(workers)))
    return tally


def _work(address: tuple[str, int], chance: random.Random, until: float, tally: Tally) -> None:
    while time.monotonic() < until:
        sent, is_whole = chance.choice(_KINDS)(chance)
        _exchange(address, chance, sent, is_whole, tally)


def _exchange(address: tuple[str, int], chance: random.Random, sent: bytes, is_whole: bool, tally: Tally) -> None:
    """Send the bytes. A whole request must be answered, or its connection closed; others may be left waiting."""
    begun = time.monotonic()
    try:
        with socket.create_connection(address, timeout=HANGS_AFTER) as connection:
            with suppress(OSError):  # it may have been refused before all of it was sent
                for piece in _pieces(sent, chance):
                    connection.sendall(piece)
            if not is_whole:
                if chance.random() < 0.5:
                    connection.shutdown(socket.SHUT_WR)
                tally.add("left")
                return
            answer = b""
            while b"\r\n" not in answer and (piece := connection.recv(4096)):
                answer += piece
    except TimeoutError:
        tally.add("hangs", f"neither answered nor closed in {time.monotonic() - begun:.0f} s", repr(sent[:1500]))
        return
    except OSError:
        tally.add("closed")
        return
    status = answer.split(b" ", 2)[1:2]
    if not status:
        tally.add("closed")
        return
    told = status[0].decode(errors="replace")
    tally.add(
        told, f"{told} over a plain socket" if told.startswith("5") and told != "503" else None, repr(sent[:1500])
    )


def _pieces(sent: bytes, chance: random.Random) -> list[bytes]:
    if len(sent) < 2 or chance.random() < 0.5:
        return [sent]
    middle = chance.randrange(1, len(sent))
    return [sent[:middle], sent[middle:]]


def _head(chance: random.Random, *more: str, method: str = "POST", version: str = "HTTP/1.1") -> bytes:
    lines = [f"{method} {chance.choice(_PATHS)} {version}", "Host: x", "Content-Type: application/json", *more]
    return ("\r\n".join((*lines, "Connection: close")) + "\r\n\r\n").encode("latin-1")


def _noise(chance: random.Random) -> tuple[bytes, bool]:
    return chance.randbytes(chance.choice((1, 20, 3000))) + b"\r\n\r\n", False


def _flipped(chance: random.Random) -> tuple[bytes, bool]:
    sent = bytearray(_head(chance, f"Content-Length: {len(_BODY)}") + _BODY)
    for _ in range(chance.choice((1, 3, 10))):
        sent[chance.randrange(len(sent))] = chance.randrange(256)
    return bytes(sent), False


def _lengths(chance: random.Random) -> tuple[bytes, bool]:
    """A length that is none, or that says too little; none of them leaves the server waiting."""
    length = chance.choice(("-1", "abc", "", "0", "5", "1e3", "0x10", "9" * 40, "99999999999"))
    return _head(chance, f"Content-Length: {length}") + _BODY, not length.startswith("9")


def _smuggled(chance: random.Random) -> tuple[bytes, bool]:
    more = chance.choice((
        ("Content-Length: 4", "Content-Length: 38"),
        ("Content-Length: 38", "Transfer-Encoding: chunked"),
        ("Transfer-Encoding: chunked, identity",),
        ("Transfer-Encoding: xchunked", "Content-Length: 38"),
    ))  # fmt: skip
    return _head(chance, *more) + b"0\r\n\r\n" + _BODY, True


def _chunked(chance: random.Random) -> tuple[bytes, bool]:
    size = f"{len(_BODY):x}".encode()
    chunks, is_whole = chance.choice((
        (size + b"\r\n" + _BODY + b"\r\n0\r\n\r\n", True),
        (size + b";a=b\r\n" + _BODY + b"\r\n0\r\nX: y\r\n\r\n", True),
        (b"zz\r\n" + _BODY + b"\r\n0\r\n\r\n", True),
        (b"ffffffffffffffffff\r\n" + _BODY, True),
        (b"-1\r\n" + _BODY + b"\r\n0\r\n\r\n", True),
        (size + b"\r\n" + _BODY[:10], False),
    ))  # fmt: skip
    return _head(chance, "Transfer-Encoding: chunked") + chunks, is_whole


def _heads(chance: random.Random) -> tuple[bytes, bool]:
    more = chance.choice((
        ["X: " + "a" * 100_000],
        [f"X-{number}: 1" for number in range(500)],
        ["X: a\r\n b"],
        [": empty"],
        ["X y: 1"],
        ["X: \x00"],
        ["Host: y"],
        ["x-request-id: " + "é" * 200],
        ["Expect: 100-continue", "Content-Length: 38"],
        ["Upgrade: h2c", "HTTP2-Settings: AAMAAABkAAQAAP__", "Content-Length: 0"],
    ))  # fmt: skip
    return _head(chance, *more, method="GET") + (_BODY if "Content-Length: 38" in more else b""), True


def _lines(chance: random.Random) -> tuple[bytes, bool]:
    line = chance.choice((
        b"GET http://example.com/healthz HTTP/1.1", b"CONNECT example.com:443 HTTP/1.1", b"OPTIONS * HTTP/1.1",
        b"GET /healthz HTTP/1.0", b"GET /" + b"a" * 30_000 + b" HTTP/1.1", b"BREW /v1/models HTTP/1.1",
        b"GET //..//..//etc/passwd HTTP/1.1", b"GET /v1/models/%ff%fe HTTP/1.1", b"GET /\xff\xfe HTTP/1.1",
        b"GET /healthz?" + b"a=b&" * 2000 + b" HTTP/1.1", b"TRACE / HTTP/1.1", b"GET /%2e%2e/%2e%2e HTTP/1.1",
    ))  # fmt: skip
    return line + b"\r\nHost: x\r\nConnection: close\r\n\r\n", True


def _pipelined(chance: random.Random) -> tuple[bytes, bool]:
    one = b"GET " + chance.choice(_PATHS[:2]).encode() + b" HTTP/1.1\r\nHost: x\r\n\r\n"
    return one * chance.choice((2, 20)) + one.replace(b"\r\n\r\n", b"\r\nConnection: close\r\n\r\n"), True


def _websocket(chance: random.Random) -> tuple[bytes, bool]:
    more = ("Upgrade: websocket", "Sec-WebSocket-Version: 13", "Sec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==")
    return _head(chance, *more, method="GET").replace(b"Connection: close", b"Connection: Upgrade"), True


def _unfinished(chance: random.Random) -> tuple[bytes, bool]:
    whole = _head(chance, f"Content-Length: {len(_BODY) + chance.choice((0, 5))}") + _BODY
    return whole[: chance.randrange(len(whole))], False


_KINDS: Final[tuple[Callable[[random.Random], tuple[bytes, bool]], ...]] = (
    _noise, _flipped, _lengths, _smuggled, _chunked, _heads, _lines, _pipelined, _websocket, _unfinished
)  # fmt: skip
