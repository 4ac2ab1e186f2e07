"""A real Prometheus, from Debian: on the PATH, or unpacked by `deploy/unpack.sh prometheus`."""

from __future__ import annotations

import shutil
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import httpx
import yaml

from cli.environment import ROOT, free_ports

RULES = ROOT / "deploy" / "prometheus" / "atelier.rules.yml"
CONFIG = ROOT / "deploy" / "prometheus" / "prometheus.yml"


def program(name: str) -> str:
    found = shutil.which(name) or str(Path(sys.prefix) / "debian" / "usr" / "bin" / name)
    assert Path(found).exists(), f"there is no {name}: deploy/unpack.sh prometheus"
    return found


def promtool(*arguments: str | Path, given: str = "") -> None:
    """Run `promtool`, which must find nothing to say against what it is given."""
    done = subprocess.run([program("promtool"), *arguments], input=given, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stdout + done.stderr


class Prometheus:
    def __init__(self, http: httpx.Client) -> None:
        self._http = http

    def ask(self, path: str, **params: str) -> Any:
        return self._http.get(f"/api/v1/{path}", params=params).raise_for_status().json()["data"]

    def value(self, expression: str) -> float | None:
        """The expression's first value; None while it has none."""
        result = self.ask("query", query=expression)["result"]
        return float(result[0]["value"][1]) if result else None

    def wait_for(self, condition: Callable[[], bool]) -> None:
        until = time.monotonic() + 90
        while True:
            try:
                if condition():
                    return
            except httpx.HTTPError:  # it is starting
                pass
            assert time.monotonic() < until, "Prometheus has not come to see it"
            time.sleep(0.1)


@contextmanager
def prometheus(target: str, folder: Path) -> Iterator[Prometheus]:
    """Prometheus with our configuration and rules, looking at `target` (HOST:PORT) every second."""
    document = yaml.safe_load(CONFIG.read_text())
    document["global"] = {"scrape_interval": "1s", "evaluation_interval": "1s"}
    document["rule_files"] = [str(RULES)]
    document["scrape_configs"][0]["static_configs"] = [{"targets": [target]}]
    config = folder / "prometheus.yml"
    config.write_text(yaml.safe_dump(document))
    with started(config, folder) as server:
        yield server


@contextmanager
def started(config: Path, folder: Path) -> Iterator[Prometheus]:
    """Prometheus with a configuration; its data and log go into `folder`."""
    (port,) = free_ports(1)
    with (folder / "prometheus.log").open("w") as log:
        process = subprocess.Popen(
            [
                program("prometheus"),
                f"--config.file={config}",
                f"--storage.tsdb.path={folder / 'data'}",
                f"--web.listen-address=127.0.0.1:{port}",
            ],
            stdout=log,
            stderr=log,
        )
    try:
        with httpx.Client(base_url=f"http://127.0.0.1:{port}", timeout=60) as http:
            yield Prometheus(http)
    finally:
        process.terminate()
        process.wait(60)
