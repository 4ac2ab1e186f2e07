"""Whether a server is at rest: nothing waits, nobody's connection is left half open, and nothing turns in circles."""

from __future__ import annotations

import time
from collections.abc import Sequence

import httpx
import psutil


def unrest(url: str, processes: Sequence[psutil.Process], idle: float = 0.05) -> list[str]:
    """What keeps a server from being at rest, looked at for a second; empty when nothing does.

    `idle` is the share of a core that HAProxy and the ingress may each take.
    """
    found = []
    workers = httpx.get(f"{url}/v1/system/status", timeout=30).json()["workers"]
    found += [f"{each['queue']} wait for {alias}" for alias, each in workers.items() if each["queue"]]
    for process in processes:
        try:
            closing = [each for each in process.net_connections("tcp") if each.status == psutil.CONN_CLOSE_WAIT]
        except psutil.Error:  # it has ended meanwhile
            continue
        if closing:
            found.append(f"{len(closing)} sockets of {name_of(process)} in CLOSE-WAIT")
    watched = [each for each in processes if name_of(each) in ("haproxy", "ingress")]
    before = [_seconds(each) for each in watched]
    time.sleep(1)
    for process, earlier in zip(watched, before, strict=True):
        if (used := _seconds(process) - earlier) > idle:
            found.append(f"{name_of(process)} took {100 * used:.0f} % of a core")
    return found


def seconds_to_rest(
    url: str, processes: Sequence[psutil.Process], patience: float = 10.0, idle: float = 0.05
) -> tuple[float, list[str]]:
    """How long it takes until a server is at rest, and what still keeps it from that after `patience` seconds."""
    begun = time.monotonic()
    while (found := unrest(url, processes, idle)) and time.monotonic() - begun < patience:
        continue
    return time.monotonic() - begun - 1.0, found


def name_of(process: psutil.Process) -> str:
    """`haproxy`, or the name of a replica's deployment, or of the program."""
    try:
        return process.cmdline()[0].rpartition(":")[2].rpartition("/")[2] or process.name()
    except (psutil.Error, IndexError):
        return "ended"


def _seconds(process: psutil.Process) -> float:
    try:
        used = process.cpu_times()
    except psutil.Error:
        return 0.0
    return float(used.user + used.system)
