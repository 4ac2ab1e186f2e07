"""Who asks for what, and when: models of several sizes, popular by Zipf's law, with sessions, bursts and a night."""

from __future__ import annotations

import math
import random
from collections.abc import Iterator
from dataclasses import dataclass, replace

_SHARES = ((0.25, 40), (0.5, 35), (1.0, 20), (2.0, 5))
"""Shares of a GPU, and how many of a hundred models take that."""
_SHORTEST_LOAD, _LONGEST_LOAD = 5.0, 90.0
_SHORTEST_WORK, _LONGEST_WORK = 0.5, 6.0
_ZIPF = 1.1
_REQUESTS_OF_SESSION = 6
_SECONDS_BETWEEN = 20.0
_BURSTS_A_DAY, _REQUESTS_OF_BURST, _SECONDS_OF_BURST = 40, 60, 40.0
_DAY = 86_400.0


@dataclass(frozen=True)
class Served:
    """A model: its share of a GPU (or how many), the seconds of a load and of a request, and how often it is asked."""

    alias: str
    gpus: float
    load_seconds: float
    work_seconds: float
    popularity: float


@dataclass(frozen=True)
class Request:
    """One request, which takes so many seconds of a replica."""

    at: float
    model: Served
    seconds: float


def models(dice: random.Random, count: int = 100) -> list[Served]:
    """So many models, the most popular first. Large ones load and work for longer; size says nothing of popularity."""
    shares = [share for share, of_hundred in _SHARES for _ in range(round(of_hundred * count / 100))]
    dice.shuffle(shares)
    made = []
    for rank, share in enumerate(shares, 1):
        size = (math.log2(share) + 2) / 3  # 0 … 1
        load = _SHORTEST_LOAD * (_LONGEST_LOAD / _SHORTEST_LOAD) ** (0.7 * size + 0.3 * dice.random())
        work = _SHORTEST_WORK * (_LONGEST_WORK / _SHORTEST_WORK) ** (0.5 * size + 0.5 * dice.random())
        made.append(Served(f"m{rank:03}", share, load, work, rank**-_ZIPF))
    return made


def requests(served: list[Served], dice: random.Random, per_day: int, begin: float, hours: float) -> list[Request]:
    """The requests of so many hours from `begin` o'clock on, as they come; the clock begins with them."""
    day = [replace(each, at=each.at - begin * 3600) for each in _sessions(served, dice, per_day)]
    return sorted((each for each in day if 0 <= each.at < hours * 3600), key=lambda each: each.at)


def _sessions(served: list[Served], dice: random.Random, per_day: int) -> Iterator[Request]:
    weights = [each.popularity for each in served]
    in_bursts = _BURSTS_A_DAY * _REQUESTS_OF_BURST
    for _ in range(max(0, per_day - in_bursts) // _REQUESTS_OF_SESSION):
        (model,) = dice.choices(served, weights)
        at = _time_of_day(dice)
        for _ in range(1 + int(dice.expovariate(1 / (_REQUESTS_OF_SESSION - 0.5)))):
            yield _request(at, model, dice)
            at += dice.expovariate(1 / _SECONDS_BETWEEN)
    for _ in range(_BURSTS_A_DAY):
        (model,) = dice.choices(served, weights)
        begins = _time_of_day(dice)
        for _ in range(_REQUESTS_OF_BURST):
            yield _request(begins + dice.random() * _SECONDS_OF_BURST, model, dice)


def _time_of_day(dice: random.Random) -> float:
    """At three in the afternoon five times as often as at three in the morning."""
    while True:
        at = dice.random() * _DAY
        if dice.random() < (3 - 2 * math.cos((at / 3600 - 3) / 24 * math.tau)) / 5:
            return at


def _request(at: float, model: Served, dice: random.Random) -> Request:
    return Request(at, model, model.work_seconds * dice.lognormvariate(-0.125, 0.5))
