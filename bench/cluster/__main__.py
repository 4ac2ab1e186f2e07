"""`python -m bench.cluster [--write]`: what clients see of a cluster whose nodes come, go and die.

As root on Linux, with `redis-server` installed; some six minutes. Each node is in a network namespace of its own. The
head keeps what it knows in Redis. Clients come in on the node `front`, as on the machine whose address they know.
"""

from __future__ import annotations

import argparse
import os
import platform
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Final

import psutil

from bench.cluster.load import KINDS, Count, Load, count
from bench.cluster.nodes import Nodes
from bench.cluster.server import MODELS, Server, configuration, running
from cli.environment import ROOT
from tests.redis_server import RedisServer, redis_server

PAGE: Final = ROOT / "docs" / "scale.md"
_MARKS: Final = ("<!-- cluster: made by python -m bench.cluster --write -->", "<!-- cluster: end -->")
_HEAD: Final = (
    "| what happens | requests | answered | asked to come back | lost | wrong | p50 (s) | p99 (s) | seen |",
    "|---|---:|---:|---:|---:|---:|---:|---:|---|",
)
_LOAD_SECONDS: Final = 20.0
_AFTER_SECONDS: Final = 8.0
"""How long a scene goes on when what it is about has come."""
_WAITS_SECONDS: Final = 150.0


@dataclass(frozen=True)
class Stage:
    """What the scenes have."""

    nodes: Nodes
    server: Server
    load: Load
    folder: Path


def main() -> int:
    """Play the scenes, a line of the table each; 1 when something was lost or wrong before the front was killed."""
    parser = argparse.ArgumentParser(prog="python -m bench.cluster", description=__doc__)
    parser.add_argument("--write", action="store_true", help="put the table into docs/scale.md")
    wants_written = parser.parse_args().write
    lines = [*_HEAD]
    print("\n".join(lines), flush=True)
    is_bad = False
    with tempfile.TemporaryDirectory(prefix="atc-", dir="/tmp", ignore_cleanup_errors=True) as made:
        folder = Path(made)
        nodes = Nodes(folder / "ray", namespaces=True)
        try:
            with redis_server(nodes.outside) as redis, _started(nodes, redis, folder) as server:
                load = Load(server.url)
                stage = Stage(nodes, server, load, folder)
                try:
                    for name, scene in SCENES.items():
                        begun = time.monotonic()
                        seen = scene(stage)
                        found = count(load.between(begun))
                        lines.append(_line(name, found, seen))
                        print(lines[-1], flush=True)
                        if found.losses:
                            print(f"    lost: {dict(found.losses)}", file=sys.stderr, flush=True)
                        is_bad |= scene is not front_killed and bool(found.lost or found.wrong)
                finally:
                    load.stop()
        finally:
            nodes.close()
    if wants_written:
        machine = f"{platform.machine()}, {os.cpu_count()} cores, {psutil.virtual_memory().total / 2**30:.0f} GiB"
        _write([*lines, "", f"({machine}, Python {platform.python_version()}, load average {os.getloadavg()[1]:.0f}.)"])
    return int(is_bad)


@contextmanager
def _started(nodes: Nodes, redis: RedisServer, folder: Path) -> Iterator[Server]:
    """Three nodes and the server on them. Speech fits beside the other models nowhere."""
    nodes.redis = f"{redis.host}:{redis.port}"
    nodes.start("head", memory=100_000_000, dashboard=True)
    nodes.start("front", memory=600_000_000, gpus=1, resources={"front": 1})
    nodes.start("second", memory=1_400_000_000, gpus=1)
    with running(nodes, configuration(folder), folder / "home") as server:
        yield server


def load(stage: Stage) -> str:
    """Two clients that ask for pictures and questions."""
    for kind in ("picture", "question"):
        stage.load.learn(kind)
    stage.load.add("picture")
    stage.load.add("question")
    time.sleep(_LOAD_SECONDS)
    return _places(stage.server)


def node_added(stage: Stage) -> str:
    """A model waits for room, and a node comes that has it."""
    begun = time.monotonic()
    stage.load.add("speech")
    time.sleep(_AFTER_SECONDS)
    waiting = stage.server.reasons().get("voice", "")
    stage.nodes.start("third", memory=2_400_000_000, gpus=1)
    added = time.monotonic()
    if not stage.load.wait_until_answered("speech", begun, _WAITS_SECONDS):
        return f"**speech never came**: {waiting}"
    seconds = time.monotonic() - added
    time.sleep(_AFTER_SECONDS)
    return (
        f"voice {waiting}; then on {', '.join(stage.server.places('voice'))}, {seconds:.0f} s after the node had come"
    )


