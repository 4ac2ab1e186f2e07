"""The simulated day: nobody is forgotten, the clock is fair to all, and the seed decides everything."""

from __future__ import annotations

import random

import pytest

from bench.simulate.keepers import LeastRecentlyUsed, Planned
from bench.simulate.machine import Keeper, Machine, Seen
from bench.simulate.plot import draw
from bench.simulate.traffic import Request, Served, models, requests
from deployments.residency.situation import Rules

A, B = Served("a", 1.0, 10.0, 1.0, 1.0), Served("b", 1.0, 20.0, 1.0, 1.0)


def ask(*arrivals: tuple[float, Served], seconds: float = 1.0) -> list[Request]:
    return [Request(at, model, seconds) for at, model in arrivals]


def day(seed: int = 1) -> tuple[list[Served], list[Request]]:
    dice = random.Random(seed)
    served = models(dice)
    return served, requests(served, dice, 30_000, begin=14.0, hours=0.25)


def keeper(name: str) -> Keeper:
    return Planned(Rules()) if name == "plan" else LeastRecentlyUsed()


@pytest.mark.parametrize("name", ["plan", "least recently used"])
def test_every_request_is_answered_and_the_same_day_gives_the_same_figures(name: str) -> None:
    served, asked = day()
    first, second = (Machine(served, keeper(name)).run(asked) for _ in range(2))
    assert first == second
    assert len(first.waits) == len(asked) > 100
    assert min(first.waits) == 0.0
    assert 0 < first.loads <= len(asked)


def test_a_first_request_waits_for_the_load_and_the_next_ones_in_turn() -> None:
    seen = Machine([A], Planned(Rules()), gpus=1).run(ask((0.0, A), (0.0, A), (50.0, A)))
    assert seen.waits == [10.0, 11.0, 0.0]
    assert (seen.hits, seen.loads) == (1, 1)


@pytest.mark.parametrize("name", ["plan", "least recently used"])
def test_of_two_models_on_one_gpu_the_idle_one_leaves_first_and_then_the_other_is_loaded(name: str) -> None:
    machine = Machine([A, B], Planned(Rules(), gpus=1) if name == "plan" else LeastRecentlyUsed(1), gpus=1)
    seen = machine.run(ask((0.0, A), (40.0, B)))
    assert seen.waits == [10.0, 21.0]  # a second to leave, twenty to load
    assert seen.loads == 2


def test_what_is_sent_to_a_replica_that_leaves_is_ended_by_it() -> None:
    busy = [(1.0 * second, A) for second in range(60)]
    seen = Machine([A, B], Planned(Rules(), gpus=1), gpus=1).run(
        sorted(ask(*busy, (20.5, B)), key=lambda each: each.at)
    )
    assert len(seen.waits) == 61


def test_all_that_is_loaded_for_good_waits_for_its_turn_only() -> None:
    seen = Machine([A, B], None).run(ask((0.0, A), (0.0, B), (0.5, A)))
    assert seen == Seen([0.0, 0.0, 0.5], hits=3, loads=0, gpu_seconds=2.0)  # until the last begins


def test_a_burst_is_answered_sooner_by_two_replicas_than_by_one() -> None:
    burst = ask(*[(30.0 + number / 10, A) for number in range(60)])
    alone, both = (
        Machine([A], Planned(Rules(), most, gpus=2), gpus=2).run([*ask((0.0, A)), *burst]) for most in (1, 2)
    )
    assert (alone.loads, both.loads) == (1, 2)
    assert max(both.waits) < max(alone.waits)


def test_the_curve_falls_from_all_to_none() -> None:
    picture = draw({"some": [0.0] * 90 + [5.0] * 10})
    points = [float(point.split(",")[1]) for point in picture.split('points="')[1].split('"')[0].split()]
    assert picture.startswith("<svg ")
    assert points == sorted(points)
