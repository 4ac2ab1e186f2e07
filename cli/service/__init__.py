"""Atelier as a service of the machine: systemd's on Linux, launchd's on a Mac.

What `make install | uninstall | start | stop | restart | status | logs` and the `atelier` command call:

    service = cli.service.here("user")      # or "system"
    service.install(config)                 # writes its files, enables and starts it; says what is left to do
    service.start(); service.stop(); service.restart(); service.uninstall()
    service.state()                         # a State
    service.logs(follow=True, lines=100)    # this process becomes journalctl

Everything raises `ServiceError`, whose text is one line.
"""

from __future__ import annotations

import sys

from cli.service.definition import Scope, Service, ServiceError, State
from cli.service.launchd import Launchd
from cli.service.systemd import Systemd

__all__ = ["Scope", "Service", "ServiceError", "State", "here", "installed"]


def here(scope: Scope = "user") -> Service:
    """The service of this machine, installed or not.

    Raises:
        ServiceError: the machine has neither systemd nor launchd.
    """
    return Launchd(scope) if sys.platform == "darwin" else Systemd(scope)


def installed() -> Service | None:
    """The service that is installed, the user's before the system's; None where there is none."""
    for scope in ("user", "system"):
        service = here(scope)
        if service.path.exists():
            return service
    return None
