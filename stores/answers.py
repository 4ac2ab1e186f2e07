"""Answers that were given, kept for a while so that they can be given again: in a SQLite file or in PostgreSQL."""

from __future__ import annotations

import json
import time
from dataclasses import dataclass
from pathlib import Path
from typing import Final, Literal

from stores.database import SharedDatabase
from stores.shared_sqlite import SharedSqlite

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
"""`stores.postgres` has the same table, and another like it for the outcomes of jobs."""


@dataclass(frozen=True)
class Answer:
    """An HTTP answer as it was sent, and the digest of the request that it answers."""

    digest: bytes
    status: int
    headers: tuple[tuple[bytes, bytes], ...]
    body: bytes


class Answers:
    """Answers by name in a table of a database, which any thread may ask.

    An answer is kept for `seconds`; of more than `max_answers`, or of more than `max_bytes` of bodies, the oldest go
    first: at once, or within `prune_seconds`.

    Raises:
        StoreFull: no room on the disk; what was kept before is untouched.
        StoreError: the database failed otherwise.
    """

    def __init__(
        self,
        database: SharedDatabase,
        *,
        seconds: float,
        max_answers: int,
        max_bytes: int,
        table: Literal["answers", "job_outcomes"] = "answers",
        prune_seconds: float = 0,
    ) -> None:
        self._db = database
        self._seconds = seconds
        self._max_answers = max_answers
        self._max_bytes = max_bytes
        self._table = table
        self._prune_seconds = prune_seconds
        self._pruned_at = float("-inf")

    def find(self, name: str) -> Answer | None:
        """The answer kept under a name, if it is not too old."""
        row = self._db.one(
            f"SELECT digest, status, headers, body FROM {self._table} WHERE name = ? AND kept_at > ?",  # noqa: S608
            name,
            time.time() - self._seconds,
        )
        if row is None:
            return None
        headers = json.loads(row["headers"])
        pairs = tuple((key.encode("latin-1"), value.encode("latin-1")) for key, value in headers)
        return Answer(row["digest"], row["status"], pairs, row["body"])

    def keep(self, name: str, answer: Answer) -> None:
        """Keep an answer, in place of an older one of that name."""
        pairs = json.dumps([(key.decode("latin-1"), value.decode("latin-1")) for key, value in answer.headers])
        row = (name, time.time(), answer.digest, answer.status, pairs, answer.body, len(answer.body))
        self._db.execute(
            f"INSERT INTO {self._table} (name, kept_at, digest, status, headers, body, size) "  # noqa: S608
            "VALUES (?, ?, ?, ?, ?, ?, ?) ON CONFLICT (name) DO UPDATE SET kept_at = excluded.kept_at, "
            "digest = excluded.digest, status = excluded.status, headers = excluded.headers, body = excluded.body, "
            "size = excluded.size",
            *row,
        )
        if time.monotonic() - self._pruned_at >= self._prune_seconds:
            self.prune()

    def prune(self) -> None:
        """Drop what is too old, and the oldest of what is too much, unless another process is at it."""
        self._pruned_at = time.monotonic()
        pruning = f"pruning of {self._table}"
        if not self._db.claim(pruning):  # two that remove the same rows in another order would wait for each other
            return
        try:
            self._prune()
        finally:
            self._db.release(pruning)

    def close(self) -> None:
        """Close the database."""
        self._db.close()

    def _prune(self) -> None:
        table = self._table
        self._db.execute(f"DELETE FROM {table} WHERE kept_at <= ?", time.time() - self._seconds)  # noqa: S608
        self._db.execute(
            f"""
            DELETE FROM {table} WHERE name IN (
                SELECT name FROM (
                    SELECT name,
                           row_number() OVER newest_first AS place,
                           sum(size) OVER newest_first AS bytes
                    FROM {table} WINDOW newest_first AS (ORDER BY kept_at DESC, name DESC ROWS UNBOUNDED PRECEDING)
                ) AS ranked WHERE place > ? OR bytes > ?
            )
            """,  # noqa: S608 - the names are constants
            self._max_answers,
            self._max_bytes,
        )
        self._db.reclaim()


def open_answers(path: Path) -> SharedSqlite:
    """The SQLite file of a server with one ingress replica, which all processes of its machine may share.

    One that is damaged, or was written by another version, is replaced: what it held lasts a day at most.

    Raises:
        StoreError: it cannot be opened.
    """
    return SharedSqlite(path, _SCHEMA, version=_SCHEMA_VERSION, contents="the kept answers")
