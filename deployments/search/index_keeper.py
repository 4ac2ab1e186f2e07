"""The image index of a replica: opened, restored where it is missing, backed up, and used from one thread only."""

from __future__ import annotations

import asyncio
import logging
import os
import re
from collections.abc import Callable, Sequence
from concurrent.futures import Executor, ThreadPoolExecutor
from datetime import UTC, datetime
from functools import partial
from pathlib import Path
from typing import Concatenate, ParamSpec, TypeVar

from stores.backup import Backup, Backups
from stores.errors import DownloadFailed, NotFound, RestoreFailed, StoreError, StoreUnavailable
from stores.index.index import ImageIndex
from stores.sqlite import images_in

logger = logging.getLogger("ray.serve")

P = ParamSpec("P")
T = TypeVar("T")

_COPY_THREADS = 2
_ASIDE = ".before-restore-"
"""Between the name of a database and the time until which it was used."""


class IndexKeeper:
    """An index that may be unavailable for a while: one that cannot be restored, or whose database does not answer.

    `backups` are of the file `database`. Where that is missing, it is restored from the newest; where that fails,
    nothing is opened, so that no empty index is ever made in its place, and none is backed up over a good one.
    """

    def __init__(
        self, open_index: Callable[[], ImageIndex], backups: Backups | None = None, database: Path | None = None
    ) -> None:
        """Open the index.

        Raises:
            StoreUnusable: it cannot be opened as it is, and there is no backup to go back to.
        """
        self._open_index = open_index
        self._backups = backups
        self._database = database
        self._index: ImageIndex | None = None
        self._thread = ThreadPoolExecutor(1, thread_name_prefix="image-index")
        self._copies = ThreadPoolExecutor(_COPY_THREADS, thread_name_prefix="image-index-copies")
        self.failure: StoreError | None = None
        """Why the index is not open."""
        self.openings = 0
        """How often it was opened."""
        self._copying = asyncio.Lock()  # a reader of the file, such as a backup, keeps its log from being played in
        self._thread.submit(self._open).result()

    async def call(self, work: Callable[Concatenate[ImageIndex, P], T], *args: P.args, **kwargs: P.kwargs) -> T:
        """What a method of the index gives, in turn. Raises also why the index is unavailable, and at once."""
        if self._index is None and self.failure is not None:
            raise self.failure

        def in_turn() -> T:
            if self._index is None:
                raise self.failure or StoreUnavailable("the index of image search is not open")
            return work(self._index, *args, **kwargs)

        return await _in(self._thread, in_turn)

    async def reopen(self) -> None:
        """Try again to open an index that is unavailable."""
        if self._index is None:
            await _in(self._thread, self._open)

    def close(self) -> None:
        """Save what the index keeps, and close it; safe to call twice."""
        self._copies.shutdown()
        self._thread.shutdown()
        if self._index is not None:
            self._index.close()

    async def backups(self) -> list[Backup]:
        """The backups there are, newest first. Raises `NotFound` when none are made of such an index."""
        return await _in(self._copies, self._required()[0].versions)

    async def back_up(self, *, only_changes: bool = False, asked: bool = False) -> Backup | None:
        """Make a backup now; with `only_changes`, not when nothing was written since the last.

        Those that were `asked` for push out only one another.

        Raises:
            NotFound: none are made of such an index.
        """
        backups, database = self._required()
        await self.call(lambda index: index.is_shared)  # one that is unavailable is nothing to keep
        async with self._copying:
            return await _in(self._copies, _back_up, backups, database, only_changes, asked)

    async def restore(self, version: str | None) -> Backup:
        """Go back to a backup, by its key, or to the newest. What was there is kept
        beside it, its name ending in `.before-restore-` and the time.

        Raises:
            NotFound: there is no such backup, or none are made of such an index.
            RestoreFailed: everything is as it was.
        """
        backups, database = self._required()
        async with self._copying:
            restored, whole = await _in(self._copies, _fetched, backups, database, version)
            await _in(self._thread, self._exchange, database, whole)
        return restored

    async def named_aside(self, ids: set[str]) -> set[str]:
        """Those of these ids of images that are in an index which a restore has set aside.

        All of them while one of those cannot be read: nobody knows what it names.
        """
        return await _in(self._copies, _named_in, self.set_aside, ids)

    async def forget_set_aside(self) -> None:
        """Remove the indexes that restores have set aside; nobody can go back to them then."""
        # in turn: one that is being restored is not to lose what it would go back to
        await _in(self._thread, _remove, self.set_aside)

    @property
    def set_aside(self) -> list[Path]:
        """The indexes that restores have set aside."""
        if self._database is None:
            return []
        name = re.compile(re.escape(f"{self._database.name}{_ASIDE}") + r"\d{8}T\d{6}(\.\d+)?Z")
        return sorted(path for path in self._database.parent.iterdir() if name.fullmatch(path.name))

    def _required(self) -> tuple[Backups, Path]:
        if self._backups is None or self._database is None:
            raise NotFound("no backups are made of this index")
        return self._backups, self._database

    def _exchange(self, database: Path, whole: Path) -> None:
        """Open another database in the place of the present one; or that one again, where it cannot be opened."""
        if self._index is not None:
            self._index.close()
            self._index = None
        aside = database.with_name(f"{database.name}{_ASIDE}{datetime.now(UTC):%Y%m%dT%H%M%S.%fZ}")
        if database.exists():
            os.link(database, aside)
        log, shared = (database.with_name(f"{database.name}{suffix}") for suffix in ("-wal", "-shm"))
        if log.exists():  # of a database that could not be opened; it would be played into the one that comes
            log.replace(aside.with_name(f"{aside.name}-wal"))
        shared.unlink(missing_ok=True)
        whole.replace(database)  # in one step: whatever happens, there is a database
        self._open()
        if self._index is None and aside.exists():
            why = self.failure
            aside.replace(database)
            if (kept := aside.with_name(f"{aside.name}-wal")).exists():
                kept.replace(log)
            self._open()
            raise RestoreFailed("the backup cannot be opened; the server's log says why") from why

    def _open(self) -> None:
        try:
            if self._backups is not None and self._database is not None and not self._database.exists():
                restored = self._backups.restore(self._database)
                if restored is not None:
                    logger.warning("the image index was restored from %s", restored.key)
            self._index, self.failure = self._open_index(), None
            self.openings += 1
        except (DownloadFailed, RestoreFailed, StoreUnavailable) as error:
            logger.error("image search is unavailable: %s", error)
            self.failure = error
        except StoreError as error:
            if not self._has_backups():
                raise
            logger.error("image search is unavailable: %s", error)
            self.failure = StoreUnavailable(
                "the image index cannot be opened as it is, the server's log says why; "
                "`atelier search restore` goes back to a backup"
            )

    def _has_backups(self) -> bool:
        try:
            return self._backups is not None and bool(self._backups.versions())
        except StoreError:
            return False


