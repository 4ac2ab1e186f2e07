"""What deletions, crashes and restores have left: removed in the background, and found for administrators."""

from __future__ import annotations

import asyncio
import logging
import time
from collections.abc import AsyncIterator, Iterable
from contextlib import suppress
from typing import Final

from deployments.search.files import ImageFiles
from deployments.search.index_keeper import IndexKeeper
from deployments.search_answers import Strays
from stores.errors import ProjectNotFound, StoreError
from stores.index.index import ImageIndex
from stores.index.records import Abandoned, ImageRecord, Page

logger = logging.getLogger("ray.serve")

_PAGE_SIZE: Final = 1000
_SWEEP_SECONDS: Final = 60.0


class GarbageCollection:
    """Removes the rows and objects of what was deleted, and settles what a dead process was adding."""

    def __init__(self, index: IndexKeeper, files: ImageFiles) -> None:
        self._index = index
        self._files = files
        self._sweeping = asyncio.Lock()
        self._swept_opening = 0
        self._swept_at = 0.0

    async def work(self) -> None:
        """Sweep once the index was opened, and every minute."""
        opening = self._index.openings
        if self._swept_opening != opening or time.monotonic() >= self._swept_at + _SWEEP_SECONDS:
            await self.sweep()
            self._swept_opening, self._swept_at = opening, time.monotonic()

    async def sweep(self) -> None:
        """Remove what can be removed now; the rest is tried again the next time."""
        async with self._sweeping:
            await self._settle_all()
            try:
                await self.clear()
            finally:
                last = ""
                while keys := await self._index.call(
                    lambda index, after: index.deleting.tombstoned_keys(after=after), last
                ):
                    if not await self.remove(keys) and not await self._files.answers():
                        break
                    last = keys[-1]

    async def clear(self) -> None:
        """Remove the rows that what is deleted has left, in slices, between which requests have their turn."""
        while await self._index.call(lambda index: index.deleting.clear()):
            pass

    async def remove(self, keys: Iterable[str]) -> list[str]:
        """Delete objects whose records are gone; those that are gone now. `sweep` tries the others again."""
        deleted = await self._files.delete(keys)
        await self._index.call(lambda index: index.deleting.forget(deleted))
        return deleted

    async def strays(self, *, remove: bool, forget_set_aside: bool = False) -> Strays:
        """What objects and records do not have of each other; `remove` removes the orphans, and never a record.

        `forget_set_aside` removes the indexes that restores have set aside before.
        """
        prefix = await self._index.call(lambda index: index.key_prefix)  # raises while the index is unavailable
        if forget_set_aside:
            await self._index.forget_set_aside()
        keys = await self._files.keys(prefix)
        unknown: dict[str, str] = {}
        for begin in range(0, len(keys), _PAGE_SIZE):
            some = keys[begin : begin + _PAGE_SIZE]
            unknown |= await self._index.call(lambda index, keys: index.deleting.unknown(keys), some)
        elsewhere = await self._index.named_aside(set(unknown.values()))
        orphans = [key for key, image_id in unknown.items() if image_id not in elsewhere]
        missing = [(record.project_id, record.id) for record in await self._without_objects(set(keys))]
        deleted = await self._files.delete(orphans) if remove else []
        set_aside = [path.name for path in self._index.set_aside]
        return Strays(orphans, missing, len(deleted), len(unknown) - len(orphans), set_aside)

    async def _without_objects(self, keys: set[str]) -> list[ImageRecord]:
        """The records whose picture is not among the keys, nor there now."""
        found: list[ImageRecord] = []
        for project in await self._index.call(ImageIndex.projects):
            with suppress(ProjectNotFound):  # deleted meanwhile
                async for page in self._pages(project.project_id):
                    unseen = [record for record in page.images if record.r2_key not in keys]
                    missing = await self._files.missing([record.r2_key for record in unseen])
                    found += [record for record in unseen if record.r2_key in missing]
        return found

    async def _pages(self, project: str) -> AsyncIterator[Page]:
        page = await self._index.call(ImageIndex.page, project, _PAGE_SIZE)
        yield page
        while page.next is not None:
            page = await self._index.call(ImageIndex.page, project, _PAGE_SIZE, page.next)
            yield page

    async def settle(self, abandoned: Abandoned) -> None:
        """Show or remove what a dead process was adding, by whether its picture is there. Raises `StoreError`."""
        try:
            is_stored = await self._files.has(abandoned.r2_key, abandoned.sha256)
        except BaseException:
            await self._index.call(lambda index: index.adding.release(abandoned))
            raise
        await self._index.call(lambda index: index.adding.settle(abandoned, is_stored=is_stored))

    async def _settle_all(self) -> None:
        """Settle all there is; what cannot be settled now does not hold up the rest."""
        abandoned = await self._index.call(lambda index: index.adding.abandoned())
        try:
            while abandoned:
                each = abandoned.pop()
                try:
                    await self.settle(each)
                except StoreError as error:
                    logger.warning("%s is settled later: %s", each.r2_key, error)
                    if not await self._files.answers():
                        return
        finally:
            for each in abandoned:
                await self._index.call(lambda index, left: index.adding.release(left), each)
