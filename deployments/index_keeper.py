"""The image index of a replica: opened, restored where it is missing, backed up, and used from one thread only."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Callable, Mapping
from concurrent.futures import ThreadPoolExecutor
from datetime import datetime
from pathlib import Path
from typing import Concatenate, ParamSpec, TypeVar

from stores.backup import Backup, Backups
from stores.errors import DownloadFailed, NotFound, RestoreFailed, StoreError, StoreUnavailable
from stores.index import ImageIndex

logger = logging.getLogger("ray.serve")

P = ParamSpec("P")
T = TypeVar("T")


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
            StoreUnusable: it will not open later either.
        """
        self._open_index = open_index
        self._backups = backups
        self._database = database
        self._index: ImageIndex | None = None
        self._thread = ThreadPoolExecutor(1, thread_name_prefix="image-index")
        self.failure: StoreError | None = None
        """Why the index is not open."""
        self.openings = 0
        """How often it was opened."""
        self._thread.submit(self._open).result()

    async def call(self, work: Callable[Concatenate[ImageIndex, P], T], *args: P.args, **kwargs: P.kwargs) -> T:
        """What a method of the index gives, in turn. Raises also why the index is unavailable."""

        def done() -> T:
            if self._index is None:
                raise self.failure or StoreUnavailable("the index of image search is not open")
            return work(self._index, *args, **kwargs)

        return await asyncio.get_running_loop().run_in_executor(self._thread, done)

    async def reopen(self) -> None:
        """Try again to open an index that is unavailable."""
        if self._index is None:
            await asyncio.get_running_loop().run_in_executor(self._thread, self._open)

    def close(self) -> None:
        """Save what the index keeps, and close it; safe to call twice."""
        self._thread.shutdown()
        if self._index is not None:
            self._index.close()

    async def backups(self) -> list[Backup]:
        """The backups there are, newest first. Raises `NotFound` when none are made of such an index."""
        return await asyncio.to_thread(self._required()[0].versions)

    async def back_up(self, *, only_changes: bool = False) -> Backup | None:
        """Make a backup now; with `only_changes`, not when nothing was written since the last.

        Raises:
            NotFound: none are made of such an index.
        """
        backups, database = self._required()
        await self.call(ImageIndex.projects)  # one that is unavailable is nothing to keep
        return await asyncio.to_thread(_back_up, backups, database, only_changes)

    async def restore(self, version: str | None) -> Backup:
        """Go back to a backup, by its key, or to the newest. What was there is kept in files ending `.before-restore`.

        Raises:
            NotFound: there is no such backup, or none are made of such an index.
            RestoreFailed: everything is as it was.
        """
        backups, database = self._required()
        return await asyncio.get_running_loop().run_in_executor(self._thread, self._go_back, backups, database, version)

    def _required(self) -> tuple[Backups, Path]:
        if self._backups is None or self._database is None:
            raise NotFound("no backups are made of this index")
        return self._backups, self._database

    def _go_back(self, backups: Backups, database: Path, version: str | None) -> Backup:
        known = [backup.key for backup in backups.versions()]
        if not known or version not in (None, *known):
            raise NotFound(f"there is no such backup; there are: {', '.join(known) or 'none'}")
        if self._index is not None:
            self._index.close()
            self._index = None
        aside = _set_aside(database)
        try:
            restored = backups.restore(database, version)
            assert restored is not None
        except BaseException:
            _put_back(aside)
            raise
        finally:
            self._open()
        return restored

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


def _back_up(backups: Backups, database: Path, only_changes: bool) -> Backup | None:
    if only_changes:
        versions = backups.versions()
        changed_at = max(path.stat().st_mtime for path in _parts(database)[:2] if path.exists())
        if versions and changed_at < datetime.fromisoformat(versions[0].created_at).timestamp():
            return None
    return backups.make(database)


def _parts(database: Path) -> list[Path]:
    """The files that make up an SQLite database."""
    return [database.with_name(f"{database.name}{suffix}") for suffix in ("", "-wal", "-shm")]


def _set_aside(database: Path) -> dict[Path, Path]:
    """Move a database out of the way: where each of its files was, and where it is now."""
    moved = {path: path.with_name(f"{path.name}.before-restore") for path in _parts(database) if path.exists()}
    for path, aside in moved.items():
        path.replace(aside)
    return moved


def _put_back(moved: Mapping[Path, Path]) -> None:
    for path, aside in moved.items():
        aside.replace(path)
