"""Ray nodes on this machine, each with an address of its own, started by `ray start` as on machines of their own.

An address is one of loopback's (127.0.0.2 and so on), of which Linux has all without being asked; or, as root, that of
a network namespace, where a node has its own ports too, as a machine has.
"""

from __future__ import annotations

import json
import os
import subprocess
import sys
import time
import uuid
from collections.abc import Mapping
from contextlib import suppress
from dataclasses import dataclass, field
from pathlib import Path
from typing import Final

import psutil

from cli.environment import ROOT, free_ports

HEAD_PORT: Final = 6379
MARK: Final = "ATELIER_NODE"
_STARTED_SECONDS: Final = 120.0
_TRIES: Final = 3
_OBJECT_STORE_BYTES: Final = 80 * 2**20


@dataclass(frozen=True)
class Node:
    """A node that has been started: all its processes bear its `mark` in their environment."""

    name: str
    address: str
    mark: str
    namespace: str = ""

    def processes(self) -> list[psutil.Process]:
        """Everything that runs on it."""
        return [each for each in psutil.process_iter() if environment_of(each.pid).get(MARK) == self.mark]

    def command(self, *words: str) -> list[str]:
        """A command that runs there."""
        return [*(("ip", "netns", "exec", self.namespace) if self.namespace else ()), *words]

    def kill(self) -> None:
        """SIGKILL of all of it, as a machine that fails."""
        while alive := [each for each in self.processes() if each.status() != psutil.STATUS_ZOMBIE]:
            for each in alive:
                with suppress(psutil.NoSuchProcess):
                    each.kill()
            time.sleep(0.02)


