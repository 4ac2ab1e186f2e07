"""ATELIER_HOME, and the server that runs in it."""

from __future__ import annotations

import contextlib
import fcntl
import json
import os
import signal
import time
from dataclasses import dataclass
from pathlib import Path
from typing import Final

import psutil
from pydantic import BaseModel, ValidationError

from cli.server import CommandError, Mistake

_LOCK: Final = "server.json"
_WRITTEN_SECONDS: Final = 5.0
"""How long a server may hold the lock before it has written who it is; it makes folders and checks keys first."""
_END_SECONDS: Final = 60.0
_LOOK_SECONDS: Final = 0.1


class _Written(BaseModel):
    pid: int
    url: str


@dataclass(frozen=True)
class Running:
    """The server that holds the lock of the home folder. `process` is that one, even if its number is used again."""

    home: Path
    url: str
    process: psutil.Process

    def end(self) -> None:
        """Ask it to end, and wait until it has given the home folder back.

        Raises:
            CommandError: it belongs to somebody else, or does not end.
        """
        try:
            self.process.send_signal(signal.SIGTERM)
        except psutil.NoSuchProcess:
            pass  # it ends by itself
        except psutil.AccessDenied:
            raise CommandError(f"the server in {self.home} is another user's (process {self.process.pid})") from None
        deadline = time.monotonic() + _END_SECONDS
        while is_locked(self.home):
            if time.monotonic() > deadline:
                raise CommandError(f"process {self.process.pid} has not ended after {_END_SECONDS:g} s")
            time.sleep(_LOOK_SECONDS)


def home_folder() -> Path:
    """ATELIER_HOME, else its default.

    Raises:
        Mistake: it begins with the ~ of somebody unknown.
    """
    from settings import Settings  # slow, and only needed where a home is looked for

    home = Path(os.environ.get("ATELIER_HOME") or Settings.model_fields["home"].default)
    try:
        return home.expanduser().absolute()
    except RuntimeError:
        raise Mistake(f"ATELIER_HOME: {str(home)!r}: whose home ~ stands for is not known here") from None


def running(home: Path) -> Running | None:
    """The server that runs in a home folder. What a killed one has left there is none.

    Raises:
        CommandError: the folder cannot be read, or the process that holds its lock does not say who it is.
    """
    deadline = time.monotonic() + _WRITTEN_SECONDS
    while is_locked(home):
        with contextlib.suppress(ValidationError, psutil.NoSuchProcess):
            written = _read(home)
            process = psutil.Process(written.pid)
            # Only one that still holds the lock, and still says the same, is the process of that number.
            if is_locked(home) and _read(home) == written:
                return Running(home, written.url, process)
        if time.monotonic() > deadline:
            raise CommandError(f"a server starts or ends in {home}; try again in a moment")
        time.sleep(_LOOK_SECONDS)
    return None


def is_locked(home: Path) -> bool:
    """Whether a server has the home folder.

    Raises:
        CommandError: it cannot be read.
    """
    try:
        with (home / _LOCK).open() as lock:
            try:
                # Shared: two who look at once do not take each other for a server.
                fcntl.flock(lock, fcntl.LOCK_SH | fcntl.LOCK_NB)
            except BlockingIOError:
                return True
            return False
    except (FileNotFoundError, NotADirectoryError):
        return False
    except OSError as error:
        raise CommandError(f"cannot read {home / _LOCK}: {error.strerror}") from None


def _read(home: Path) -> _Written:
    return _Written.model_validate(json.loads((home / _LOCK).read_text() or "{}"))
