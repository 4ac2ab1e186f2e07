"""Clients that ask one address the same again and again, and know the right answers."""

from __future__ import annotations

import math
import threading
import time
from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Final

import httpx

from bench.asking import chat, digest, picture, speech

PATIENCE: Final = 200.0
"""Seconds that a client waits for an answer: longer than the server lets a model start."""
_PAUSE: Final = 0.05


@dataclass(frozen=True)
class Outcome:
    """What came of one request: `status` is an HTTP status, or the name of what went wrong with the connection."""

    kind: str
    begun: float
    ended: float
    status: str
    is_right: bool
    says_when: bool = False
    """Whether it was asked to come back, with a `Retry-After`."""

    @property
    def is_lost(self) -> bool:
        """Whether there was no answer, or an error that the client can do nothing about."""
        return not self.status.isdecimal() or (
            int(self.status) >= 500 and not (self.status == "503" and self.says_when)
        )


@dataclass(frozen=True)
class Count:
    """The requests of some time: those that ended in it."""

    sent: int
    answered: int
    came_back: int
    lost: int
    wrong: int
    p50: float
    p99: float
    losses: Mapping[str, int]


def count(outcomes: Sequence[Outcome]) -> Count:
    """What came of requests. Waits are of those that were answered."""
    waits = sorted(each.ended - each.begun for each in outcomes if each.status == "200")
    return Count(
        len(outcomes),
        sum(each.status == "200" and each.is_right for each in outcomes),
        sum(each.status == "503" and each.says_when for each in outcomes),
        sum(each.is_lost for each in outcomes),
        sum(not each.is_lost and not each.is_right and each.status != "503" for each in outcomes),
        _at(waits, 0.5),
        _at(waits, 0.99),
        Counter(f"{each.kind} {each.status}" for each in outcomes if each.is_lost),
    )


def _at(waits: Sequence[float], share: float) -> float:
    return waits[min(len(waits) - 1, math.floor(share * len(waits)))] if waits else math.nan


def question(client: httpx.Client) -> str:
    """What a chat model says of a circle."""
    return chat(client, "What is a circle?")


KINDS: Final[Mapping[str, Callable[[httpx.Client], object]]] = {
    "picture": picture,
    "question": question,
    "speech": speech,
}


@dataclass
class Load:
    """Clients of a server, each a thread that asks for one kind of thing until all are stopped."""

    url: str
    pause: float = _PAUSE
    """Seconds of a client between an answer and its next request."""
    outcomes: list[Outcome] = field(default_factory=list)
    _expected: dict[str, str] = field(default_factory=dict)
    _stop: threading.Event = field(default_factory=threading.Event)
    _threads: list[threading.Thread] = field(default_factory=list)

    def learn(self, kind: str) -> None:
        """Ask once, and take the answer for the right one."""
        with httpx.Client(base_url=self.url, timeout=PATIENCE, verify=False) as client:
            self._expected[kind] = digest(KINDS[kind](client))

    def add(self, kind: str, clients: int = 1) -> None:
        """More clients; the first answer of a kind is the right one where none was learnt."""
        for _ in range(clients):
            thread = threading.Thread(target=self._ask_on, args=(kind,), name=kind)
            self._threads.append(thread)
            thread.start()

    def stop(self) -> None:
        """End all clients; a request under way is waited for."""
        self._stop.set()
        for thread in self._threads:
            thread.join()

    def wait_until_answered(self, kind: str, since: float, seconds: float, *, number: int = 1) -> bool:
        """Wait until so many requests of a kind that were begun after `since` have been answered rightly."""
        until = time.monotonic() + seconds
        while time.monotonic() < until:
            right = [each for each in list(self.outcomes) if each.kind == kind and each.is_right and each.begun > since]
            if len(right) >= number:
                return True
            time.sleep(0.1)
        return False

    def between(self, begun: float, ended: float = math.inf) -> list[Outcome]:
        """The requests that ended in that time."""
        return [each for each in list(self.outcomes) if begun < each.ended <= ended]

    def _ask_on(self, kind: str) -> None:
        with httpx.Client(base_url=self.url, timeout=PATIENCE, verify=False) as client:
            while not self._stop.is_set():
                begun = time.monotonic()
                outcome = self._ask(client, kind, begun)
                self.outcomes.append(outcome)
                self._stop.wait(self.pause if outcome.status == "200" else 0.5)

    def _ask(self, client: httpx.Client, kind: str, begun: float) -> Outcome:
        try:
            found = digest(KINDS[kind](client))
        except httpx.HTTPStatusError as error:
            says_when = "retry-after" in error.response.headers
            return Outcome(kind, begun, time.monotonic(), str(error.response.status_code), False, says_when)
        except httpx.TransportError as error:
            return Outcome(kind, begun, time.monotonic(), type(error).__name__, False)
        is_right = found == self._expected.setdefault(kind, found)
        return Outcome(kind, begun, time.monotonic(), "200", is_right)
