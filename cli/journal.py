"""What has been uploaded, kept beside the server's state on this machine, so that an upload can go on."""

from __future__ import annotations

import os
import sqlite3
import stat
from dataclasses import dataclass
from pathlib import Path
from typing import Self

from cli.server import CommandError


@dataclass(frozen=True)
class FileState:
    """A file as it was looked at: another size or time of change (ns since the epoch) is another picture."""

    path: Path
    size: int
    mtime_ns: int

    @classmethod
    def of(cls, path: Path) -> Self:
        """The file's state now.

        Raises:
            OSError: it cannot be looked at, or is not an ordinary file.
        """
        status = path.stat()
        if not stat.S_ISREG(status.st_mode):
            raise OSError("not an ordinary file")
        return cls(path.resolve(), status.st_size, status.st_mtime_ns)


class Journal:
    """The ids that one project of one server gave to files. What is noted survives a kill in the next instant."""

    def __init__(self, folder: Path, server: str, project: str) -> None:
        path = folder / "uploads.db"
        try:
            folder.mkdir(parents=True, exist_ok=True)
            # Another command may be writing.
            self._db = sqlite3.connect(path, timeout=30, isolation_level=None)
            self._db.execute("PRAGMA journal_mode = WAL")
            self._db.execute("PRAGMA synchronous = NORMAL")
            self._db.execute(
                "CREATE TABLE IF NOT EXISTS uploads (server TEXT, project TEXT, path BLOB, size INTEGER, "
                "mtime_ns INTEGER, image_id TEXT, PRIMARY KEY (server, project, path)) WITHOUT ROWID"
            )
        except (OSError, sqlite3.Error) as error:
            raise CommandError(f"the journal of uploads {path} cannot be used: {error}") from None
        self._of = (server, project)

    def close(self) -> None:
        """Close the file."""
        self._db.close()

    @property
    def is_empty(self) -> bool:
        """Whether nothing is noted for the project."""
        return not self._db.execute(
            "SELECT 1 FROM uploads WHERE (server, project) = (?, ?) LIMIT 1", self._of
        ).fetchall()

    def find(self, file: FileState) -> str | None:
        """The id that the file got in this very state."""
        row = self._db.execute(
            "SELECT image_id FROM uploads WHERE (server, project, path, size, mtime_ns) = (?, ?, ?, ?, ?)",
            (*self._of, os.fsencode(file.path), file.size, file.mtime_ns),
        ).fetchone()
        return None if row is None else str(row[0])

    def note(self, file: FileState, image_id: str) -> None:
        """Remember the id that the file got; an earlier state of the file is forgotten."""
        self._db.execute(
            "INSERT OR REPLACE INTO uploads VALUES (?, ?, ?, ?, ?, ?)",
            (*self._of, os.fsencode(file.path), file.size, file.mtime_ns, image_id),
        )