async def _in(threads: Executor, work: Callable[P, T], *args: P.args, **kwargs: P.kwargs) -> T:
    return await asyncio.get_running_loop().run_in_executor(threads, partial(work, *args, **kwargs))


def _named_in(databases: Sequence[Path], ids: set[str]) -> set[str]:
    named = set[str]()
    for path in databases:
        try:
            named |= images_in(path, ids)
        except StoreError:
            logger.warning("%s cannot be read, so no file is taken for an orphan", path.name, exc_info=True)
            return ids
    return named


def _remove(databases: Sequence[Path]) -> None:
    for path in databases:
        for suffix in ("-wal", "-shm", ""):
            path.with_name(f"{path.name}{suffix}").unlink(missing_ok=True)


def _back_up(backups: Backups, database: Path, only_changes: bool, asked: bool) -> Backup | None:
    if only_changes:
        versions = backups.versions()
        changed_at = max(path.stat().st_mtime for path in _parts(database)[:2] if path.exists())
        if versions and changed_at < datetime.fromisoformat(versions[0].created_at).timestamp():
            return None
    return backups.make(database, asked=asked)


def _parts(database: Path) -> list[Path]:
    """The files that make up an SQLite database."""
    return [database.with_name(f"{database.name}{suffix}") for suffix in ("", "-wal", "-shm")]


def _fetched(backups: Backups, database: Path, version: str | None) -> tuple[Backup, Path]:
    """A version of the database, verified, in a file beside it. Raises `NotFound`, `RestoreFailed`."""
    known = [backup.key for backup in backups.versions()]
    if not known or version not in (None, *known):
        raise NotFound(f"there is no such backup; there are: {', '.join(known) or 'none'}")
    whole = database.with_name(f"{database.name}.restored")
    whole.unlink(missing_ok=True)
    restored = backups.restore(whole, version)
    assert restored is not None
    return restored, whole
