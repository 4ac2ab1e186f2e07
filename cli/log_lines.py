"""The lines that replicas, Serve and Ray write into files, printed as they come: for a journal or a container's log."""

from __future__ import annotations

import os
import sys
import threading
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import BinaryIO, Final

PERIOD_SECONDS: Final = 0.5
READ_BYTES: Final = 2**20
"""At most so much of a file at once, so that one that is written fast does not keep the others waiting."""


class LogLines:
    """Follows files by inode: one that is rotated away is read to its end, and the new one from its beginning."""

    def __init__(self, folders: dict[Path, str], output: BinaryIO) -> None:
        """`folders`: which files of each, as a glob pattern; a folder may come later."""
        self._folders = folders
        self._output = output
        self._read: dict[int, int] = {}

    def skip(self) -> None:
        """Pass over the whole lines that are there already."""
        for folder, pattern in self._folders.items():
            for path in folder.glob(pattern):
                with suppress(FileNotFoundError), path.open("rb") as file:  # rotated between the two
                    self._read[os.fstat(file.fileno()).st_ino] = _end_of_lines(file)

    def copy_new(self) -> bool:
        """Write whole lines that have come since the last time; whether there were any."""
        before = dict(self._read)
        there: set[int] = set()
        for folder, pattern in self._folders.items():
            for path in sorted(folder.glob(pattern)):
                try:
                    with path.open("rb") as file:
                        there.add(self._copy(file))
                except FileNotFoundError:  # rotated between the two
                    continue
        self._read = {inode: read for inode, read in self._read.items() if inode in there}
        self._output.flush()
        return any(read > before.get(inode, 0) for inode, read in self._read.items())

    def _copy(self, file: BinaryIO) -> int:
        inode = os.fstat(file.fileno()).st_ino
        begin = self._read.setdefault(inode, 0)
        file.seek(begin)
        text = file.read(READ_BYTES)
        whole = text.rfind(b"\n") + 1 or (len(text) if len(text) == READ_BYTES else 0)
        self._output.write(text[:whole])
        self._read[inode] = begin + whole
        return inode


def _end_of_lines(file: BinaryIO) -> int:
    """Where the last whole line of a file ends."""
    end = file.seek(0, os.SEEK_END)
    start = max(0, end - READ_BYTES)
    file.seek(start)
    return start + file.read(end - start).rfind(b"\n") + 1


@contextmanager
def printed(folders: dict[Path, str], output: BinaryIO | None = None) -> Iterator[None]:
    """Print the lines of these files while the body runs, to the end."""
    lines = LogLines(folders, output or sys.stdout.buffer)
    end = threading.Event()

    def follow() -> None:
        while not end.wait(PERIOD_SECONDS):
            lines.copy_new()

    thread = threading.Thread(target=follow, name="log lines", daemon=True)
    thread.start()
    try:
        yield
    finally:
        end.set()
        thread.join()
        while lines.copy_new():
            pass
