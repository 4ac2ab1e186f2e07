"""`python -m bench.admission`: a thousand uploads of 20 MB and five hundred bombs at once.

Prints what they were answered, the most memory that each process took, how soon `/healthz` answered meanwhile, and
whether everything that was acknowledged is there. Exits with 1 when the ingress took a gigabyte, when `/healthz` took a
tenth of a second, when something acknowledged is gone, or when a client got neither its answer nor a refusal that says
when to come again.

The crowd is a process of its own with a lower priority (nice 10), for it shares the machine's cores with the server.
Who knocks at `/healthz` and weighs the processes has the server's priority.
"""

from __future__ import annotations

import argparse
import hashlib
import math
import multiprocessing
import os
import sys
import threading
import time
from collections import Counter, defaultdict
from collections.abc import Sequence
from concurrent.futures import ProcessPoolExecutor
from typing import Self

import httpx
import psutil
from rich.console import Console
from rich.table import Table

from bench.admission.clients import PROJECT, Crowd, Outcome
from bench.overhead import running_server
from bench.soak.rest import name_of

_MOST_BYTES = 1e9
_MOST_SECONDS = 0.1
_REFUSALS = ("408", "429", "503")
_KNOCK_SECONDS = 60.0
_NICE = 10
_QUANTILES = {"p50": 0.5, "p99": 0.99, "longest": 1.0}


class Watch:
    """Looks at a server until it is stopped: the memory of its processes, and how soon it says that it lives."""

    def __init__(self, url: str, process: psutil.Process) -> None:
        self.peaks: defaultdict[str, float] = defaultdict(float)
        self.seconds: list[float] = []
        """How long `/healthz` took, each time; infinity where it did not answer."""
        self._url, self._processes = url, [process, *process.children(recursive=True)]
        self._over = threading.Event()
        self._threads = [threading.Thread(target=each) for each in (self._weigh, self._knock)]

    def __enter__(self) -> Self:
        for thread in self._threads:
            thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._over.set()
        for thread in self._threads:
            thread.join()

    def quantile(self, share: float) -> float:
        """Milliseconds within which this share of the knocks was answered."""
        return sorted(self.seconds)[int((len(self.seconds) - 1) * share)] * 1000

    def _weigh(self) -> None:
        while not self._over.wait(0.1):
            for process in self._processes:
                try:
                    name, size = name_of(process), process.memory_info().rss
                except psutil.Error:  # it has ended
                    continue
                self.peaks[name] = max(self.peaks[name], size)

    def _knock(self) -> None:
        with httpx.Client(base_url=self._url, timeout=_KNOCK_SECONDS) as client:
            while not self._over.wait(0.05):
                begun = time.monotonic()
                try:
                    client.get("/healthz").raise_for_status()
                except httpx.HTTPError:
                    self.seconds.append(math.inf)
                else:
                    self.seconds.append(time.monotonic() - begun)


def main() -> int:
    """Send the crowd, and print the tables."""
    options = argparse.ArgumentParser(description="More than the server can take, all at once.")
    options.add_argument("--uploads", type=int, default=1000)
    options.add_argument("--megabytes", type=float, default=20)
    options.add_argument("--bombs", type=int, default=500)
    given = options.parse_args()
    crowd = Crowd(given.uploads, int(given.megabytes * 1e6), given.bombs)
    with running_server() as server, _niced() as others:
        url = str(server.client.base_url).rstrip("/")
        others.submit(Crowd(1, 100_000, 2).send, url).result()  # the models are loaded
        begun = time.monotonic()
        with Watch(url, server.process) as watch:
            outcomes = others.submit(crowd.send, url).result()
        seconds = time.monotonic() - begun
        lost = _lost(url, outcomes)
    kinds = {f"uploads of {given.megabytes:g} MB": outcomes[: given.uploads], "bombs": outcomes[given.uploads :]}
    _print(kinds, watch, seconds)
    print(f"Lost of {sum(each.id is not None for each in outcomes)} acknowledged pictures: {lost or 'none'}")
    unanswered = [each for each in outcomes if each.status != "200" and not _is_refusal(each)]
    print(f"Neither answered nor refused in words: {dict(Counter(each.status for each in unanswered)) or 'none'}")
    is_heavy = watch.peaks["ingress"] > _MOST_BYTES
    is_slow = watch.quantile(0.99) > _MOST_SECONDS * 1000
    return int(bool(lost or unanswered or is_heavy or is_slow))


def _niced() -> ProcessPoolExecutor:
    context = multiprocessing.get_context("spawn")
    return ProcessPoolExecutor(1, context, initializer=os.nice, initargs=(_NICE,))


def _is_refusal(outcome: Outcome) -> bool:
    return outcome.status in _REFUSALS and outcome.has_retry_after


def _lost(url: str, outcomes: Sequence[Outcome]) -> list[str]:
    """What was acknowledged and is not there, or not as it was sent."""
    lost = []
    with httpx.Client(base_url=url, timeout=120, follow_redirects=True) as client:
        for each in outcomes:
            if each.id is None:
                continue
            answer = client.get(f"{PROJECT}/{each.id}/file")
            if answer.status_code != 200 or hashlib.sha256(answer.content).hexdigest() != each.digest:
                lost.append(f"{each.id}: {answer.status_code}")
    return lost


def _print(kinds: dict[str, list[Outcome]], watch: Watch, seconds: float) -> None:
    console = Console(width=120)
    table = Table("clients at once", "sent", "answered", *_REFUSALS, "anything else")
    for kind, outcomes in kinds.items():
        counts = Counter(each.status for each in outcomes)
        refused = [counts[status] for status in _REFUSALS]
        rest = len(outcomes) - counts["200"] - sum(refused)
        table.add_row(kind, *map(str, (len(outcomes), counts["200"], *refused, rest)))
    console.print(table)
    peaks = sorted(watch.peaks.items(), key=lambda each: -each[1])[:8]
    console.print("Most memory (MB): " + ", ".join(f"{name} {size / 1e6:,.0f}" for name, size in peaks))
    waits = ", ".join(f"{name} {watch.quantile(share):.0f} ms" for name, share in _QUANTILES.items())
    console.print(f"/healthz, {len(watch.seconds)} times in {seconds:.0f} s: {waits}")


if __name__ == "__main__":
    sys.exit(main())
