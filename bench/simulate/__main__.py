"""Simulates a day of traffic for a hundred models, and compares who decides what is loaded.

`python -m bench.simulate --plot docs/pictures/scale.svg` prints the table and draws the curve of waits;
`python -m bench.simulate --sweep --begin 13 --hours 4` tries values of the rules, one after the other.
"""

from __future__ import annotations

import argparse
import random
import statistics
import time
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

from bench.simulate.keepers import LeastRecentlyUsed, Planned
from bench.simulate.machine import Keeper, Machine, Seen
from bench.simulate.plot import draw
from bench.simulate.traffic import Request, Served, models, requests
from deployments.residency.situation import Rules

_SWEPT = {
    "idle_timeout": (60.0, 300.0, 1800.0, 7200.0),
    "quiet": (0.2, 1.0, 5.0, 15.0, 60.0),
    "min_residence": (0.0, 5.0, 15.0, 30.0, 60.0),
    "patience": (2.0, 5.0, 15.0, 30.0, 60.0),
}


def main() -> None:
    """Run what the command line says."""
    parser = argparse.ArgumentParser(description="Simulates a day of traffic for a hundred models on eight GPUs.")
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--begin", type=float, default=0.0, help="hour of the day")
    parser.add_argument("--hours", type=float, default=24.0)
    parser.add_argument("--requests", type=int, default=30_000, help="in a day")
    parser.add_argument("--gpus", type=int, default=8)
    parser.add_argument("--plot", type=Path, help="an SVG of the waits")
    parser.add_argument("--sweep", action="store_true")
    parser.add_argument("--days", type=int, default=1, help="that are swept over, of a seed each")
    args = parser.parse_args()
    if args.sweep:
        _sweep(args)
        return
    served, asked = _traffic(args, args.seed)
    packed = _gpus_for_all(served)
    lines: dict[str, list[float]] = {}
    print(f"{len(asked)} requests for {len(served)} models on {args.gpus} GPUs, seed {args.seed}")
    for name, keeper, gpus in (
        ("the plan, up to 2 replicas", Planned(Rules(), 2, args.gpus), args.gpus),
        ("the plan, 1 replica each", Planned(Rules(), 1, args.gpus), args.gpus),
        ("least recently used, by count", LeastRecentlyUsed(args.gpus), args.gpus),
        (f"all loaded on {packed} GPUs", None, packed),
    ):
        begun = time.perf_counter()
        seen = Machine(served, keeper, gpus).run(asked)
        lines[name] = seen.waits
        took = time.perf_counter() - begun
        print(f"{name:30} {_said(seen)}  {gpus * args.hours:5.0f} GPU h  ({took:.0f} s)", flush=True)
    if args.plot:
        args.plot.write_text(draw(lines))


def _traffic(args: argparse.Namespace, seed: int) -> tuple[list[Served], list[Request]]:
    dice = random.Random(seed)
    served = models(dice)
    return served, requests(served, dice, args.requests, args.begin, args.hours)


def _said(seen: Seen) -> str:
    waits = statistics.quantiles(seen.waits, n=1000, method="inclusive")
    return (
        f"{seen.hits / len(seen.waits):6.1%} hits  p50 {waits[499]:5.1f} s  p95 {waits[949]:6.1f} s  "
        f"p99 {waits[989]:6.1f} s  mean {statistics.fmean(seen.waits):5.2f} s  {seen.loads:5} loads  "
        f"{seen.gpu_seconds / 3600:6.0f} GPU h held"
    )


def _gpus_for_all(served: list[Served]) -> int:
    """GPUs on which all models are loaded at once, the largest placed first."""
    free: list[float] = []
    for model in sorted(served, key=lambda each: -each.gpus):
        if model.gpus > 1:
            free += [0.0] * round(model.gpus)
            continue
        fits = [number for number, left in enumerate(free) if left >= model.gpus]
        if not fits:
            free.append(1.0)
            fits = [len(free) - 1]
        free[fits[0]] -= model.gpus
    return len(free)


def _sweep(args: argparse.Namespace) -> None:
    """One rule after the other, the others as they are."""
    seeds = [_traffic(args, args.seed + number) for number in range(args.days)]
    for name, rules in _changed():
        found = [Machine(served, _keeper(rules, args.gpus), args.gpus).run(asked) for served, asked in seeds]
        together = Seen(
            [wait for each in found for wait in each.waits],
            sum(each.hits for each in found),
            sum(each.loads for each in found),
            sum(each.gpu_seconds for each in found),
        )
        print(f"{name:24} {_said(together)}", flush=True)


def _keeper(rules: Rules, gpus: int) -> Keeper:
    return Planned(rules, 2, gpus)


def _changed() -> Iterator[tuple[str, Rules]]:
    for name, values in _SWEPT.items():
        for value in values:
            yield f"{name} {value:g}", replace(Rules(), **{name: value})  # type: ignore[arg-type]


if __name__ == "__main__":
    main()
