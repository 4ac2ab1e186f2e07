"""The service under launchd, on a Mac: an agent of the user, or a daemon of the system."""

from __future__ import annotations

import os
import plistlib
import re
import shutil
import time
from pathlib import Path
from typing import Any, Final, NoReturn

from cli.environment import ROOT
from cli.service.definition import STOP_SECONDS, Service, ServiceError, State, become, command, remove, run, write

LABEL: Final = "org.atelier.server"
_LOOK_SECONDS: Final = 0.2

_WITH_VARIABLES: Final = 'set -a; [ ! -e "$1" ] || . "$1"; set +a; shift; exec "$@"'
"""launchd reads no file of variables: the shell does, and is replaced by the server."""


class Launchd(Service):
    """A property list. `launchctl` does the work."""

    @property
    def path(self) -> Path:
        """The property list's file."""
        if self.scope == "system":
            return Path("/Library/LaunchDaemons") / f"{LABEL}.plist"
        return Path.home() / "Library" / "LaunchAgents" / f"{LABEL}.plist"

    @property
    def variables(self) -> Path:
        """A file of NAME=value lines, which a shell reads."""
        if self.scope == "system":
            return Path("/Library/Application Support/Atelier/environment")
        return Path.home() / "Library" / "Application Support" / "Atelier" / "environment"

    @property
    def log(self) -> Path:
        """What the server prints."""
        folder = Path("/Library/Logs") if self.scope == "system" else Path.home() / "Library" / "Logs"
        return folder / "Atelier" / "atelier.log"

    def definition(self, config: Path) -> str:
        """The property list, in XML."""
        properties: dict[str, Any] = {
            "Label": LABEL,
            "ProgramArguments": ["/bin/sh", "-c", _WITH_VARIABLES, "atelier", str(self.variables), *command(config)],
            "WorkingDirectory": str(ROOT),
            "EnvironmentVariables": {"ATELIER_LOG_STDOUT": "1"},
            "RunAtLoad": True,
            "KeepAlive": {"SuccessfulExit": False},
            "ThrottleInterval": 10,
            "ExitTimeOut": STOP_SECONDS,
            "ProcessType": "Interactive",  # no less of the machine than a program in a terminal
            "Umask": 0o077,
            "SoftResourceLimits": {"NumberOfFiles": 65536},
            "StandardOutPath": str(self.log),
            "StandardErrorPath": str(self.log),
        }
        if self.scope == "system":
            properties["UserName"] = os.environ.get("SUDO_USER") or "nobody"
        return plistlib.dumps(properties).decode()

    def install(self, config: Path) -> str:
        """Write the property list and load it."""
        if self.scope == "system" and (os.geteuid() != 0 or not os.environ.get("SUDO_USER")):
            raise ServiceError("a service of the system needs root, and a user to run as: sudo make install SYSTEM=1")
        self.write_variables(os.environ)
        self.log.parent.mkdir(parents=True, exist_ok=True)
        if self.scope == "system":  # it runs as that user, who reads the one and writes into the other
            for each in (self.variables, self.log.parent):
                shutil.chown(each, os.environ["SUDO_USER"])
        write(self.path, self.definition(config))
        self.stop()
        self.start()
        return ""

    def uninstall(self) -> None:
        """Unload and remove it."""
        self.require_installed()
        self.stop()
        remove(self.path)

    def start(self) -> None:
        """Load it, which starts it."""
        self.require_installed()
        if self._shown() is None:
            run("launchctl", "bootstrap", self._domain, str(self.path))

    def stop(self) -> None:
        """Unload it, which ends it; it comes back with the next login."""
        self.require_installed()
        if self._shown() is None:
            return
        said = ""
        try:
            run("launchctl", "bootout", f"{self._domain}/{LABEL}")
        except ServiceError as error:  # 36, "Operation now in progress", where the server takes a while to end
            said = f" ({error})"
        deadline = time.monotonic() + STOP_SECONDS + 10
        while self._shown() is not None:
            if time.monotonic() > deadline:
                raise ServiceError(f"the service does not end{said}")
            time.sleep(_LOOK_SECONDS)

    def state(self) -> State:
        """What `launchctl print` says."""
        if not self.path.exists():
            return State(installed=False, enabled=False, active="inactive")
        shown = self._shown()
        if shown is None:
            return State(installed=True, enabled=True, active="inactive")
        pid = re.search(r"^\s*pid = (\d+)", shown, re.MULTILINE)
        if pid:
            return State(installed=True, enabled=True, active="active", pid=int(pid[1]))
        code = re.search(r"^\s*last exit code = (\d+)", shown, re.MULTILINE)
        return State(installed=True, enabled=True, active="failed" if code and code[1] != "0" else "inactive")

    def logs(self, *, follow: bool, lines: int) -> NoReturn:
        """`tail` of the log."""
        self.require_installed()
        become("tail", "-n", str(lines), *(["-F"] if follow else []), str(self.log))

    @property
    def _domain(self) -> str:
        return "system" if self.scope == "system" else f"gui/{os.getuid()}"

    def _shown(self) -> str | None:
        """What launchd knows of it; None while it is not loaded."""
        try:
            return run("launchctl", "print", f"{self._domain}/{LABEL}")
        except ServiceError:  # its exit status says no more than that there is no such service
            return None
