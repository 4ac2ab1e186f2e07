"""A hub of one machine: as much of the Hugging Face hub as a download needs, over a folder; it can stall."""

from __future__ import annotations

import hashlib
import json
import sys
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any
from urllib.parse import unquote, urlsplit

import pytest
from huggingface_hub import constants

REVISION = "0123456789abcdef0123456789abcdef01234567"


class Hub:
    """Every repository is `folder`. Bodies of weights come only while `flows` is set, all else only while `answers` is.

    `asked` has the paths of all requests; `stalled` is set once somebody waits for weights. While `is_gated`,
    files are refused for want of an accepted licence.
    """

    url = ""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.is_gated = False
        self.flows, self.answers, self.stalled = threading.Event(), threading.Event(), threading.Event()
        self.flows.set()
        self.answers.set()
        self.asked: list[str] = []

    def files(self) -> dict[str, Path]:
        """By name in the repository."""
        return {str(path.relative_to(self.folder)): path for path in self.folder.rglob("*") if path.is_file()}


@contextmanager
def running_hub(folder: Path, cache: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Hub]:
    """A hub that this process takes for the only one, with an empty cache."""
    hub = Hub(folder)
    server = ThreadingHTTPServer(("127.0.0.1", 0), _handler(hub))
    server.daemon_threads = True
    threading.Thread(target=server.serve_forever, daemon=True).start()
    endpoint = hub.url = f"http://127.0.0.1:{server.server_port}"
    monkeypatch.setattr(constants, "ENDPOINT", endpoint)
    monkeypatch.setattr(constants, "HUGGINGFACE_CO_URL_TEMPLATE", endpoint + "/{repo_id}/resolve/{revision}/{filename}")
    monkeypatch.setattr(constants, "HF_HUB_CACHE", str(cache))
    monkeypatch.setattr(constants, "HF_HUB_OFFLINE", False)
    if transformers_hub := sys.modules.get("transformers.utils.hub"):  # it keeps to the first hub that it has seen
        monkeypatch.setattr(transformers_hub, "_hf_api", None)
    try:
        yield hub
    finally:
        hub.flows.set()
        hub.answers.set()
        server.shutdown()
        server.server_close()


def _handler(hub: Hub) -> type[BaseHTTPRequestHandler]:
    class Handler(BaseHTTPRequestHandler):
        def do_HEAD(self) -> None:
            self._answer(with_body=False)

        def do_GET(self) -> None:
            self._answer(with_body=True)

        def _answer(self, *, with_body: bool) -> None:
            hub.asked.append(self.path)
            hub.answers.wait()
            path = unquote(urlsplit(self.path).path)
            if "/resolve/" in path:
                self._file(path.split("/resolve/")[1].partition("/")[2], with_body=with_body)
            elif path.endswith("/auth-check") and hub.is_gated:
                self.send_response(403)
                self.send_header("X-Error-Code", "GatedRepo")
                self.send_header("Content-Length", "0")
                self.end_headers()
            elif "/tree/" in path:
                entries = [
                    {"type": "file", "path": name, "size": each.stat().st_size, "oid": _etag(each)}
                    for name, each in hub.files().items()
                ]
                self._json(entries)
            else:
                siblings = [{"rfilename": name, "size": each.stat().st_size} for name, each in hub.files().items()]
                self._json({"id": "test/model", "sha": REVISION, "siblings": siblings})

        def _file(self, name: str, *, with_body: bool) -> None:
            found = hub.files().get(name)
            if found is None or hub.is_gated:
                self.send_response(404 if found is None else 403)
                self.send_header("X-Error-Code", "EntryNotFound" if found is None else "GatedRepo")
                self.send_header("X-Repo-Commit", REVISION)
                self.send_header("Content-Length", "0")
                self.end_headers()
                return
            content = found.read_bytes()
            self.send_response(200)
            self.send_header("ETag", f'"{_etag(found)}"')
            self.send_header("X-Repo-Commit", REVISION)
            self.send_header("Content-Length", str(len(content)))
            self.end_headers()
            if not with_body:
                return
            if name.endswith(".safetensors"):
                self.wfile.write(content[: len(content) // 2])
                if not hub.flows.is_set():
                    hub.stalled.set()
                    hub.flows.wait()
                content = content[len(content) // 2 :]
            self.wfile.write(content)

        def _json(self, value: Any) -> None:
            body = json.dumps(value).encode()
            self.send_response(200)
            self.send_header("Content-Type", "application/json")
            self.send_header("Content-Length", str(len(body)))
            self.end_headers()
            self.wfile.write(body)

        def log_message(self, *_: object) -> None:
            """Nothing: the tests look at `asked`."""

    return Handler


def _etag(path: Path) -> str:
    return hashlib.sha1(path.read_bytes(), usedforsecurity=False).hexdigest()