@dataclass
class Nodes:
    """A cluster of nodes with a `folder` for Ray's sessions, whose path has to be short, and a token of its own.

    With a `redis` (HOST:PORT) the head keeps there what it knows, and may be started again. With `namespaces`, each
    node is in one.
    """

    folder: Path
    redis: str = ""
    namespaces: bool = False
    environ: Mapping[str, str] = field(default_factory=dict)
    """For all nodes, beside PATH and HOME."""
    token: str = field(default_factory=lambda: uuid.uuid4().hex * 2)
    nodes: dict[str, Node] = field(default_factory=dict)
    _ports: dict[str, list[int]] = field(default_factory=dict)

    def __post_init__(self) -> None:
        self._prefix = f"at{uuid.uuid4().hex[:6]}"
        self._network = f"10.{77 + os.getpid() % 100}.0" if self.namespaces else "127.0.0"
        if self.namespaces:
            _run("ip", "link", "add", self._prefix, "type", "bridge")
            _run("ip", "address", "add", f"{self._network}.1/24", "dev", self._prefix)
            _run("ip", "link", "set", self._prefix, "up")

    @property
    def outside(self) -> str:
        """The address of this machine, as the nodes see it."""
        return f"{self._network}.1"

    @property
    def address(self) -> str:
        """The cluster's, for `--address`."""
        return f"{self.nodes['head'].address}:{self._gcs_port}"

    @property
    def _gcs_port(self) -> int:
        return HEAD_PORT if self.namespaces else self._ports["head"][0]

    def environment(self, node: Node, **more: str) -> dict[str, str]:
        """That of a process of a node."""
        kept = {name: os.environ[name] for name in ("PATH", "HOME") if name in os.environ}
        runtime = self.folder.parent / f"run-{node.name}"  # a machine has locks of its own
        runtime.mkdir(mode=0o700, exist_ok=True)
        own = {
            "XDG_RUNTIME_DIR": str(runtime),
            "RAY_AUTH_MODE": "token",
            "RAY_AUTH_TOKEN": self.token,
            "RAY_USAGE_STATS_ENABLED": "0",
            "RAY_worker_niceness": "0",
            "OMP_NUM_THREADS": "1",
            MARK: node.mark,
        }
        return {**kept, **own, **self.environ, **more}

    def start(
        self,
        name: str,
        *,
        memory: int,
        gpus: int = 0,
        resources: Mapping[str, float] | None = None,
        dashboard: bool = False,
        **environ: str,
    ) -> Node:
        """Start a node, the one named `head` first; one that was killed may be started again under its name.

        Raises:
            RuntimeError: it does not start.
        """
        before = self.nodes.get(name)
        node = Node(
            name, before.address if before else self._address(), uuid.uuid4().hex, before.namespace if before else ""
        )
        if self.namespaces and not before:
            node = self._with_namespace(node)
        ports = self._ports.setdefault(name, free_ports(7))
        words = [
            f"--node-ip-address={node.address}", f"--dashboard-agent-listen-port={ports[1]}",
            f"--dashboard-agent-grpc-port={ports[2]}", f"--metrics-export-port={ports[3]}",
            f"--runtime-env-agent-port={ports[4]}", "--min-worker-port=0", "--max-worker-port=0", "--num-cpus=1",
            f"--num-gpus={gpus}", f"--memory={memory}", f"--object-store-memory={_OBJECT_STORE_BYTES}",
            f"--resources={json.dumps(dict(resources or {}))}", "--disable-usage-stats",
        ]  # fmt: skip
        more = dict(environ)
        if name == "head":
            self.nodes[name] = node
            port = self._gcs_port
            # Ray looks for a head that still runs here by what the other nodes were started with, which are elsewhere.
            (self.folder / "ray_current_cluster").unlink(missing_ok=True)
            words += [
                "--head", f"--port={port}", f"--ray-client-server-port={ports[5]}", f"--dashboard-port={ports[6]}",
                f"--temp-dir={self.folder}", f"--include-dashboard={str(dashboard).lower()}",
            ]  # fmt: skip
            if self.redis:
                more["RAY_REDIS_ADDRESS"] = self.redis
        else:
            words.append(f"--address={self.address}")
        self._ray_start(node, words, more)
        self.nodes[name] = node
        return node

    def dashboard_url(self) -> str:
        """Where Ray's dashboard is."""
        return f"http://127.0.0.1:{self._ports['head'][6]}"

    def close(self) -> None:
        """End all nodes, and what was made for them."""
        for node in self.nodes.values():
            node.kill()
            if node.namespace:
                _run("ip", "netns", "delete", node.namespace)
        if self.namespaces:
            _run("ip", "link", "delete", self._prefix)

    def _ray_start(self, node: Node, words: list[str], environ: Mapping[str, str]) -> None:
        """A node that is late, since the machine is busy, is started once more: Ray gives it a quarter of a minute."""
        output = self.folder.parent / f"{self.folder.name}-{node.name}.out"
        ray = str(Path(sys.executable).with_name("ray"))
        for _ in range(_TRIES):
            with output.open("w") as file:  # not a pipe, which the node's processes would keep open
                done = subprocess.run(
                    node.command(ray, "start", *words), env=self.environment(node, **environ), cwd=ROOT,
                    stdin=subprocess.DEVNULL, stdout=file, stderr=subprocess.STDOUT, timeout=_STARTED_SECONDS,
                    check=False, start_new_session=True, preexec_fn=lambda: _prioritize(os.getpid(), -10),
                )  # fmt: skip
            if done.returncode == 0:
                for each in node.processes():
                    _prioritize(each.pid, 0)
                return
            node.kill()
        raise RuntimeError(f"the node {node.name} did not start: {output.read_text()[-2000:]}")

    def _address(self) -> str:
        return f"{self._network}.{len(self.nodes) + 2}"

    def _with_namespace(self, node: Node) -> Node:
        number = node.address.rpartition(".")[2]
        made, outside = f"{self._prefix}n{number}", f"{self._prefix}v{number}"
        _run("ip", "netns", "add", made)
        _run("ip", "link", "add", outside, "type", "veth", "peer", "name", "eth0", "netns", made)
        _run("ip", "link", "set", outside, "master", self._prefix, "up")
        inside = ("ip", "netns", "exec", made, "ip")
        _run(*inside, "address", "add", f"{node.address}/24", "dev", "eth0")
        _run(*inside, "link", "set", "eth0", "up")
        _run(*inside, "link", "set", "lo", "up")
        _run(*inside, "route", "add", "default", "via", f"{self._network}.1")
        return Node(node.name, node.address, node.mark, made)


def _prioritize(pid: int, nice: int) -> None:
    """Have a session of processes go before all else on the machine, or as all else; where that may be asked for."""
    with suppress(OSError):  # not as root, or the kernel has no groups of sessions
        Path(f"/proc/{pid}/autogroup").write_text(str(nice))


def _run(*words: str) -> None:
    subprocess.run(words, check=True)


def environment_of(pid: int) -> dict[str, str]:
    """That of a process; empty when it has gone."""
    try:
        return psutil.Process(pid).environ()
    except psutil.Error:
        return {}
