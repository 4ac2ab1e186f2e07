"""Claims: which work is under way, among all processes of this machine.

A claim is a file that its holder keeps locked. The system frees the lock however the holder ends, so nothing has to be
renewed, no clock decides who is still alive, and a crash keeps nobody waiting.
"""

from __future__ import annotations

import contextlib
import errno
import fcntl
import os
import tempfile
import time
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import IO, Final

from stores.errors import StoreError, StoreFull

_ABANDONED_AFTER_SECONDS: Final = 3600


@dataclass(frozen=True)
class Held:
    """Somebody else has the claim; `mark` is what they took it with."""

    mark: bytes


class Claim:
    """A claim of this caller's, until it is released or this process ends."""

    def __init__(self, path: Path, file: IO[bytes]) -> None:
        self._path = path
        self._file = file

    def release(self) -> None:
        """Give it up; a second time does nothing."""
        if not self._file.closed:
            self._path.unlink(missing_ok=True)
            self._file.close()


class Claims:
    """Claims by name, as files of one folder. Every method may be called from any thread.

    Raises:
        StoreFull: no room on the disk.
        StoreError: the folder cannot be written otherwise.
    """

    def __init__(self, folder: Path) -> None:
        self._folder = folder
        with _translated():
            folder.mkdir(mode=0o700, parents=True, exist_ok=True)
            self._remove_abandoned()

    def take(self, name: str, mark: bytes) -> Claim | Held:
        """The claim on a name, or who holds it. `name` is a file name, `mark` any bytes for others to see."""
        path = self._folder / name
        with _translated():
            while True:
                with contextlib.suppress(FileNotFoundError), path.open("r+b") as found:
                    if not _lock(found):
                        return Held(found.read())
                    _remove(path, found)  # its holder died; or has just released it, and this is no longer the file
                if (claim := self._place(path, mark)) is not None:
                    return claim

    def _place(self, path: Path, mark: bytes) -> Claim | None:
        """The claim's file under its name, locked and complete from the first moment others can see it."""
        descriptor, temporary = tempfile.mkstemp(dir=self._folder, prefix=".")
        file = os.fdopen(descriptor, "wb")
        try:
            file.write(mark)
            file.flush()
            fcntl.flock(file, fcntl.LOCK_EX)
            os.link(temporary, path)
        except FileExistsError:
            file.close()
            return None
        except BaseException:
            file.close()
            raise
        finally:
            Path(temporary).unlink()
        return Claim(path, file)

    def _remove_abandoned(self) -> None:
        for path in self._folder.iterdir():
            with contextlib.suppress(FileNotFoundError):
                # A file that is not yet locked may be one that is just being made.
                if time.time() - path.stat().st_mtime < _ABANDONED_AFTER_SECONDS:
                    continue
                with path.open("r+b") as found:
                    if _lock(found):
                        _remove(path, found)


def _lock(file: IO[bytes]) -> bool:
    try:
        fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        return False
    return True


def _remove(path: Path, locked: IO[bytes]) -> None:
    """Remove the path if it still is the file we have locked: another's claim may have taken the name."""
    with contextlib.suppress(FileNotFoundError):
        if os.path.samestat(path.stat(), os.fstat(locked.fileno())):
            path.unlink()


@contextlib.contextmanager
def _translated() -> Iterator[None]:
    try:
        yield
    except OSError as error:
        if error.errno in (errno.ENOSPC, errno.EDQUOT):
            raise StoreFull("the disk of the claims is full") from error
        raise StoreError(f"the folder of the claims failed: {error.strerror}") from error
