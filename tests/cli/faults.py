"""What a command may meet: servers of all kinds, a disk that is full, files that belong to others, Ctrl-C."""

from __future__ import annotations

import base64
import ctypes
import hashlib
import json
import os
import resource
import signal
import sys
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler
from pathlib import Path
from typing import Any

from tests.api.pictures import png
from tests.cli.test_server import answer, saying

PICTURE = png()
RECORD = {
    "id": "0" * 36, "project_id": "p", "r2_key": "p/picture.png", "original_filename": "picture.png",
    "size_bytes": len(PICTURE), "sha256": hashlib.sha256(PICTURE).hexdigest(),
}  # fmt: skip
_CAPABILITIES_VERSION = 0x20080522
_OF_FILES = 1 << 1 | 1 << 2
"""CAP_DAC_OVERRIDE and CAP_DAC_READ_SEARCH of capabilities(7): with them every file is one's own."""


@contextmanager
def refusing(status: int, message: str, code: str | None) -> Iterator[str]:
    """The URL of a server that answers so to everything, in Atelier's words."""
    body = json.dumps({"error": {"message": message, "type": "some_error", "param": None, "code": code}})
    with saying(lambda handler, _: answer(handler, status, body)) as (url, _):
        yield url


@contextmanager
def interrupting(at: str) -> Iterator[str]:
    """A server that begins the answer of a route whose path ends so, and never ends it: Ctrl-C comes first."""
    over = threading.Event()

    def say(handler: BaseHTTPRequestHandler, _: int) -> None:
        if not handler.path.endswith(at):
            _work(handler)
            return
        if at:
            handler.send_response(200)
            handler.send_header("content-length", "100000")
            handler.end_headers()
            handler.wfile.write(PICTURE[:100])
            handler.wfile.flush()
        os.kill(os.getpid(), signal.SIGINT)
        over.wait(60)

    # whatever started the tests in the background may have made them deaf to it
    before = signal.signal(signal.SIGINT, signal.default_int_handler)
    try:
        with saying(say) as (url, _):
            yield url
            over.set()
    finally:
        signal.signal(signal.SIGINT, before)


@contextmanager
def working() -> Iterator[str]:
    """A server that does what it is asked, with one picture."""
    with saying(lambda handler, _: _work(handler)) as (url, _):
        yield url


def _work(handler: BaseHTTPRequestHandler) -> None:
    path = handler.path.partition("?")[0]
    picture = {"type": "completed", "b64_json": base64.b64encode(PICTURE).decode(), "size": "64x64"}
    answers: dict[str, dict[str, Any]] = {
        "/v1/projects": {"projects": [{"project_id": "p", "image_count": 1}]},
        "/v1/projects/p/images": {"images": [RECORD], "has_more": False, "next": None},
        "/v1/system/load/chat": {"alias": "chat", "seconds": 1.0},
    }
    body = answers.get(path, {})
    if path.startswith("/v1/images/"):
        picture["type"] = "image_generation.completed"
        content = f"data: {json.dumps(picture)}\n\n".encode()
    elif path.endswith("/file") or path == "/v1/audio/speech":
        content = PICTURE
    else:
        content = json.dumps(RECORD if handler.command == "POST" and path.endswith("/images") else body).encode()
    handler.send_response(200)
    handler.send_header("content-length", str(len(content)))
    handler.end_headers()
    handler.wfile.write(content)


@contextmanager
def full_disk() -> Iterator[None]:
    """No file can grow."""
    before = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (0, before[1]))
    try:
        yield
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, before)


@contextmanager
def without_permission(path: Path) -> Iterator[None]:
    """Nobody may read a file; or write into a folder. For root too, on Linux."""
    before = path.stat().st_mode
    path.chmod(0o500 if path.is_dir() else 0)
    try:
        with _as_anybody():
            yield
    finally:
        path.chmod(before)


@contextmanager
def _as_anybody() -> Iterator[None]:
    """This thread, and those that it starts, without root's rights over others' files."""
    if sys.platform != "linux" or os.geteuid() != 0:
        yield
        return
    libc = ctypes.CDLL(None, use_errno=True)
    header = (ctypes.c_uint32 * 2)(_CAPABILITIES_VERSION, 0)
    rights = (ctypes.c_uint32 * 6)()  # effective, permitted, inheritable; and again for those above 31
    assert libc.capget(header, rights) == 0, os.strerror(ctypes.get_errno())
    before = rights[0]
    rights[0] = before & ~_OF_FILES
    assert libc.capset(header, rights) == 0, os.strerror(ctypes.get_errno())
    try:
        yield
    finally:
        rights[0] = before
        assert libc.capset(header, rights) == 0, os.strerror(ctypes.get_errno())
