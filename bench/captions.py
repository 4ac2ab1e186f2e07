"""What callers of a captioner share, and what the cache saves: `python -m bench.captions`.

Starts a server of its own on a free port with an empty home, whose cache is in memory. Every picture is sent once only,
except where the cache is measured; pictures are of noise, so that no two are the same.
"""

from __future__ import annotations

import http.client
import json
import os
import platform
import statistics
import threading
import time
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from itertools import count

import httpx
import numpy as np
from PIL import Image
from rich.console import Console
from rich.table import Table

from bench.overhead import built, running_server, times
from models.pictures import encode

CALLERS = 16
ROUNDS = 5
_numbers = count(1)


@dataclass(frozen=True)
class Caption:
    """A request for the caption of a picture that no other request has, prepared beforehand on a connection."""

    connection: http.client.HTTPConnection
    content: bytes
    headers: dict[str, str]

    def __call__(self) -> None:
        """Send it and read the answer.

        Raises:
            RuntimeError: the answer is not 200, or came from the cache.
        """
        self.connection.request("POST", "/api/caption-images?model=blip", self.content, self.headers)
        answer = self.connection.getresponse()
        body = answer.read()
        if answer.status != httpx.codes.OK or json.loads(body)["results"][0]["cache"]:
            raise RuntimeError(f"{answer.status} {body[:200]!r}")


def main() -> None:
    """Measure and print."""
    with running_server() as server:
        built(request(server.client))()  # loads the model
        built(request(server.client))()
        ratios, in_a_row, at_once = [], [], []
        for _ in range(ROUNDS):  # in turns, so that both see the same machine
            in_a_row.append(one_after_the_other(captions(server.client)))
            at_once.append(all_together(captions(server.client)))
            ratios.append(at_once[-1] / in_a_row[-1])
        hit = statistics.median(times(built(request(server.client)), rounds=100))
    console = Console(width=120)
    console.print(f"{platform.machine()}, {os.cpu_count()} cores, Python {platform.python_version()}")
    table = Table("captions through HTTP", "value")
    table.add_row(f"{CALLERS} in a row", f"{statistics.median(in_a_row) * 1000:.0f} ms")
    table.add_row(f"{CALLERS} at once", f"{statistics.median(at_once) * 1000:.0f} ms")
    spread = f"{min(ratios):.2f} to {max(ratios):.2f}"
    table.add_row("at once to in a row", f"{statistics.median(ratios):.2f} ({spread} over {ROUNDS} rounds)")
    table.add_row("one from the cache, p50", f"{hit * 1000:.1f} ms")
    console.print(table)


def request(client: httpx.Client) -> httpx.Request:
    """The caption of a picture that was not sent before."""
    noise = np.random.default_rng(next(_numbers)).integers(0, 256, (64, 64, 3), np.uint8)
    return client.build_request(
        "POST", "/api/caption-images?model=blip", files={"images": encode(Image.fromarray(noise))}
    )


def captions(client: httpx.Client) -> list[Caption]:
    """Requests of so many callers, connected."""
    prepared = []
    for _ in range(CALLERS):
        asked = request(client)
        connection = http.client.HTTPConnection(asked.url.host, asked.url.port or 80, timeout=120)
        connection.connect()
        prepared.append(Caption(connection, asked.read(), dict(asked.headers)))
    return prepared


def one_after_the_other(calls: list[Caption]) -> float:
    """Seconds of all calls."""
    begun = time.perf_counter()
    for call in calls:
        call()
    return time.perf_counter() - begun


def all_together(calls: list[Caption]) -> float:
    """Seconds until the last of the calls, which begin at the same moment, is answered."""
    begin = threading.Barrier(len(calls) + 1)

    def wait_and(call: Caption) -> None:
        begin.wait()
        call()

    with ThreadPoolExecutor(len(calls)) as threads:
        running = [threads.submit(wait_and, call) for call in calls]
        begin.wait()
        begun = time.perf_counter()
        for each in running:
            each.result()
        return time.perf_counter() - begun


if __name__ == "__main__":
    main()
