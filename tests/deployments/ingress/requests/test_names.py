"""Host names whose DNS server says nothing: who needs them waits for a while, and nobody else does."""

from __future__ import annotations

import asyncio
import socket
import threading
from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path
from typing import Any

import pytest

from deployments.executors import NAMES, ExecutorFull
from deployments.ingress.errors import ApiError
from deployments.ingress.requests import remote_pictures
from deployments.ingress.requests.remote_pictures import fetch
from settings import Settings
from tests.deployments.apps import client, make_app, settings_of

_ANSWERED = [(socket.AF_INET, socket.SOCK_STREAM, 6, "", ("127.0.0.1", 80))]


class Silence:
    """The system's resolver, of which names under `.silent` get no answer until `over` is set."""

    def __init__(self) -> None:
        self.over = threading.Event()
        self.asked: list[str] = []
        self._really = socket.getaddrinfo

    def getaddrinfo(self, host: Any, *args: Any, **kwargs: Any) -> Any:
        self.asked.append(str(host))
        if str(host).endswith(".silent"):
            self.over.wait(60)
            raise socket.gaierror(socket.EAI_AGAIN, "Temporary failure in name resolution")
        if str(host).endswith(".example"):
            return _ANSWERED
        return self._really(host, *args, **kwargs)

    async def are_asked(self, count: int) -> None:
        """Return once so many names have been looked up."""
        async with asyncio.timeout(20):
            while len(self.asked) < count:  # noqa: ASYNC110 - asked by threads, which tell no event loop
                await asyncio.sleep(0.01)


@pytest.fixture
def silence(monkeypatch: pytest.MonkeyPatch) -> Iterator[Silence]:
    silent = Silence()
    monkeypatch.setattr(socket, "getaddrinfo", silent.getaddrinfo)
    yield silent
    silent.over.set()


@pytest.fixture
def settings(tmp_path: Path) -> Settings:
    return settings_of(tmp_path, {"ATELIER_ALLOW_REMOTE_IMAGES": "1"})


async def refusal(url: str, settings: Settings) -> tuple[int, str]:
    with pytest.raises(ApiError) as refused:
        await fetch(url, "image", settings)
    assert refused.value.param == "image"
    return refused.value.status, refused.value.message


async def idle() -> None:
    """Return once no thread looks a name up."""
    async with asyncio.timeout(20):
        while NAMES.calls:  # noqa: ASYNC110 - threads end, and tell no event loop
            await asyncio.sleep(0.01)


async def test_a_name_that_is_never_answered_is_given_up_in_words_and_takes_one_thread_for_all_who_ask(
    silence: Silence, settings: Settings, monkeypatch: pytest.MonkeyPatch
) -> None:
    assert remote_pictures._SECONDS <= 20
    monkeypatch.setattr(remote_pictures, "_SECONDS", 1.0)
    waiting = [asyncio.create_task(refusal("http://a.silent/a.png", settings)) for _ in range(100)]
    await silence.are_asked(1)
    # a name that is answered: it is found, and found to be of this machine
    assert await refusal("http://b.example/a.png", settings) == (400, "image: the host of the URL is not public")
    refused = (400, "image: the URL did not give the image within 1 s")
    assert await asyncio.gather(*waiting) == [refused] * 100
    silence.over.set()
    await idle()
    again = await refusal("http://a.silent/a.png", settings)
    assert again == (400, "image: the host of the URL has no address")
    assert silence.asked == ["a.silent", "b.example", "a.silent"]


async def test_however_many_names_are_never_answered_who_needs_none_goes_on(
    tmp_path: Path, silence: Silence, settings: Settings
) -> None:
    waiting = [asyncio.create_task(fetch(f"http://{i}.silent/a.png", "image", settings)) for i in range(40)]
    await silence.are_asked(8)  # as many as there are threads
    with pytest.raises(ExecutorFull):  # a 503 that says when to come again, at once
        await fetch("http://one-more.silent/a.png", "image", settings)
    async with client(make_app(tmp_path / "home")) as http:
        assert (await http.get("/healthz")).status_code == 200
        assert (await http.get("/latest")).status_code == 404, "the store answers"
    for each in waiting:
        each.cancel()
        with suppress(asyncio.CancelledError):
            await each
    silence.over.set()
    await idle()
