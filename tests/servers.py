"""Servers as a user starts them: `python -m cli up` in a process of its own."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import uuid
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path

import psutil

from cli.environment import ROOT, free_ports


@dataclass(frozen=True)
class Server:
    """A server that has been started, ready or not."""

    process: subprocess.Popen[str]
    url: str
    port: int
    home: Path
    mark: str

    def wait_until_ready(self) -> list[str]:
        """What it printed until then."""
        assert self.process.stdout
        lines = []
        for line in self.process.stdout:
            lines.append(line)
            if line.startswith("Atelier is ready"):
                return lines
        raise AssertionError(f"ended with {self.process.wait()}: {''.join(lines)}")

    def processes(self) -> list[psutil.Process]:
        """Everything that runs on behalf of this server, wherever it hangs in the tree of processes."""
        return [each for each in psutil.process_iter() if self.mark in environment_of(each).values()]

    def listening(self) -> set[tuple[str, int]]:
        """The addresses and ports that this server's processes listen on."""
        found = set()
        for process in self.processes():
            with suppress(psutil.NoSuchProcess):  # helpers of Ray come and go
                found |= {
                    (connection.laddr.ip, connection.laddr.port)
                    for connection in process.net_connections("tcp")
                    if connection.status == psutil.CONN_LISTEN
                }
        return found

    def stop(self) -> int:
        """SIGTERM, as a service manager sends it; the exit status."""
        self.process.send_signal(signal.SIGTERM)
        self.process.communicate(timeout=300)
        return self.process.returncode


def start_server(home: Path, config: Path | None = None, **environ: str) -> Server:
    """Start a server, on a free port unless PORT is given. The caller stops it."""
    port = int(environ["PORT"]) if "PORT" in environ else free_ports(1)[0]
    mark = uuid.uuid4().hex
    process = subprocess.Popen(
        command(config),
        env=environment(home, **{**environ, "PORT": str(port), "ATELIER_TEST_MARK": mark}),
        cwd=ROOT,
        stdout=subprocess.PIPE,
        text=True,
    )
    return Server(process, f"http://127.0.0.1:{port}", port, home, mark)


def try_server(
    home: Path, config: Path | None = None, *, address: str | None = None, **environ: str
) -> subprocess.CompletedProcess[str]:
    """Start a server that is expected to refuse, on a free port unless another is given; `address` of a cluster."""
    return subprocess.run(
        [*command(config), *(["--address", address] if address is not None else [])],
        env=environment(home, **{"PORT": str(free_ports(1)[0]), **environ}),
        cwd=ROOT,
        capture_output=True,
        text=True,
        check=False,
    )


def command(config: Path | None) -> list[str]:
    return [sys.executable, "-m", "cli", "up", *(["--config", str(config)] if config else [])]


def environment(home: Path, **environ: str) -> dict[str, str]:
    """Nothing of the developer's own settings."""
    kept = {
        name: os.environ[name] for name in ("PATH", "HOME", "LD_LIBRARY_PATH", "XDG_RUNTIME_DIR") if name in os.environ
    }
    return {**kept, "ATELIER_HOME": str(home), **environ}


def environment_of(process: psutil.Process) -> dict[str, str]:
    try:
        return process.environ()
    except (psutil.NoSuchProcess, psutil.AccessDenied):
        return {}
