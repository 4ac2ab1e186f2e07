"""Clients that ask the same again and again, know the right answer, and remember what was acknowledged."""

from __future__ import annotations

import base64
import hashlib
import io
import itertools
import threading
import time
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any, Final

import httpx
from PIL import Image

from bench.asking import chat, digest, picture, speech

PATIENCE: Final = 60.0
"""Seconds that a client waits for an answer."""
_PROJECT: Final = "/v1/projects/drill/images"


@dataclass(frozen=True)
class Outcome:
    """What came of one request: `status` is an HTTP status, or the name of what went wrong with the connection."""

    kind: str
    begun: float
    ended: float
    status: str
    is_right: bool


@dataclass
class Load:
    """Threads that ask a server until they are stopped; what came of each request, and what was acknowledged."""

    url: str
    large: bool = False
    outcomes: list[Outcome] = field(default_factory=list)
    acknowledged: dict[str, str] = field(default_factory=dict)
    """The digest of each picture that was uploaded and answered with 200, by its id."""
    _stop: threading.Event = field(default_factory=threading.Event)
    _threads: list[threading.Thread] = field(default_factory=list)
    _expected: dict[str, str] = field(default_factory=dict)

    def start(self) -> None:
        """Ask everything once, so that models are loaded and right answers known; then begin."""
        kinds: dict[str, Callable[[httpx.Client], Any]] = {
            "health": _health,
            "picture": picture,
            "question": _question,
            "speech": speech,
            "search": _search,
        }
        if self.large:
            kinds["large question"] = _large_question
        with httpx.Client(base_url=self.url, timeout=PATIENCE * 2) as client:
            self._upload(client)
            for kind, ask in kinds.items():
                self._expected[kind] = digest(ask(client))
        for kind, ask in (*kinds.items(), ("upload", self._upload)):
            self._threads.append(threading.Thread(target=self._ask_on, args=(kind, ask), name=kind))
        for thread in self._threads:
            thread.start()

    def stop(self) -> None:
        """End all threads; a request under way is waited for."""
        self._stop.set()
        for thread in self._threads:
            thread.join()

    def seconds_without(self, kind: str, since: float) -> float:
        """The longest time after `since` in which no request of a kind was answered rightly."""
        right = [each.ended for each in list(self.outcomes) if each.kind == kind and each.is_right]
        moments = [since, *(ended for ended in right if ended > since), time.monotonic()]
        return max(after - before for before, after in itertools.pairwise(moments))

    def is_well(self, since: float) -> bool:
        """Whether a request of every kind that began after `since` was answered rightly."""
        well = {each.kind for each in list(self.outcomes) if each.is_right and each.begun > since}
        return well >= {thread.name for thread in self._threads}

    def lost(self) -> list[str]:
        """What was acknowledged and is not there, or not as it was."""
        missing = []
        with httpx.Client(base_url=self.url, timeout=PATIENCE, follow_redirects=True) as client:
            for found, digest in self.acknowledged.items():
                answer = client.get(f"{_PROJECT}/{found}/file")
                if answer.status_code != 200 or hashlib.sha256(answer.content).hexdigest() != digest:
                    missing.append(f"{found}: {answer.status_code}")
        return missing

    def _ask_on(self, kind: str, ask: Callable[[httpx.Client], Any]) -> None:
        with httpx.Client(base_url=self.url, timeout=PATIENCE) as client:
            while not self._stop.is_set():
                begun = time.monotonic()
                is_right = False
                try:
                    answer = ask(client)
                    status = "200"
                    is_right = kind == "upload" or digest(answer) == self._expected[kind]
                except httpx.HTTPStatusError as error:
                    status = str(error.response.status_code)
                except httpx.TransportError as error:
                    status = type(error).__name__
                self.outcomes.append(Outcome(kind, begun, time.monotonic(), status, is_right))
                self._stop.wait(0.05 if is_right else 0.25)

    def _upload(self, client: httpx.Client) -> None:
        data = _noise(len(self.acknowledged))
        answer = client.post(_PROJECT, files={"file": ("a.png", data)})
        answer.raise_for_status()
        self.acknowledged[answer.json()["id"]] = hashlib.sha256(data).hexdigest()


def _noise(number: int) -> bytes:
    encoded = io.BytesIO()
    seed = hashlib.sha512(f"{number}{time.monotonic()}".encode()).digest()
    Image.frombytes("RGB", (32, 32), (seed * 48)[: 32 * 32 * 3]).save(encoded, "PNG")
    return encoded.getvalue()


def _health(client: httpx.Client) -> str:
    return str(client.get("/healthz").raise_for_status().json()["status"])


def _question(client: httpx.Client) -> str:
    return _ask_about(client, "png", _square(64, "PNG"))


def _large_question(client: httpx.Client) -> str:
    return _ask_about(client, "bmp", _square(2000, "BMP"))


def _ask_about(client: httpx.Client, kind: str, picture: bytes) -> str:
    url = f"data:image/{kind};base64,{base64.b64encode(picture).decode()}"
    content = [{"type": "text", "text": "What colour is the square?"}, {"type": "image_url", "image_url": {"url": url}}]
    return chat(client, content)


def _search(client: httpx.Client) -> int:
    sent = {"query": "a red circle", "limit": 1}
    return len(client.post(f"{_PROJECT}/search", json=sent).raise_for_status().json()["results"])


def _square(side: int, form: str) -> bytes:
    """A red square in the middle of a blue one of so many pixels a side."""
    encoded = io.BytesIO()
    picture = Image.new("RGB", (side, side), "blue")
    picture.paste("red", (side // 4, side // 4, side * 3 // 4, side * 3 // 4))
    picture.save(encoded, form)
    return encoded.getvalue()
