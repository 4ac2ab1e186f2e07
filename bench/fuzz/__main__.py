"""`python -m bench.fuzz --seconds 1800 --seed 1`: send what no client should, and print what came of it.

Without `--url` it starts a server of its own, whose memory it watches. Exits with 1 when any answer was wrong.
"""

from __future__ import annotations

import argparse
import sys
import tempfile
from collections.abc import Callable
from contextlib import ExitStack
from pathlib import Path

import psutil
from rich.console import Console
from rich.table import Table

from bench.fuzz import bodies, described, sockets
from bench.fuzz.verdict import Tally
from bench.overhead import running_server

_SHOWN = 20


def main() -> int:
    """Fuzz, print the table, and say how it ended."""
    options = argparse.ArgumentParser(description=__doc__.partition("\n")[0] if __doc__ else None)
    options.add_argument("--url", help="a server that runs already; else one is started")
    options.add_argument("--seconds", type=float, default=1800, help="for all three kinds together")
    options.add_argument("--seed", type=int, default=1)
    options.add_argument("--workers", type=int, default=6, help="connections at once")
    given = options.parse_args()
    with ExitStack() as stack:
        process = None
        url = given.url
        if url is None:
            server = stack.enter_context(running_server())
            url, process = str(server.client.base_url).rstrip("/"), server.process
        folder = Path(stack.enter_context(tempfile.TemporaryDirectory()))
        part = given.seconds / 5
        kinds: list[Callable[[], Tally]] = [
            lambda: sockets.run(url, given.seed, part, given.workers),
            lambda: bodies.run(url, given.seed, 2 * part, given.workers),
            lambda: described.run(url, given.seed, 2 * part, given.workers, folder),
        ]
        memory = [_megabytes(process)] if process else []
        tallies = []
        for kind in kinds:
            tallies.append(kind())
            memory += [_megabytes(process)] if process else []
    _print(tallies, memory)
    return int(any(tally.faults for tally in tallies))


def _megabytes(process: psutil.Process) -> dict[str, int]:
    """The resident memory of the server's processes, in MB, by what they are."""
    found: dict[str, int] = {}
    for each in (process, *process.children(recursive=True)):
        try:
            name = each.cmdline()[0].removeprefix("ray::").partition(":")[2] or each.name()
            found[name] = found.get(name, 0) + each.memory_info().rss // 10**6
        except (psutil.Error, IndexError):  # it has ended meanwhile
            continue
    return found


def _print(tallies: list[Tally], memory: list[dict[str, int]]) -> None:
    console = Console(width=120)
    table = Table("kind", "requests", "answers", "wrong")
    for tally in tallies:
        told = ", ".join(f"{status}: {count}" for status, count in sorted(tally.statuses.items()))
        table.add_row(tally.kind, f"{tally.requests:,}", told, str(len(tally.faults)))
    console.print(table)
    if memory:
        grown = Table("process", "MB before", *(f"after {tally.kind}" for tally in tallies))
        for name in sorted(memory[-1], key=lambda name: -memory[-1][name])[:12]:
            grown.add_row(name, *(str(moment.get(name, "")) for moment in memory))
        console.print(grown)
    for tally in tallies:
        for fault in tally.faults[:_SHOWN]:
            print(f"{tally.kind}: {fault}")


if __name__ == "__main__":
    sys.exit(main())
