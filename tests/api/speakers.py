"""Users of models that speak: many at once, on and on, and what the server says of it meanwhile."""

from __future__ import annotations

import itertools
import threading
import time
from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from typing import Any

import httpx

_numbers = itertools.count()


def new_text(sentences: int = 1) -> str:
    """What nobody has asked for before."""
    return " ".join([f"This is sentence number {next(_numbers)}."] * sentences)


def ask_a(http: httpx.Client) -> httpx.Response:
    return speak(http, "a")


def ask_b(http: httpx.Client, sentences: int = 1) -> httpx.Response:
    return speak(http, "b", sentences)


def speak(http: httpx.Client, model: str, sentences: int = 1, voice: str = "alloy") -> httpx.Response:
    spoken = {"model": model, "input": new_text(sentences), "voice": voice, "response_format": "wav"}
    return http.post("/v1/audio/speech", json=spoken)


def at_once(ask: Callable[[httpx.Client], httpx.Response], http: httpx.Client, count: int = 20) -> list[int]:
    with ThreadPoolExecutor(count) as callers:
        return [answer.status_code for answer in callers.map(lambda _: ask(http), range(count))]


@contextmanager
def asking_on(asks: Iterable[Callable[[], httpx.Response]]) -> Iterator[list[int]]:
    """Users of whom each asks again and again until the end; the status of every answer."""
    over = threading.Event()
    answers: list[int] = []

    def use(ask: Callable[[], httpx.Response]) -> None:
        while not over.is_set():
            answers.append(ask().status_code)
            time.sleep(0.02)

    users = [threading.Thread(target=use, args=[ask]) for ask in asks]
    for user in users:
        user.start()
    try:
        yield answers
    finally:
        over.set()
        for user in users:
            user.join()


def workers(http: httpx.Client) -> dict[str, Any]:
    found: dict[str, Any] = http.get("/v1/system/status").raise_for_status().json()["workers"]
    return found


def wait_until(holds: Callable[[], bool], seconds: float = 120) -> None:
    deadline = time.monotonic() + seconds
    while not holds():
        assert time.monotonic() < deadline
        time.sleep(0.2)


def loads(http: httpx.Client, alias: str) -> int:
    worker = workers(http).get(alias)
    return worker["loads"] if worker else 0
