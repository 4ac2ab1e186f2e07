"""The server on a cluster of nodes of this machine, and where its replicas are."""

from __future__ import annotations

import subprocess
import sys
import time
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

import httpx
import yaml

from bench.cluster.nodes import MARK, Nodes, environment_of
from cli.environment import READY, ROOT

_READY_SECONDS: Final = 180.0
MODELS: Final[Mapping[str, Mapping[str, Any]]] = {
    "image-gen": {"memory": 500_000_000, "gpus": 1, "device": "cpu", "replicas": {"max": 3, "target_ongoing": 2}},
    "vlm-fast": {"memory": 1_000_000_000},
    "voice": {"memory": 700_000_000},
}
"""What is changed of the default configuration's models; its GPUs are only a number that Ray is given."""


def configuration(
    folder: Path, name: str = "cluster.yaml", *, proxies: str = "EveryNode", **changes: Mapping[str, Any]
) -> Path:
    """The default configuration with these few models, without image search; `changes` are by alias.

    `proxies`: on which nodes clients may come in. The ingress is where there is the resource `front`.
    """
    document = yaml.safe_load((ROOT / "serve_config.yaml").read_text())
    document["proxy_location"] = proxies
    application = document["applications"][0]
    application["deployments"] = [
        {"name": "ingress", "ray_actor_options": {"num_cpus": 0, "resources": {"front": 0.01}}}
    ]
    args = application["args"]
    models = {
        alias: {**args["models"][alias], **change, **changes.get(alias.replace("-", "_"), {})}
        for alias, change in MODELS.items()
    }
    args |= {
        "models": models,
        "image_search_enabled": False,
        "residency": {"patience": 300, "min_residence": 600},  # nobody leaves for another
        "default_models": {"image": "image-gen", "vlm": "vlm-fast", "voice": "voice"},
        "routes": {"tts-1": "voice"},
        "tasks": {},
    }
    path = folder / name
    path.write_text(yaml.safe_dump(document, sort_keys=False))
    return path


@dataclass(frozen=True)
class Server:
    """A server that runs on some nodes; clients come in on one of them."""

    nodes: Nodes
    url: str
    process: subprocess.Popen[str]

    def status(self) -> dict[str, Any]:
        """What `/v1/system/status` says of the models."""
        workers: dict[str, Any] = (
            httpx.get(f"{self.url}/v1/system/status", timeout=10, verify=False).raise_for_status().json()["workers"]
        )
        return workers

    def answers(self) -> bool:
        """Whether clients reach it."""
        try:
            return httpx.get(f"{self.url}/healthz", timeout=10, verify=False).is_success
        except httpx.TransportError:
            return False

    def reasons(self) -> dict[str, str]:
        """Why models cannot answer now, by alias."""
        found: dict[str, str] = httpx.get(f"{self.url}/readyz", timeout=10, verify=False).json()["reasons"]
        return found

    def processes(self, alias: str) -> set[int]:
        """The processes of a model's replicas that can answer."""
        try:
            replicas = self.status().get(alias, {}).get("replicas", [])
        except httpx.HTTPError:
            return set()
        return {each["pid"] for each in replicas if each["state"] == "ready"}

    def places(self, alias: str) -> list[str]:
        """The names of the nodes on which a model has a replica that can answer."""
        return [self._node_of(pid) for pid in self.processes(alias)]

    def _node_of(self, pid: int) -> str:
        """By the mark of the process: all nodes are on this machine."""
        mark = environment_of(pid).get(MARK)
        return next((name for name, node in self.nodes.nodes.items() if node.mark == mark), "a dead node")

    def wait_for_places(self, alias: str, number: int, seconds: float) -> list[str]:
        """The places of a model, as soon as it has so many; those that there are after so many seconds."""
        until = time.monotonic() + seconds
        while len(places := self.places(alias)) < number and time.monotonic() < until:
            time.sleep(0.5)
        return places

    def deploy(self, config: Path) -> None:
        """Deploy another configuration into it by Ray Serve's own command, on the head, which has the dashboard."""
        head = self.nodes.nodes["head"]
        serve = str(Path(sys.executable).with_name("serve"))
        subprocess.run(
            head.command(serve, "deploy", "--address", self.nodes.dashboard_url(), str(config)),
            env={**self.nodes.environment(head), "PYTHONPATH": str(ROOT)}, cwd=ROOT, check=True, timeout=120,
            stdout=subprocess.DEVNULL,
        )  # fmt: skip


@contextmanager
def running(nodes: Nodes, config: Path, home: Path, port: int = 8000, at: str = "front") -> Iterator[Server]:
    """`atelier up --address` on a node, at which clients come in; ready. Ended by SIGTERM, where its node lives."""
    front = nodes.nodes[at]
    host = front.address
    environ = nodes.environment(front, HOST="0.0.0.0" if nodes.namespaces else host, PORT=str(port))
    command = [sys.executable, "-m", "cli", "up", "--config", str(config), "--address", nodes.address]
    with (home.parent / "up.out").open("w+") as output:
        process = subprocess.Popen(
            front.command(*command), env={**environ, "ATELIER_HOME": str(home)}, cwd=ROOT, text=True, stdout=output,
            stderr=subprocess.STDOUT,
        )  # fmt: skip
        try:
            until = time.monotonic() + _READY_SECONDS
            while READY not in (said := Path(output.name).read_text()):
                if process.poll() is not None or time.monotonic() > until:
                    raise RuntimeError(f"the server did not start: {said}")
                time.sleep(0.2)
            server = Server(nodes, f"http://{host}:{port}", process)
            while not server.answers():  # a node has a proxy once it has a replica
                time.sleep(0.2)
            yield server
        finally:
            process.terminate()
            process.wait(60)
