"""Backups of the image index's SQLite file in an object store.

Every version is an object of its own under `KEY.versions/`. `KEY.json` lists those that are kept, newest first, and is
written last, so that whatever goes wrong leaves the backups that there were. `KEY` itself is left alone: older servers
kept a file of another schema there.
"""

from __future__ import annotations

import errno
import fcntl
import hashlib
import logging
import os
import re
import secrets
import shutil
import sqlite3
import time
from collections.abc import Iterator
from contextlib import closing, contextmanager, suppress
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import BinaryIO, Final

from pydantic import TypeAdapter

from stores.errors import KeyNotFound, RestoreFailed, StoreError, StoreFull
from stores.objects import PublicStore, sync_folder
from stores.sqlite import translated

logger = logging.getLogger(__name__)

_PAGES: Final = 1000
_PAUSE_SECONDS: Final = 0.005
"""After so many pages, which lets the writer have the disk as well."""
_CHUNK_BYTES: Final = 1 << 20


@dataclass(frozen=True)
class Backup:
    """What is known of one version."""

    key: str
    sha256: str
    """In hexadecimal digits."""
    size: int
    """In bytes."""
    schema: int
    """SQLite's `user_version`."""
    rows: dict[str, int]
    """Every table, and how many rows it has."""
    created_at: str
    """ISO 8601, UTC: everything that was committed before is in it."""
    asked: bool = False
    """Whether somebody asked for it; else it was made since its time had come."""


_LIST: Final = TypeAdapter(list[Backup])


class Backups:
    """The backups of one database. One process makes them.

    Of those that were asked for, and of all others, the newest `keep` stay, at least 1: many in a row
    pushes out none of the days before.
    """

    def __init__(self, store: PublicStore, key: str = "image_search.db", keep: int = 5) -> None:
        self._store = store
        self._list = f"{key}.json"
        self._folder = f"{key}.versions/"
        self._name = re.compile(re.escape(self._folder) + r"\d{8}T\d{6}Z-[0-9a-f]{8}\.db")
        self._keep = keep

    def versions(self) -> list[Backup]:
        """Newest first; none when there was never one.

        Raises:
            StoreError: the list of them is damaged, or the store does not give it.
        """
        try:
            versions = _LIST.validate_json(self._store.get(self._list), strict=True)
            # What the list names is deleted one day.
            if not all(self._name.fullmatch(version.key) for version in versions):
                raise ValueError("it names objects that are not backups")
        except KeyNotFound:
            return []
        except OSError as error:
            raise StoreError(f"the list of backups {self._list} cannot be read: {error.strerror}") from error
        except ValueError as error:
            raise StoreError(
                f"the list of backups {self._list} is damaged; mend it, or move it away to begin a new one "
                f"(the versions under {self._folder} stay)"
            ) from error
        return versions

    def make(self, database: Path, *, asked: bool = False) -> Backup:
        """Keep what is committed now, while others go on writing, and drop the oldest version beyond `keep`.

        It is listed only after what the store gives back was found to be what it was given.

        Raises:
            StoreFull: the disk of the database has no room for a copy, or the one of the store.
            StoreError: the database or its copy is damaged, another process makes a backup, or the store fails.
        """
        before = self.versions()
        with _draft(database) as copy:
            now = datetime.now(UTC)
            _copy(database, copy)
            schema, rows = _check(copy)
            key = f"{self._folder}{now:%Y%m%dT%H%M%SZ}-{secrets.token_hex(4)}.db"
            with copy.open("rb") as file:
                sha256 = _sha256(file)
                backup = Backup(key, sha256, file.tell(), schema, rows, f"{now:%Y-%m-%dT%H:%M:%SZ}", asked)
                file.seek(0)
                self._upload(file, backup, before)
        self._tidy(backup, before)
        return backup

    def restore(self, target: Path, version: str | None = None) -> Backup | None:
        """Bring back the newest version, or the one of that key, to where there is no database; None: there is none.

        Raises:
            RestoreFailed: there is no such version, it is damaged, the store does not give it, or there is a database.
        """
        try:
            versions = self.versions()
        except StoreError as error:
            raise RestoreFailed(f"the image index cannot be restored from {self._list}: {error}") from error
        if not versions and version is None:
            if next(iter(self._store.keys(self._folder)), None) is not None:
                raise RestoreFailed(
                    f"there are backups under {self._folder}, but their list {self._list} is gone; "
                    "put it back, or move them away to start over"
                )
            return None
        backup = next((each for each in versions if version in (None, each.key)), None)
        if backup is None:
            known = ", ".join(each.key for each in versions) or "none"
            raise RestoreFailed(f"there is no backup {version}; there are: {known}")
        # A write-ahead log of a database that is gone would be played into the one that takes its place.
        for path in (target, target.with_name(f"{target.name}-wal"), target.with_name(f"{target.name}-journal")):
            if os.path.lexists(path):
                raise RestoreFailed(f"the backup {backup.key} was not restored: {path.name} exists; move it away first")
        try:
            self._download(backup, target)
        except StoreError as error:
            raise RestoreFailed(
                f"the backup {backup.key} cannot be restored: {error}; "
                "go back to another version by `atelier search restore VERSION`"
            ) from error
        return backup

    def _upload(self, copy: BinaryIO, backup: Backup, before: list[Backup]) -> None:
        try:
            self._store.put_file(backup.key, copy)
            with self._store.open(backup.key) as stored:
                if _sha256(stored) != backup.sha256:
                    raise StoreError(f"the object store does not give back what it was given as {backup.key}")
            self._store.put(self._list, _LIST.dump_json(self._kept([backup, *before]), indent=2))
        except BaseException:
            # A list that was not acknowledged may have been written all the same: then the version stays.
            with suppress(StoreError):
                if backup not in self.versions():
                    self._store.delete(backup.key)
            raise

    def _kept(self, versions: list[Backup]) -> list[Backup]:
        kept = [one for asked in (True, False) for one in [v for v in versions if v.asked == asked][: self._keep]]
        return [version for version in versions if version in kept]

    def _tidy(self, backup: Backup, before: list[Backup]) -> None:
        """Delete the versions that are no longer listed, and what was uploaded since the last but never listed.

        What is older stays: it is all there is when a list was lost.
        """
        try:
            kept = {version.key for version in self._kept([backup, *before])}
            unwanted = {version.key for version in before} - kept
            if before:
                second = max(version.key for version in before).rpartition("-")[0]
                unwanted |= {key for key in self._store.keys(self._folder) if key >= second} - kept
            for key in unwanted:
                self._store.delete(key)
        except StoreError as error:
            logger.warning("old backups under %s were not deleted: %s", self._folder, error)

    def _download(self, backup: Backup, target: Path) -> None:
        with _draft(target) as copy:
            with self._store.open(backup.key) as stored, copy.open("x+b") as file:
                shutil.copyfileobj(stored, file, _CHUNK_BYTES)
                file.flush()
                os.fsync(file.fileno())
                if file.tell() != backup.size:
                    raise StoreError(f"it has {file.tell()} bytes instead of {backup.size}")
                file.seek(0)
                if _sha256(file) != backup.sha256:
                    raise StoreError("its checksum is not the one in the list")
            if _check(copy) != (backup.schema, backup.rows):
                raise StoreError("its schema or its numbers of rows are not those in the list")
            copy.replace(target)
            sync_folder(target.parent)


