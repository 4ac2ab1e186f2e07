"""What is done to a server under load. A fault is a generator: its first step begins it, its second one ends it."""

from __future__ import annotations

import resource
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Final

import psutil


@dataclass(frozen=True)
class Target:
    """A server of a drill: its parent process, its home, and the folder that it has for temporary files."""

    process: psutil.Process
    home: Path
    temporary: Path
    clock: Path
    environment: dict[str, str]

    def find(self, name: str) -> psutil.Process:
        """The process whose command line has `name` in it.

        Raises:
            LookupError: there is none.
        """
        for each in self.process.children(recursive=True):
            try:
                if name in " ".join(each.cmdline()):
                    return each
            except psutil.Error:  # it has ended meanwhile
                continue
        raise LookupError(f"no process {name!r}")


@dataclass(frozen=True)
class Drill:
    """One thing that happens. `fault` is held for `seconds`; `ends`: the server is expected to end by itself.

    `large`: one more client asks about a picture of 12 MB.
    """

    name: str
    fault: Callable[[Target], Iterator[None]]
    seconds: float = 0.0
    ends: bool = False
    moves_clock: bool = False
    large: bool = False


def killed(name: str) -> Callable[[Target], Iterator[None]]:
    """Kill -9 of the process whose command line has this in it."""

    def fault(target: Target) -> Iterator[None]:
        target.find(name).kill()
        yield

    return fault


def parent_killed(target: Target) -> Iterator[None]:
    """Kill -9 of the process that the user started."""
    target.process.kill()
    yield


def stopped(name: str) -> Callable[[Target], Iterator[None]]:
    """A process that neither works nor ends."""

    def fault(target: Target) -> Iterator[None]:
        process = target.find(name)
        process.suspend()
        try:
            yield
        finally:
            process.resume()

    return fault


def full(where: str) -> Callable[[Target], Iterator[None]]:
    """A disk without a free byte; `where` is a field of the target."""

    def fault(target: Target) -> Iterator[None]:
        ballast = Path(getattr(target, where)) / "ballast"
        with ballast.open("wb", buffering=0) as file:
            try:
                while True:
                    file.write(bytes(2**16))
            except OSError:
                pass
        try:
            yield
        finally:
            ballast.unlink()

    return fault


def out_of(limit: int, to: int) -> Callable[[Target], Iterator[None]]:
    """The ingress keeps what it has of a resource, and gets no more: file descriptors, or bytes of memory."""

    def fault(target: Target) -> Iterator[None]:
        ingress = target.find("ServeReplica:atelier:ingress")
        before = resource.prlimit(ingress.pid, limit)
        resource.prlimit(ingress.pid, limit, (to, before[1]))
        try:
            yield
        finally:
            if ingress.is_running():
                resource.prlimit(ingress.pid, limit, before)

    return fault


def clock_moved(seconds: float) -> Callable[[Target], Iterator[None]]:
    """The wall clock of every process of the server jumps, and stays there."""

    def fault(target: Target) -> Iterator[None]:
        target.clock.write_text(f"{seconds:+g}\n")
        yield

    return fault


DRILLS: Final = (
    Drill("model killed", killed("ServeReplica:atelier:image-gen")),
    Drill("ingress killed", killed("ServeReplica:atelier:ingress")),
    Drill("search killed", killed("ServeReplica:atelier:search")),
    Drill("HAProxy killed", killed("bin/haproxy")),
    Drill("Serve's proxy manager killed", killed("ray::HAProxyManager")),
    Drill("Serve's controller killed", killed("ray::ServeController")),
    Drill("Serve's controller stopped, 15 s", stopped("ray::ServeController"), seconds=15),
    Drill("GCS stopped, 15 s", stopped("gcs/gcs_server"), seconds=15),
    Drill("raylet killed", killed("raylet/raylet"), ends=True),
    Drill("GCS killed", killed("gcs/gcs_server"), ends=True),
    Drill("the process that started Ray killed", killed("cli.serving"), ends=True),
    Drill("the watching parent killed", parent_killed, ends=True),
    Drill("disk of ATELIER_HOME full, 15 s", full("home"), seconds=15),
    Drill("disk of temporary files full, 15 s", full("temporary"), seconds=15),
    Drill("ingress out of file descriptors, 10 s", out_of(resource.RLIMIT_NOFILE, 3), seconds=10),
    Drill("ingress out of memory, 10 s", out_of(resource.RLIMIT_AS, 2**20), seconds=10, large=True),
    Drill("clock an hour forward", clock_moved(3600), moves_clock=True),
    Drill("clock an hour back", clock_moved(-3600), moves_clock=True),
)
