"""The SQLite file of the image index: its schema, its lock and its errors."""

from __future__ import annotations

import fcntl
import sqlite3
import time
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Final, TextIO

from stores.errors import StoreError, StoreFull, StoreUnusable

_BUSY_SECONDS: Final = 10

_MIGRATIONS: Final = (
    """
    CREATE TABLE projects (
        number INTEGER PRIMARY KEY AUTOINCREMENT,
        name TEXT NOT NULL UNIQUE,
        created_at TEXT NOT NULL
    ) STRICT;
    CREATE TABLE images (
        label INTEGER PRIMARY KEY AUTOINCREMENT,
        id TEXT NOT NULL UNIQUE,
        project INTEGER NOT NULL REFERENCES projects (number) ON DELETE CASCADE,
        sha256 TEXT NOT NULL,
        r2_key TEXT NOT NULL UNIQUE,
        original_filename TEXT NOT NULL,
        content_type TEXT NOT NULL,
        size_bytes INTEGER NOT NULL,
        width INTEGER NOT NULL,
        height INTEGER NOT NULL,
        created_at TEXT NOT NULL,
        state TEXT NOT NULL CHECK (state IN ('pending', 'ready')),
        UNIQUE (project, sha256)
    ) STRICT;
    CREATE INDEX images_in_order ON images (project, label) WHERE state = 'ready';
    CREATE INDEX images_pending ON images (state) WHERE state = 'pending';
    CREATE TABLE vectors (
        label INTEGER NOT NULL REFERENCES images (label) ON DELETE CASCADE,
        embedder TEXT NOT NULL,
        dimension INTEGER NOT NULL,
        vector BLOB NOT NULL,
        PRIMARY KEY (label, embedder)
    ) STRICT, WITHOUT ROWID;
    CREATE TABLE tombstones (r2_key TEXT PRIMARY KEY) STRICT, WITHOUT ROWID;
    CREATE TABLE graphs (
        project INTEGER NOT NULL REFERENCES projects (number) ON DELETE CASCADE,
        embedder TEXT NOT NULL,
        file TEXT NOT NULL UNIQUE,
        sha256 TEXT NOT NULL,
        unproven TEXT NOT NULL,
        PRIMARY KEY (project, embedder)
    ) STRICT, WITHOUT ROWID;
    """,
)
"""Step i takes schema i to schema i + 1. Steps are only ever added."""


class Database:
    """The file, opened by one process at a time and used by one thread at a time.

    Its methods raise `StoreFull` when the disk is full and `StoreError` when SQLite fails otherwise.

    Raises:
        StoreUnusable: another process keeps it open for `wait` seconds, its schema is newer, the file is damaged, or
            it cannot be made there.
    """

    def __init__(self, path: Path, wait: float) -> None:
        try:
            path.parent.mkdir(parents=True, exist_ok=True)
            self._lock = _lock(path.with_name(f"{path.name}.lock"), wait)
        except OSError as error:
            raise StoreUnusable(
                f"{path} cannot be made or written: {error.strerror}; let this user write to {path.parent}, "
                "or keep the image index elsewhere (search.database, IMAGE_SEARCH_DB_PATH)"
            ) from error
        try:
            self._db = _open(path)
        except BaseException:
            self._lock.close()
            raise

    @property
    def closed(self) -> bool:
        """Whether `close` was called."""
        return self._lock.closed

    def close(self) -> None:
        """Close the file and let other processes in."""
        self._db.close()
        self._lock.close()

    @contextmanager
    def transaction(self) -> Iterator[None]:
        """What is executed inside happens as a whole and durably, or not at all."""
        with _translated():
            self._db.execute("BEGIN IMMEDIATE")
            try:
                yield
                self._db.execute("COMMIT")
            except BaseException:
                if self._db.in_transaction:
                    self._db.execute("ROLLBACK")
                raise

    def execute(self, statement: str, *values: str | int | bytes) -> None:
        """Change something."""
        with _translated():
            self._db.execute(statement, values)

    def execute_each(self, statement: str, rows: Iterable[tuple[str | int | bytes, ...]]) -> None:
        """Change something once for each row of values."""
        with _translated():
            self._db.executemany(statement, rows)

    def all(self, query: str, *values: str | int) -> list[sqlite3.Row]:
        """The rows."""
        with _translated():
            return self._db.execute(query, values).fetchall()

    def one(self, query: str, *values: str | int) -> sqlite3.Row | None:
        """The first row, if there is one."""
        with _translated():
            row: sqlite3.Row | None = self._db.execute(query, values).fetchone()
            return row


def _open(path: Path) -> sqlite3.Connection:
    db = sqlite3.connect(path, isolation_level=None, timeout=_BUSY_SECONDS, check_same_thread=False)
    try:
        db.row_factory = sqlite3.Row
        version = int(db.execute("PRAGMA user_version").fetchone()[0])
        if version > len(_MIGRATIONS):
            raise StoreUnusable(
                f"{path} has schema {version}, and this version of Atelier knows schemas up to {len(_MIGRATIONS)}: "
                "start the newer version again, or restore a backup made before the upgrade"
            )
        db.execute("PRAGMA journal_mode = WAL")
        db.execute("PRAGMA synchronous = FULL")
        db.execute("PRAGMA foreign_keys = ON")
        for number, script in enumerate(_MIGRATIONS[version:], start=version + 1):
            db.executescript(f"BEGIN IMMEDIATE; {script}; PRAGMA user_version = {number}; COMMIT")
    except sqlite3.DatabaseError as error:
        db.close()
        raise StoreUnusable(f"{path} cannot be opened as the image index: {error}") from error
    except StoreUnusable:
        db.close()
        raise
    return db


def _lock(path: Path, wait: float) -> TextIO:
    """The lock file, held; the system frees it however this process ends."""
    file = path.open("a")
    deadline = time.monotonic() + wait
    while True:
        try:
            fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError as error:
            if time.monotonic() > deadline:
                file.close()
                raise StoreUnusable(f"another process has the image index at {path.parent} open") from error
            time.sleep(0.1)
        else:
            return file


@contextmanager
def _translated() -> Iterator[None]:
    try:
        yield
    except sqlite3.Error as error:
        if error.sqlite_errorcode == sqlite3.SQLITE_FULL:
            raise StoreFull("the disk of the image index is full") from error
        raise StoreError(f"the image index failed: {error}") from error
