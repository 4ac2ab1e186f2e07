"""What a service is made of, whatever runs it."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
from abc import ABC, abstractmethod
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Final, Literal, NoReturn

from cli.environment import ROOT

Scope = Literal["user", "system"]

STOP_SECONDS: Final = 30
"""Until a stopping service is killed: `cli.supervisor` kills what does not end by itself after half of it."""

CARRIED: Final = ("HOST", "PORT", "ATELIER_HOME", "HF_HOME")
"""Variables of the installing shell that the new service's file of variables begins with."""

HEADER: Final = """\
# Variables of the Atelier service (docs/configuration.md lists them): NAME=value, read when it starts.
# Only its owner can read this file, so keys may stand here: ATELIER_ADMIN_KEYS, HF_TOKEN.
"""


class ServiceError(Exception):
    """The service cannot do that; `str(error)` is one line that says why and what helps."""


@dataclass(frozen=True)
class State:
    """What the machine says of the service."""

    installed: bool
    enabled: bool
    """It starts with the machine (system) or with its user's session (user)."""
    active: str
    """`active`, `activating`, `deactivating`, `inactive` or `failed`."""
    pid: int | None = None
    restarts: int | None = None
    """How often it was started again after a failure; None where that is not counted."""
    memory_bytes: int | None = None
    since: str | None = None
    """When it came into this state, as the machine writes it."""


class Service(ABC):
    """A service that may be installed. Every method raises `ServiceError`."""

    def __init__(self, scope: Scope) -> None:
        self.scope = scope

    @property
    @abstractmethod
    def path(self) -> Path:
        """The file that defines it, which exists once it is installed."""

    @property
    @abstractmethod
    def variables(self) -> Path:
        """The file of its environment variables."""

    @abstractmethod
    def definition(self, config: Path) -> str:
        """What `path` holds."""

    @abstractmethod
    def install(self, config: Path) -> str:
        """Write the files, and have it start now and whenever the machine does. Again: with what has changed since.

        Returns what is left to do by hand; mostly nothing.
        """

    @abstractmethod
    def uninstall(self) -> None:
        """Stop it and remove its definition. Its variables, pictures and logs stay."""

    @abstractmethod
    def start(self) -> None:
        """Start it, and wait until it answers requests where the machine can tell."""

    @abstractmethod
    def stop(self) -> None:
        """Stop it, and wait until all its processes have ended."""

    def restart(self) -> None:
        """Stop and start it."""
        self.stop()
        self.start()

    @abstractmethod
    def state(self) -> State:
        """What it does now."""

    @abstractmethod
    def logs(self, *, follow: bool, lines: int) -> NoReturn:
        """This process becomes the one that shows the last lines, and further ones as they come."""

    def require_installed(self) -> None:
        """Check that there is something to start."""
        if not self.path.exists():
            system = " SYSTEM=1" if self.scope == "system" else ""
            raise ServiceError(f"the service is not installed ({self.path}); install it with: make install{system}")

    def environment(self) -> dict[str, str]:
        """The variables that its server is started with, beyond those of every program."""
        try:
            lines = self.variables.read_text().splitlines()
        except FileNotFoundError:
            return {}
        except OSError as error:
            raise ServiceError(f"cannot read {self.variables}: {error.strerror}") from None
        pairs = [line.split("=", 1) for line in lines if "=" in line and not line.lstrip().startswith("#")]
        return {name.strip(): value.strip().strip("\"'") for name, value in pairs}

    def write_variables(self, environment: Mapping[str, str]) -> None:
        """Make the file of variables from those of this shell; one that is there stays as it is."""
        if self.variables.exists():
            return
        lines = [f"{name}={environment[name]}\n" for name in CARRIED if environment.get(name)]
        write(self.variables, HEADER + "".join(lines), mode=0o600)


def command(config: Path) -> list[str]:
    """What the service runs."""
    return [str(ROOT / ".venv" / "bin" / "python"), "-m", "cli", "up", "--config", str(config.resolve())]


def write(path: Path, text: str, mode: int = 0o644) -> None:
    """Write a file whole or not at all."""
    draft = path.with_name(f".{path.name}.new")
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        draft.touch(mode)
        draft.chmod(mode)
        draft.write_text(text)
        draft.replace(path)
    except OSError as error:
        draft.unlink(missing_ok=True)
        raise ServiceError(f"cannot write {path}: {error.strerror}") from None


def remove(path: Path) -> None:
    """Remove a file that may be there."""
    try:
        path.unlink(missing_ok=True)
    except OSError as error:
        raise ServiceError(f"cannot remove {path}: {error.strerror}") from None


def run(program: str, *arguments: str) -> str:
    """What a tool of the machine prints. Its own complaint is the error."""
    if shutil.which(program) is None:
        raise ServiceError(f"there is no {program} here; start the server with `make run`")
    done = subprocess.run([program, *arguments], capture_output=True, text=True, check=False)  # noqa: S603
    if done.returncode:
        said = (done.stderr or done.stdout).strip().splitlines()
        raise ServiceError(f"{program} {' '.join(arguments)}: {said[0] if said else f'exit status {done.returncode}'}")
    return done.stdout


def become(program: str, *arguments: str) -> NoReturn:
    """Replace this process by a tool of the machine."""
    found = shutil.which(program)
    if found is None:
        raise ServiceError(f"there is no {program} here; logs are in ATELIER_HOME/logs")
    sys.stdout.flush()
    os.execv(found, [program, *arguments])  # noqa: S606