@contextmanager
def _draft(path: Path) -> Iterator[Path]:
    """Where to write a file that may take the place of `path`, for one process at a time; nothing of it is left.

    Raises:
        StoreFull: the disk became full inside.
        StoreError: another process is inside, or the disk failed otherwise.
    """
    folder = path.with_name(f"{path.name}.copy")
    try:
        folder.mkdir(parents=True, exist_ok=True)
        descriptor = os.open(folder, os.O_RDONLY)
        try:
            fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
            for left in folder.iterdir():  # by a process that was killed
                left.unlink()
            try:
                yield folder / path.name
            finally:
                shutil.rmtree(folder, ignore_errors=True)  # what stays is removed by the next
        finally:
            os.close(descriptor)
    except BlockingIOError as error:
        raise StoreError("another process makes or restores a backup of this image index") from error
    except OSError as error:
        if error.errno in (errno.ENOSPC, errno.EDQUOT, errno.EFBIG):
            raise StoreFull("the disk of the image index is full") from error
        raise StoreError(f"a copy of the image index could not be written or read: {error.strerror}") from error


def _copy(database: Path, copy: Path) -> None:
    with (
        translated(),
        closing(_open_to_read(database)) as source,
        closing(sqlite3.connect(copy, isolation_level=None)) as target,
    ):
        # One snapshot for the whole of it: otherwise every commit of the writer would restart the copy. Nobody waits
        # for a reader of a write-ahead log.
        source.execute("BEGIN")
        source.execute("SELECT 1 FROM sqlite_schema").fetchone()
        target.execute("PRAGMA synchronous = OFF")  # a copy that a power cut damages is of no use anyway
        source.backup(target, pages=_PAGES, progress=lambda *_: time.sleep(_PAUSE_SECONDS))
        target.execute("PRAGMA journal_mode = DELETE")  # the one file is everything then


def _check(path: Path) -> tuple[int, dict[str, int]]:
    """The schema of a database, and how many rows its tables have. Raises `StoreError` when it is damaged."""
    with translated(), closing(_open_to_read(path)) as db:
        (found,) = db.execute("PRAGMA quick_check(1)").fetchone()
        if found != "ok":
            raise StoreError(f"the database is damaged: {found}")
        if broken := db.execute("PRAGMA foreign_key_check").fetchone():
            raise StoreError(f"the database is damaged: a row of {broken[0]} refers to none of {broken[2]}")
        tables = db.execute(
            r"SELECT name FROM sqlite_schema WHERE type = 'table' AND name NOT LIKE 'sqlite\_%' ESCAPE '\'"
        )
        rows = {name: db.execute(f'SELECT count(*) FROM "{name}"').fetchone()[0] for (name,) in tables.fetchall()}  # noqa: S608
        return db.execute("PRAGMA user_version").fetchone()[0], rows


def _open_to_read(path: Path) -> sqlite3.Connection:
    return sqlite3.connect(f"{path.absolute().as_uri()}?mode=ro", uri=True, isolation_level=None)


def _sha256(file: BinaryIO) -> str:
    digest = hashlib.sha256()
    while chunk := file.read(_CHUNK_BYTES):
        digest.update(chunk)
    return digest.hexdigest()
