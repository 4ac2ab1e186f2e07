"""Answers that were given, kept for a while so that they can be given again."""

from __future__ import annotations

import fcntl
import json
import logging
import sqlite3
import threading
import time
import weakref
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from stores.errors import StoreError, StoreFull

logger = logging.getLogger(__name__)

_BUSY_SECONDS: Final = 10
_SCHEMA_VERSION: Final = 1
_SCHEMA: Final = """
    CREATE TABLE answers (
        name TEXT PRIMARY KEY,
        kept_at REAL NOT NULL,
        digest BLOB NOT NULL,
        status INTEGER NOT NULL,
        headers TEXT NOT NULL,
        body BLOB NOT NULL,
        size INTEGER NOT NULL
    ) STRICT;
    CREATE INDEX answers_by_age ON answers (kept_at, size);
"""


@dataclass(frozen=True)
class Answer:
    """An HTTP answer as it was sent, and the digest of the request that it answers."""

    digest: bytes
    status: int
    headers: tuple[tuple[bytes, bytes], ...]
    body: bytes


class Answers:
    """Answers by name in a SQLite file, which all processes of this machine may share and any thread may ask.

    An answer is kept for `seconds`; of more than `max_answers`, or of more than `max_bytes` of bodies, the oldest go
    first. A file that is damaged, or was written by another version, is replaced: what it held lasts a day at most.

    Raises:
        StoreFull: no room on the disk; what was kept before is untouched.
        StoreError: SQLite failed otherwise.
    """

    def __init__(self, path: Path, *, seconds: float, max_answers: int, max_bytes: int) -> None:
        self._seconds = seconds
        self._max_answers = max_answers
        self._max_bytes = max_bytes
        self._lock = threading.Lock()
        with _translated():
            path.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
            self._db = _open(path)
            self._prune()
        weakref.finalize(self, self._db.close)  # an ingress replica has no other end than its process's

    def find(self, name: str) -> Answer | None:
        """The answer kept under a name, if it is not too old."""
        with _translated(), self._lock:
            row = self._db.execute(
                "SELECT digest, status, headers, body FROM answers WHERE name = ? AND kept_at > ?",
                (name, time.time() - self._seconds),
            ).fetchone()
        if row is None:
            return None
        digest, status, headers, body = row
        pairs = tuple((key.encode("latin-1"), value.encode("latin-1")) for key, value in json.loads(headers))
        return Answer(digest, status, pairs, body)

    def keep(self, name: str, answer: Answer) -> None:
        """Keep an answer, in place of an older one of that name."""
        pairs = json.dumps([(key.decode("latin-1"), value.decode("latin-1")) for key, value in answer.headers])
        row = (name, time.time(), answer.digest, answer.status, pairs, answer.body, len(answer.body))
        with _translated(), self._lock:
            self._db.execute("INSERT OR REPLACE INTO answers VALUES (?, ?, ?, ?, ?, ?, ?)", row)
            self._prune()

    def close(self) -> None:
        """Close the file."""
        with self._lock:
            self._db.close()

    def _prune(self) -> None:
        """Drop what is too old, and the oldest of what is too much."""
        self._db.execute("DELETE FROM answers WHERE kept_at <= ?", (time.time() - self._seconds,))
        self._db.execute(
            """
            DELETE FROM answers WHERE rowid IN (
                SELECT rowid FROM (
                    SELECT rowid,
                           row_number() OVER newest_first AS place,
                           sum(size) OVER newest_first AS bytes
                    FROM answers WINDOW newest_first AS (ORDER BY kept_at DESC, rowid DESC ROWS UNBOUNDED PRECEDING)
                ) WHERE place > ? OR bytes > ?
            )
            """,
            (self._max_answers, self._max_bytes),
        )
        self._db.executescript("PRAGMA incremental_vacuum")  # `execute` would take one of its steps, which is one page


class _OtherSchema(Exception):
    """The file is of another version."""


def _open(path: Path) -> sqlite3.Connection:
    # Several ingress replicas may start at once, and only one of them may make or replace the file.
    with path.with_name(f"{path.name}.lock").open("a") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        path.touch(mode=0o600)
        try:
            return _connect(path)
        except (_OtherSchema, sqlite3.DatabaseError) as error:
            damaged = (sqlite3.SQLITE_NOTADB, sqlite3.SQLITE_CORRUPT)
            if isinstance(error, sqlite3.Error) and error.sqlite_errorcode not in damaged:
                raise
            logger.warning("the answers kept in %s cannot be read (%s); the file is replaced", path, error)
        for suffix in ("", "-wal", "-shm"):
            path.with_name(path.name + suffix).unlink(missing_ok=True)
        path.touch(mode=0o600)
        return _connect(path)


def _connect(path: Path) -> sqlite3.Connection:
    db = sqlite3.connect(path, isolation_level=None, timeout=_BUSY_SECONDS, check_same_thread=False)
    try:
        version = int(db.execute("PRAGMA user_version").fetchone()[0])
        if version not in (0, _SCHEMA_VERSION):
            raise _OtherSchema(f"it has schema {version}, and this version of Atelier writes {_SCHEMA_VERSION}")
        if version == 0:
            db.execute("PRAGMA auto_vacuum = INCREMENTAL")
        db.execute("PRAGMA journal_mode = WAL")
        # An answer lost with the machine's power is made again; that is cheaper than to wait for the disk each time.
        db.execute("PRAGMA synchronous = NORMAL")
        db.execute("PRAGMA journal_size_limit = 4194304")
        if version == 0:
            db.executescript(f"BEGIN IMMEDIATE; {_SCHEMA} PRAGMA user_version = {_SCHEMA_VERSION}; COMMIT")
    except BaseException:
        db.close()
        raise
    return db


@contextmanager
def _translated() -> Iterator[None]:
    try:
        yield
    except sqlite3.Error as error:
        if getattr(error, "sqlite_errorcode", None) == sqlite3.SQLITE_FULL:
            raise StoreFull("the disk of the kept answers is full") from error
        raise StoreError(f"the kept answers failed: {error}") from error
    except OSError as error:
        raise StoreError(f"the folder of the kept answers failed: {error.strerror}") from error
