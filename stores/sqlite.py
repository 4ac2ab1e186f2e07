"""The image index in a SQLite file of one process: its schema, its lock and its errors.

Vectors are found through `stores.sqlite_vectors`, whose search graphs are kept in a folder beside the file.
"""

from __future__ import annotations

import fcntl
import json
import os
import sqlite3
import time
from collections.abc import Collection, Iterable, Iterator, Sequence
from contextlib import closing, contextmanager
from pathlib import Path
from typing import Final, TextIO

from stores.database import Database, Value
from stores.errors import StoreError, StoreFull, StoreUnusable
from stores.sqlite_vectors import SqliteVectors
from stores.vectors import EXACT_UP_TO

_BUSY_SECONDS: Final = 10
_ALMOST_FULL_BYTES: Final = 1 << 20
_PAGE_BYTES: Final = 16_384
"""Of SQLite's usual 4096, a vector of 512 numbers would leave half empty."""

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
    """
    ALTER TABLE images ADD COLUMN dominant_color TEXT;
    ALTER TABLE images ADD COLUMN position INTEGER;
    UPDATE images SET position = label WHERE state = 'ready';
    DROP INDEX images_in_order;
    CREATE INDEX images_in_order ON images (project, position) WHERE state = 'ready';
    CREATE TABLE counters (position INTEGER NOT NULL) STRICT;
    INSERT INTO counters SELECT coalesce(max(seq), 0) FROM sqlite_sequence WHERE name = 'images';
    CREATE INDEX images_by_time ON images (project, created_at) WHERE state = 'ready';
    CREATE INDEX images_by_type ON images (project, content_type, created_at) WHERE state = 'ready';
    CREATE TABLE embedders (
        number INTEGER PRIMARY KEY AUTOINCREMENT,
        name TEXT NOT NULL UNIQUE,
        entry TEXT,
        dimension INTEGER,
        is_serving INTEGER NOT NULL CHECK (is_serving IN (0, 1))
    ) STRICT;
    CREATE UNIQUE INDEX one_embedder_serves ON embedders (is_serving) WHERE is_serving = 1;
    INSERT INTO embedders (name, dimension, is_serving)
        SELECT embedder, max(dimension), row_number() OVER (ORDER BY count(*) DESC) = 1 FROM vectors GROUP BY embedder;
    ALTER TABLE vectors RENAME TO vectors_before;
    CREATE TABLE vectors (
        label INTEGER NOT NULL REFERENCES images (label) ON DELETE CASCADE,
        embedder INTEGER NOT NULL REFERENCES embedders (number) ON DELETE CASCADE,
        vector BLOB NOT NULL,
        PRIMARY KEY (label, embedder)
    ) STRICT;
    CREATE INDEX vectors_by_embedder ON vectors (embedder, label);
    INSERT INTO vectors SELECT v.label, e.number, v.vector FROM vectors_before v JOIN embedders e ON e.name = v.embedder
        ORDER BY v.label;
    DROP TABLE vectors_before;
    ALTER TABLE graphs RENAME TO graphs_before;
    CREATE TABLE graphs (
        project INTEGER NOT NULL REFERENCES projects (number) ON DELETE CASCADE,
        embedder INTEGER NOT NULL REFERENCES embedders (number) ON DELETE CASCADE,
        file TEXT NOT NULL UNIQUE,
        sha256 TEXT NOT NULL,
        unproven TEXT NOT NULL,
        PRIMARY KEY (project, embedder)
    ) STRICT, WITHOUT ROWID;
    INSERT INTO graphs SELECT g.project, e.number, g.file, g.sha256, g.unproven
        FROM graphs_before g JOIN embedders e ON e.name = g.embedder;
    DROP TABLE graphs_before;
    """,
    """
    CREATE TABLE embedding_failures (
        label INTEGER NOT NULL REFERENCES images (label) ON DELETE CASCADE,
        embedder INTEGER NOT NULL REFERENCES embedders (number) ON DELETE CASCADE,
        attempts INTEGER NOT NULL,
        retry_at TEXT NOT NULL,
        reason TEXT NOT NULL,
        PRIMARY KEY (label, embedder)
    ) STRICT;
    CREATE INDEX embedding_failures_in_order ON embedding_failures (embedder, retry_at);
    """,
)
"""Step i takes schema i to schema i + 1. Steps are only ever added."""


