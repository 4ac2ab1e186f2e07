"""A SQLite file that all processes of this machine may share: opened once, by whichever comes first, and any thread."""

from __future__ import annotations

import fcntl
import logging
import sqlite3
import threading
import weakref
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Final

from stores.database import Row
from stores.errors import StoreError, StoreFull

logger = logging.getLogger(__name__)

_BUSY_SECONDS: Final = 10


class SharedSqlite:
    """A file of one schema. `contents` is what its errors call it: "the kept answers".

    What is written survives the end of any process at once, and the machine's loss of power after a moment: it is not
    waited for the disk. A file that is damaged, or was written by another version, is replaced; with `sets_aside` it
    stays beside the new one.

    Raises:
        StoreFull: no room on the disk; what was there before is untouched.
        StoreError: SQLite failed otherwise.
    """

    def __init__(self, path: Path, schema: str, *, version: int, contents: str, sets_aside: bool = False) -> None:
        self._contents = contents
        self._lock = threading.RLock()
        with self._translated():
            path.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
            self._db = _open(path, schema, version, contents, sets_aside)
        weakref.finalize(self, self._db.close)  # an ingress replica has no other end than its process's

    @contextmanager
    def transaction(self) -> Iterator[None]:
        """What is executed inside happens as a whole, or not at all."""
        with self._translated(), self._lock:
            self._db.execute("BEGIN IMMEDIATE")
            try:
                yield
                self._db.execute("COMMIT")
            except BaseException:
                if self._db.in_transaction:  # a full disk may have ended it
                    self._db.execute("ROLLBACK")
                raise

    @contextmanager
    def snapshot(self) -> Iterator[None]:
        """What is read inside is of one moment."""
        with self._translated(), self._lock:
            self._db.execute("BEGIN DEFERRED")
            try:
                yield
            finally:
                if self._db.in_transaction:
                    self._db.execute("ROLLBACK")

    def execute(self, statement: str, *values: str | float | bytes | None) -> int:
        """Change something; how many rows were."""
        with self._translated(), self._lock:
            return self._db.execute(statement, values).rowcount

    def all(self, query: str, *values: str | float | bytes | None) -> Sequence[Row]:
        """The rows."""
        with self._translated(), self._lock:
            return self._db.execute(query, values).fetchall()

    def one(self, query: str, *values: str | float | bytes | None) -> Row | None:
        """The first row, if there is one."""
        with self._translated(), self._lock:
            row: Row | None = self._db.execute(query, values).fetchone()
            return row

    def claim(self, what: str) -> bool:
        """Always: of two that do the same, SQLite lets one wait for the other."""
        del what
        return True

    def release(self, what: str) -> None:
        """Nothing."""

    def reclaim(self) -> None:
        """Give the disk back what deleted rows have taken."""
        with self._translated(), self._lock:
            # `execute` would take one of its steps, which is one page
            self._db.executescript("PRAGMA incremental_vacuum")

    def close(self) -> None:
        """Close the file."""
        with self._lock:
            self._db.close()

    @contextmanager
    def _translated(self) -> Iterator[None]:
        try:
            yield
        except sqlite3.Error as error:
            if getattr(error, "sqlite_errorcode", None) == sqlite3.SQLITE_FULL:
                raise StoreFull(f"the disk of {self._contents} is full") from error
            raise StoreError(f"{self._contents} failed: {error}") from error
        except OSError as error:
            raise StoreError(f"the folder of {self._contents} failed: {error.strerror}") from error


class _OtherSchema(Exception):
    """The file is of another version."""


def _open(path: Path, schema: str, version: int, contents: str, sets_aside: bool) -> sqlite3.Connection:
    # Several ingress replicas may start at once, and only one of them may make or replace the file.
    with path.with_name(f"{path.name}.lock").open("a") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        path.touch(mode=0o600)
        try:
            return _connect(path, schema, version)
        except (_OtherSchema, sqlite3.DatabaseError) as error:
            damaged = (sqlite3.SQLITE_NOTADB, sqlite3.SQLITE_CORRUPT)
            if isinstance(error, sqlite3.Error) and error.sqlite_errorcode not in damaged:
                raise
            kept = f", and kept as {path.name}.unread" if sets_aside else ""
            logger.warning("%s in %s cannot be read (%s); the file is replaced%s", contents, path, error, kept)
        away: Callable[[Path], object] = _set_aside if sets_aside else lambda each: each.unlink(missing_ok=True)
        for suffix in ("", "-wal", "-shm"):
            away(path.with_name(path.name + suffix))
        path.touch(mode=0o600)
        return _connect(path, schema, version)


def _set_aside(path: Path) -> None:
    if path.exists():
        path.replace(path.with_name(f"{path.name}.unread"))


def _connect(path: Path, schema: str, version: int) -> sqlite3.Connection:
    db = sqlite3.connect(path, isolation_level=None, timeout=_BUSY_SECONDS, check_same_thread=False)
    try:
        db.row_factory = sqlite3.Row
        found = int(db.execute("PRAGMA user_version").fetchone()[0])
        if found not in (0, version):
            raise _OtherSchema(f"it has schema {found}, and this version of Atelier writes {version}")
        if found == 0:
            db.execute("PRAGMA auto_vacuum = INCREMENTAL")
        db.execute("PRAGMA journal_mode = WAL")
        db.execute("PRAGMA synchronous = NORMAL")
        db.execute("PRAGMA foreign_keys = ON")
        db.execute("PRAGMA journal_size_limit = 4194304")
        if found == 0:
            db.executescript(f"BEGIN IMMEDIATE; {schema} PRAGMA user_version = {version}; COMMIT")
    except BaseException:
        db.close()
        raise
    return db