def more_load(stage: Stage) -> str:
    """More clients than one replica is meant for."""
    begun = time.monotonic()
    stage.load.add("picture", 5)
    places = stage.server.wait_for_places("image-gen", 3, _WAITS_SECONDS)
    seconds = time.monotonic() - begun
    time.sleep(_AFTER_SECONDS)
    return f"image-gen on {', '.join(sorted(places))}, after {seconds:.0f} s"


def node_killed(stage: Stage) -> str:
    """SIGKILL of all processes of a node that has replicas of two models."""
    died = sorted(alias for alias in MODELS if "second" in stage.server.places(alias))
    begun = time.monotonic()
    stage.nodes.nodes["second"].kill()
    well = all(stage.load.wait_until_answered(kind, begun, _WAITS_SECONDS, number=2) for kind in KINDS)
    seconds = time.monotonic() - begun
    time.sleep(_AFTER_SECONDS)
    return f"{' and '.join(died)} died there; all kinds answered {'again' if well else '**not**'} after {seconds:.0f} s"


def rolling_update(stage: Stage) -> str:
    """Another configuration is deployed, in which an entry has changed."""
    before = {alias: stage.server.processes(alias) for alias in MODELS}
    begun = time.monotonic()
    stage.server.deploy(configuration(stage.folder, "changed.yaml", image_gen={"licence": "Apache-2.0"}))
    until = begun + _WAITS_SECONDS
    while left := [alias for alias in MODELS if not _is_replaced(before[alias], stage.server.processes(alias))]:
        if time.monotonic() > until:
            return f"**old processes of {' and '.join(left)} stay**"
        time.sleep(0.5)
    seconds = time.monotonic() - begun
    time.sleep(_AFTER_SECONDS)
    return f"all replicas, and the ingress, are replaced after {seconds:.0f} s"


def _is_replaced(before: set[int], now: set[int]) -> bool:
    return bool(now) and not before & now


def head_restarted(stage: Stage) -> str:
    """SIGKILL of the head, with Ray's GCS and Serve's controller, and its start five seconds later."""
    stage.nodes.nodes["head"].kill()
    time.sleep(5)
    stage.nodes.start("head", memory=100_000_000, dashboard=True)
    begun = time.monotonic()
    stage.load.wait_until_answered("picture", begun, _WAITS_SECONDS)
    killed = stage.server.processes("vlm-fast")
    for pid in killed:  # that the new one works is seen when it has something to do
        psutil.Process(pid).kill()
    well = stage.load.wait_until_answered("question", time.monotonic(), _WAITS_SECONDS, number=2)
    seconds = time.monotonic() - begun
    time.sleep(_AFTER_SECONDS)
    return (
        f"a model killed afterwards {'came back' if well else '**did not come back**'}, {seconds:.0f} s after the head"
    )


def front_killed(stage: Stage) -> str:
    """SIGKILL of the node at which clients come in, and its start five seconds later."""
    begun = time.monotonic()
    stage.nodes.nodes["front"].kill()
    time.sleep(5)
    stage.nodes.start("front", memory=600_000_000, gpus=1, resources={"front": 1})
    well = all(stage.load.wait_until_answered(kind, begun, _WAITS_SECONDS) for kind in KINDS)
    return f"{'answers' if well else '**does not answer**'} again {time.monotonic() - begun:.0f} s after its death"


SCENES: Final[dict[str, Callable[[Stage], str]]] = {
    "load": load,
    "a node added while a model waits for room": node_added,
    "more load than one replica is meant for": more_load,
    "a node killed": node_killed,
    "an entry changed by `serve deploy`": rolling_update,
    "the head killed and restarted": head_restarted,
    "the front killed and restarted": front_killed,
}


def _places(server: Server) -> str:
    return "; ".join(f"{alias} on {', '.join(places)}" for alias in MODELS if (places := server.places(alias)))


def _line(name: str, found: Count, seen: str) -> str:
    cells = [
        name, found.sent, found.answered, found.came_back, found.lost, found.wrong, f"{found.p50:.2f}",
        f"{found.p99:.1f}", seen,
    ]  # fmt: skip
    return f"| {' | '.join(map(str, cells))} |"


def _write(lines: list[str]) -> None:
    begin, end = _MARKS
    before, _, rest = PAGE.read_text(encoding="utf-8").partition(begin)
    _, found, after = rest.partition(end)
    if not found:
        raise SystemExit(f"{PAGE} has no {begin} … {end}")
    PAGE.write_text("\n".join([f"{before}{begin}", *lines, f"{end}{after}"]), encoding="utf-8")


if __name__ == "__main__":
    sys.exit(main())
