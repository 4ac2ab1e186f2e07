"""The service under launchd, on a Mac: an agent of the user, or a daemon of the system."""

from __future__ import annotations

import os
import plistlib
import re
import shutil
import time
from pathlib import Path
from typing import Any, Final, NoReturn

from cli.environment import READY, ROOT
from cli.service.definition import STOP_SECONDS, Service, ServiceError, State, become, command, remove, run, write

LABEL: Final = "org.atelier.server"
_START_SECONDS: Final = 900.0
"""As systemd waits for it: a first start may install and download."""
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
        """Load it, which starts it, and wait until it says that it is ready.

        One that ends instead is unloaded: launchd would start it again and again.
        """
        self.require_installed()
        if self._shown() is not None:
            return
        begin = self.log.stat().st_size if self.log.exists() else 0
        run("launchctl", "bootstrap", self._domain, str(self.path))
        deadline = time.monotonic() + _START_SECONDS
        while READY not in self._logged(begin):
            shown = self._shown()
            failure = None
            if shown is None:
                failure = "was unloaded"
            elif (status := _exit_status(shown)) is not None:
                failure = f"ended with the exit status {status}" if status >= 0 else f"was killed by signal {-status}"
            elif time.monotonic() > deadline:
                failure = f"is not ready after {_START_SECONDS:g} s"
            if failure is not None:
                self.stop()
                raise ServiceError(f"the service {failure}: {_reason(self._logged(begin))} (log: {self.log})")
            time.sleep(_LOOK_SECONDS)

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
        return State(installed=True, enabled=True, active="failed" if _exit_status(shown) else "inactive")

    def logs(self, *, follow: bool, lines: int) -> NoReturn:
        """`tail` of the log."""
        self.require_installed()
        become("tail", "-n", str(lines), *(["-F"] if follow else []), str(self.log))

    @property
    def _domain(self) -> str:
        return "system" if self.scope == "system" else f"gui/{os.getuid()}"

    def _logged(self, begin: int) -> str:
        """What has been added to the log."""
        try:
            with self.log.open("rb") as log:
                log.seek(begin)
                return log.read().decode(errors="replace")
        except FileNotFoundError:
            return ""
        except OSError as error:
            raise ServiceError(f"cannot read {self.log}: {error.strerror}") from None

    def _shown(self) -> str | None:
        """What launchd knows of it; None while it is not loaded."""
        try:
            return run("launchctl", "print", f"{self._domain}/{LABEL}")
        except ServiceError:  # its exit status says no more than that there is no such service
            return None


def _exit_status(shown: str) -> int | None:
    """Of the last process since it was loaded, by what `launchctl print` says; None while none has ended.

    A signal that ended it is negative.
    """
    if killed := re.search(r"^\s*last terminating signal = .*?(\d+)", shown, re.MULTILINE):
        return -int(killed[1])
    code = re.search(r"^\s*last exit code = (\d+)", shown, re.MULTILINE)
    return int(code[1]) if code else None


def _reason(logged: str) -> str:
    """What the server says last of why it ends; else its last line."""
    lines = [line.strip() for line in logged.splitlines() if line.strip()]
    own = [line.removeprefix("atelier: ") for line in lines if line.startswith("atelier: ")]
    return (own or lines or ["it says nothing"])[-1]
