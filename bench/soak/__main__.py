"""`python -m bench.soak --seconds 600 --seed 1`: a random mix of clients, and what is left when they have gone.

Prints the requests of the well-behaved with their waits, how many left and how, the memory of each process before and
after, and how soon the server was at rest. Exits with 1 when a well-behaved client failed or the server did not rest.
"""

from __future__ import annotations

import argparse
import random
import statistics
import sys
import threading
import time
from collections import Counter, defaultdict
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field

import psutil
from rich.console import Console
from rich.table import Table

from bench.drills.load import Load
from bench.overhead import running_server
from bench.soak.leaving import any_way
from bench.soak.rest import name_of, seconds_to_rest


@dataclass
class _Left:
    """How many clients left, by what the server did to them meanwhile."""

    counts: Counter[str] = field(default_factory=Counter)
    lock: threading.Lock = field(default_factory=threading.Lock)

    def leave(self, url: str, seed: str, until: float) -> None:
        chance = random.Random(seed)
        while time.monotonic() < until:
            try:
                any_way(chance)(url)
                outcome = "left"
            except Exception as error:  # noqa: BLE001 - counted, whatever it is
                outcome = type(error).__name__
            with self.lock:
                self.counts[outcome] += 1


def main() -> int:
    """Soak, and print the tables."""
    options = argparse.ArgumentParser(description="A random mix of clients for minutes on end.")
    options.add_argument("--seconds", type=float, default=600)
    options.add_argument("--seed", type=int, default=1)
    options.add_argument("--leaving", type=int, default=12, help="clients at once that leave")
    given = options.parse_args()
    with running_server() as server:
        url = str(server.client.base_url).rstrip("/")
        load, left = Load(url), _Left()
        load.start()
        processes = [server.process, *server.process.children(recursive=True)]
        before = _memory(processes)
        until = time.monotonic() + given.seconds
        with ThreadPoolExecutor(given.leaving) as pool:
            for number in range(given.leaving):
                pool.submit(left.leave, url, f"{given.seed}/{number}", until)
        load.stop()
        seconds, unrest = seconds_to_rest(url, processes)
        after = _memory(processes)
        lost = load.lost()
    failed = [each for each in load.outcomes if not each.is_right and each.status not in ("429", "503")]
    _print(load, left, before, after)
    print(f"At rest after {seconds:.1f} s; {unrest or 'nothing left over'}")
    print(f"Lost of {len(load.acknowledged)} uploads: {lost or 'none'}")
    failures = Counter(f"{each.kind} {each.status}" for each in failed)
    print(f"Well-behaved requests that failed: {dict(failures) or 'none'}")
    return int(bool(unrest or lost or failed))


def _memory(processes: list[psutil.Process]) -> dict[str, float]:
    found: defaultdict[str, float] = defaultdict(float)
    for process in processes:
        try:
            found[name_of(process)] += process.memory_info().rss / 1e6
        except psutil.Error:  # it has ended meanwhile
            continue
    return dict(found)


def _print(load: Load, left: _Left, before: dict[str, float], after: dict[str, float]) -> None:
    console = Console(width=120)
    waits = Table("well-behaved", "requests", "right", "429 or 503", "p50 (s)", "p99 (s)")
    for kind in sorted({each.kind for each in load.outcomes}):
        mine = [each for each in load.outcomes if each.kind == kind]
        seconds = sorted(each.ended - each.begun for each in mine if each.is_right)
        busy = sum(each.status in ("429", "503") for each in mine)
        p99 = seconds[int(len(seconds) * 0.99)]
        waits.add_row(
            kind, str(len(mine)), str(len(seconds)), str(busy), f"{statistics.median(seconds):.2f}", f"{p99:.2f}"
        )
    console.print(waits)
    console.print(f"Left: {dict(left.counts)}")
    memory = Table("process", "MB before", "MB after")
    for name, size in sorted(after.items(), key=lambda each: -each[1])[:12]:
        memory.add_row(name, f"{before.get(name, 0):.0f}", f"{size:.0f}")
    console.print(memory)


if __name__ == "__main__":
    sys.exit(main())