class Sqlite(Database):
    """The file, opened by one process at a time. `max_elements` is the first capacity of a search graph; it grows.

    Raises:
        StoreUnusable: another process keeps it open for `wait_for_lock` seconds, its schema is newer, the file is
            damaged, or it cannot be made there.
    """

    is_shared = False

    def __init__(
        self,
        path: Path,
        *,
        max_elements: int = 50_000,
        exact_up_to: int = EXACT_UP_TO,
        wait_for_lock: float = 30,
    ) -> None:
        self._folder = path.parent
        self._graphs = path.with_name(f"{path.name}.graphs")
        self._max_elements = max_elements
        self._exact_up_to = exact_up_to
        try:
            path.parent.mkdir(parents=True, exist_ok=True)
            self._lock = _lock(path.with_name(f"{path.name}.lock"), wait_for_lock)
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
        with translated(self._folder):
            self._db.execute("BEGIN IMMEDIATE")
            try:
                yield
                self._db.execute("COMMIT")
            except BaseException:
                if self._db.in_transaction:
                    self._db.execute("ROLLBACK")
                raise

    def execute(self, statement: str, *values: Value) -> int:
        """Change something; how many rows were."""
        with translated(self._folder):
            return self._db.execute(statement, values).rowcount

    def execute_each(self, statement: str, rows: Iterable[Sequence[Value]]) -> None:
        """Change something once for each row of values."""
        with translated(self._folder):
            self._db.executemany(statement, rows)

    def all(self, query: str, *values: Value) -> list[sqlite3.Row]:
        """The rows."""
        with translated(self._folder):
            return self._db.execute(query, values).fetchall()

    def one(self, query: str, *values: Value) -> sqlite3.Row | None:
        """The first row, if there is one."""
        with translated(self._folder):
            rows = self._db.execute(query, values).fetchall()
            return rows[0] if rows else None

    def claim(self, what: str) -> bool:  # noqa: ARG002
        """True: the file's lock keeps all other processes out."""
        return True

    def release(self, what: str) -> None:
        """Nothing; see `claim`."""

    def vectors(self, embedder: int) -> SqliteVectors:
        """The vectors of one embedder, with the search graphs that were saved."""
        return SqliteVectors(self, self._graphs, embedder, self._max_elements, self._exact_up_to)


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
        db.execute(f"PRAGMA page_size = {_PAGE_BYTES}")  # of a new file; an old one keeps its own
        db.execute("PRAGMA journal_mode = WAL")
        db.execute("PRAGMA synchronous = FULL")
        db.execute("PRAGMA foreign_keys = ON")
        for number, script in enumerate(_MIGRATIONS[version:], start=version + 1):
            db.executescript(f"BEGIN IMMEDIATE; {script}; PRAGMA user_version = {number}; COMMIT")
    except sqlite3.DatabaseError as error:
        db.close()
        raise StoreUnusable(
            f"{path} cannot be opened as the image index: {error}; move it away to have its newest backup brought back"
        ) from error
    except StoreUnusable:
        db.close()
        raise
    return db


def images_in(path: Path, ids: Collection[str]) -> set[str]:
    """Those of these ids of images that a database names which nobody has open.

    Raises:
        StoreError: it cannot be read.
    """
    # a log that is left is played in; without one nothing is written beside the file
    way = "mode=rw" if path.with_name(f"{path.name}-wal").exists() else "immutable=1"
    with translated(), closing(sqlite3.connect(f"{path.absolute().as_uri()}?{way}", uri=True)) as db:
        rows = db.execute("SELECT id FROM images WHERE id IN (SELECT value FROM json_each(?))", [json.dumps(list(ids))])
        return {image_id for (image_id,) in rows}


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
def translated(folder: Path | None = None) -> Iterator[None]:
    """What SQLite raises, as `StoreFull` or `StoreError`. The database is in `folder`."""
    try:
        yield
    except sqlite3.Error as error:
        if _is_full(error, folder):
            raise StoreFull("the disk of the image index is full") from error
        raise StoreError(f"the image index failed: {error}") from error


def _is_full(error: sqlite3.Error, folder: Path | None) -> bool:
    """Whether the disk was full, for which SQLite has one code in its database and others in its log."""
    code = getattr(error, "sqlite_errorcode", sqlite3.SQLITE_ERROR)  # what the module itself raises has none
    if code == sqlite3.SQLITE_FULL:
        return True
    if code & 0xFF != sqlite3.SQLITE_IOERR or folder is None:
        return False
    disk = os.statvfs(folder)
    return disk.f_bavail * disk.f_frsize < _ALMOST_FULL_BYTES
