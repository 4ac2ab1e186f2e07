"""Answers that were given, kept for a while so that they can be given again."""

from __future__ import annotations

import json
import time
from dataclasses import dataclass
from pathlib import Path
from typing import Final

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
        self._db = SharedSqlite(path, _SCHEMA, version=_SCHEMA_VERSION, contents="the kept answers")
        self._prune()

    def find(self, name: str) -> Answer | None:
        """The answer kept under a name, if it is not too old."""
        row = self._db.one(
            "SELECT digest, status, headers, body FROM answers WHERE name = ? AND kept_at > ?",
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
        self._db.execute("INSERT OR REPLACE INTO answers VALUES (?, ?, ?, ?, ?, ?, ?)", *row)
        self._prune()

    def close(self) -> None:
        """Close the file."""
        self._db.close()

    def _prune(self) -> None:
        """Drop what is too old, and the oldest of what is too much."""
        self._db.execute("DELETE FROM answers WHERE kept_at <= ?", time.time() - self._seconds)
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
            self._max_answers,
            self._max_bytes,
        )
        self._db.reclaim()
