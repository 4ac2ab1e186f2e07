"""A Redis of our own, which tests may kill, stop and revive."""

from __future__ import annotations

import signal
import socket
import subprocess
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress

from cli.environment import free_ports


class RedisServer:
    """`redis-server` on a free port, always the same one; it keeps nothing on disk."""

    def __init__(self, host: str = "127.0.0.1") -> None:
        self.host = host
        (self.port,) = free_ports(1)
        self.url = f"redis://{host}:{self.port}/3"
        self._process: subprocess.Popen[bytes] | None = None

    def start(self) -> None:
        command = ["redis-server", "--port", str(self.port), "--bind", self.host, "--save", "", "--appendonly", "no"]
        command += ["--protected-mode", "no"]
        self._process = subprocess.Popen(command, stdout=subprocess.DEVNULL)
        until = time.monotonic() + 60
        while time.monotonic() < until:
            assert self._process.poll() is None, "redis-server ended at its start"
            with suppress(OSError), socket.create_connection((self.host, self.port), 1):
                return
            time.sleep(0.02)
        raise AssertionError("redis-server does not listen")

    def kill(self) -> None:
        """SIGKILL, as a machine that fails."""
        if self._process is not None:
            self._process.kill()
            self._process.wait()
            self._process = None

    def stop(self) -> None:
        """Keeps its connections and answers nothing until `go_on`."""
        self._signal(signal.SIGSTOP)

    def go_on(self) -> None:
        self._signal(signal.SIGCONT)

    def _signal(self, number: int) -> None:
        assert self._process is not None
        self._process.send_signal(number)


@contextmanager
def redis_server(host: str = "127.0.0.1") -> Iterator[RedisServer]:
    server = RedisServer(host)
    server.start()
    try:
        yield server
    finally:
        server.kill()
