"""What the server says to the service manager that started it: sd_notify(3), which is one datagram."""

from __future__ import annotations

import os
import socket


class ServiceManager:
    """systemd, where it waits for the server; elsewhere nobody, and nothing is sent."""

    def __init__(self) -> None:
        # taken away: no process below, HAProxy least of all, speaks for the server
        self._address = os.environ.pop("NOTIFY_SOCKET", "")

    def notify(self, state: str) -> None:
        """Send `READY=1` or `STOPPING=1`.

        Raises:
            OSError: the manager cannot be reached.
        """
        if not self._address:
            return
        with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM | socket.SOCK_CLOEXEC) as manager:
            manager.connect(f"\0{self._address[1:]}" if self._address[0] == "@" else self._address)
            manager.sendall(state.encode())
