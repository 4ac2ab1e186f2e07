"""Image search: the index of pictures, and words and pictures looked up in it."""

from __future__ import annotations

import asyncio
import logging
import os
import weakref
from collections.abc import Awaitable, Callable
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final, TypeVar

from ray.serve.handle import DeploymentHandle

from deployments.executors import yield_to_others
from deployments.ingress.calls.model_handle import ModelHandle
from deployments.ingress.calls.states import ModelStates
from deployments.search.duties import repeat
from deployments.search.embedders import Embedders
from deployments.search.files import ImageFiles
from deployments.search.garbage import GarbageCollection
from deployments.search.index_keeper import IndexKeeper
from deployments.search.reembedding import Reembedding
from deployments.search.uploading import Uploading
from deployments.search_answers import Report, Strays
from deployments.serve_internals import log_request_ids
from deployments.states import SearchState
from models.picture_files import check
from models.pictures import THUMBNAIL_SIDE, open_picture, thumbnail
from stores.backup import Backup, Backups
from stores.database import Vectors
from stores.errors import EmbedderChanged, StoreError
from stores.index.index import Hits, ImageIndex
from stores.index.records import NO_FILTER, Embedder, ImageFilter, ImageRecord, Page, Project, thumbnail_key
from stores.objects import ObjectStore

logger = logging.getLogger("ray.serve")

T = TypeVar("T")

_FILE_THREADS: Final = 8
_UPKEEP_THREADS: Final = 2
_DECODING_THREADS: Final = 4
_REOPEN_SECONDS: Final = 10.0
_SWEEP_SECONDS: Final = 1.0
_EMBED_SECONDS: Final = 2.0
_LOOK_SECONDS: Final = 2.0


@dataclass(frozen=True)
class Model:
    """The deployment that embeds: its alias, and how many seconds a request waits for it to start."""

    alias: str
    start_timeout: float


class Search:
    """Adds, lists, finds and deletes pictures.

    The index is used from one thread, in turn, so that nothing blocks the event loop and no search meets an insert.
    Objects are put and deleted by threads of their own, pictures are decoded by others, so that a bucket that does not
    answer holds up what needs it and nothing else. Over SQLite there is one replica, the file's one writer; over
    PostgreSQL there may be many. Every method raises what `stores.errors` names.

    An index that cannot be restored or reached leaves the replica running: `state` says why, requests get the error at
    once, and it is tried again every 10 s.
    """

    def __init__(
        self,
        files: Callable[[], ObjectStore],
        index: Callable[[], ImageIndex],
        configured: Embedder,
        embedder: DeploymentHandle,
        model: Model,
        backups: Callable[[ObjectStore], Backups] | None = None,
        database: Path | None = None,
        backup_seconds: float = 1800,
    ) -> None:
        """`files` opens the store of the pictures, `index` the index for the `configured` embedder.

        `embedder` has that one's `embed_texts` and `embed_images`, and `model` says what is known of its deployment.
        For `backups` and `database` see `IndexKeeper`.
        """
        log_request_ids()
        store = files()
        self._files = ImageFiles(store, _FILE_THREADS, "image-files")
        self._upkeep_files = ImageFiles(store, _UPKEEP_THREADS, "image-files-upkeep")
        self._decoding = ThreadPoolExecutor(
            min(_DECODING_THREADS, os.cpu_count() or 1),
            thread_name_prefix="image-decoding",
            initializer=yield_to_others,
        )
        self._index = IndexKeeper(index, backups(store) if backups else None, database)
        self._call = self._index.call
        handle = ModelHandle(model.alias, embedder, ModelStates([model.alias]), model.start_timeout)
        self._embedders = Embedders(configured, handle, lambda: self._call(_serving))
        self._garbage = GarbageCollection(self._index, self._upkeep_files)
        self._reembedding = Reembedding(self._index, self._upkeep_files, self._embedders, self._garbage)
        self._uploading = Uploading(
            self._index, self._files, self._embedders, self._garbage, self._decoding, self._tend_soon
        )
        self._tending: asyncio.Task[None] | None = None
        self._failure: StoreError | None = None
        duties = {
            Search._reopen: _REOPEN_SECONDS,
            Search._sweep: _SWEEP_SECONDS,
            Search._embed_again: _EMBED_SECONDS,
            Search._look: _LOOK_SECONDS,
        }
        if backups is not None:
            duties[Search._back_up] = backup_seconds
        itself = weakref.ref(self)
        self._duties = [
            asyncio.ensure_future(repeat(itself, duty, pause, Search._is_unavailable)) for duty, pause in duties.items()
        ]

    def __del__(self) -> None:
        """Close; Serve calls this when it stops a replica."""
        if hasattr(self, "_duties"):
            self.close()

    def close(self) -> None:
        """Save the search graphs and close the index; safe to call twice."""
        for duty in self._duties:
            if not duty.get_loop().is_closed():
                duty.get_loop().call_soon_threadsafe(duty.cancel)
        self._decoding.shutdown()
        self._files.close()
        self._upkeep_files.close()
        self._index.close()
        self._embedders.close()

    def _is_unavailable(self) -> bool:
        return self._index.failure is not None or self._failure is not None

    async def state(self) -> dict[str, Any]:
        """What the index does: `state` is ready, embedding (with `done` and `total`) or unavailable (with `why`).

        `embedding` has a `why` too where nothing can be found meanwhile, and `failed` counts pictures that could not be
        embedded yet. Nothing is asked for it: it is what was seen last.
        """
        failure = self._index.failure or self._failure
        if failure is not None:
            return {"state": SearchState.UNAVAILABLE, "why": str(failure)}
        progress = await self._reembedding.progress()
        state: dict[str, Any] = {"state": SearchState.READY}
        if (await self._embedders.serving()).name != self._embedders.configured.name:
            state = {"state": SearchState.EMBEDDING, "done": progress.done, "total": progress.total}
            if self._embedders.old_failure is not None:
                state["why"] = self._embedders.old_failure
        return state | ({"failed": progress.failed} if progress.failed else {})

    async def report(self) -> Report:
        """What an ingress wants to know every second at most."""
        return Report(await self.state(), dict(self._embedders.calls))

    # --- pictures ---

    async def add(self, project: str, filename: str, content: bytes) -> tuple[ImageRecord, bool]:
        """Store a picture; see `Uploading.add`."""
        return await self._uploading.add(project, filename, content)

    async def page(self, project: str, limit: int, after: str | None = None) -> Page:
        """Some of the project's records; see `ImageIndex.page`."""
        return await self._call(ImageIndex.page, project, limit, after)

    async def get(self, project: str, image_id: str) -> ImageRecord:
        """One record."""
        return await self._call(ImageIndex.get, project, image_id)

    async def thumbnail(self, project: str, image_id: str, size: int) -> bytes:
        """The picture as WebP, upright, its longer side `size` pixels, or as large as it is where that is less."""
        record = await self.get(project, image_id)
        kept = await self._files.find(thumbnail_key(record.r2_key))
        if kept is None:  # it was added before thumbnails were kept
            original = await self._files.get(record.r2_key)
            kept = await self._decode(lambda: thumbnail(open_picture(original, side=THUMBNAIL_SIDE), THUMBNAIL_SIDE))
            await self._files.put({thumbnail_key(record.r2_key): kept})
        if size >= min(THUMBNAIL_SIDE, max(record.width, record.height)):
            return kept
        return await self._decode(lambda: thumbnail(open_picture(kept), size))

    async def delete(self, project: str, image_id: str) -> None:
        """Delete a picture and its files; those that cannot be deleted now are later."""
        keys = await self._call(lambda index: index.deleting.delete(project, image_id))
        deleted = await self._files.delete(keys)
        await self._call(lambda index: index.deleting.forget(deleted))
        self._tend_soon()

    async def projects(self) -> list[Project]:
        """All projects, with their numbers of pictures."""
        return await self._call(ImageIndex.projects)

    async def delete_project(self, project: str) -> None:
        """Delete a project with its pictures and their files; those that cannot be deleted now are later."""
        await self._call(lambda index: index.deleting.delete_project(project))
        await self._garbage.sweep()
        self._tend_soon()

    # --- searches ---

    async def search_text(
        self, project: str, query: str, limit: int, min_score: float | None = None, only: ImageFilter = NO_FILTER
    ) -> Hits:
        """The pictures that fit the words best."""

        async def embed(embedder: Embedder) -> Vectors:
            return await self._embedders.text(embedder, query)

        return await self._nearest(embed, project, limit, min_score, only)

    async def search_image(
        self, project: str, image: bytes, limit: int, min_score: float | None = None, only: ImageFilter = NO_FILTER
    ) -> Hits:
        """The pictures most like an encoded one.

        Raises:
            InvalidImage: not a picture that we read.
        """
        await self._decode(lambda: check(image, "image"))

        async def embed(embedder: Embedder) -> Vectors:
            return await self._embedders.image(embedder, image)

        return await self._nearest(embed, project, limit, min_score, only)

    async def search_id(
        self, project: str, image_id: str, limit: int, min_score: float | None = None, only: ImageFilter = NO_FILTER
    ) -> Hits:
        """The pictures most like a stored one, itself first."""

        def nearest(index: ImageIndex) -> Hits:
            return index.search(project, index.vector(project, image_id), limit, min_score, only)

        hits = await self._call(nearest)
        self._tend_soon()
        return hits

    # --- for administrators ---

    async def strays(self, remove: bool, forget_set_aside: bool = False) -> Strays:
        """What objects and records do not have of each other; see `GarbageCollection.strays`."""
        return await self._garbage.strays(remove=remove, forget_set_aside=forget_set_aside)

    async def backups(self) -> list[Backup]:
        """The backups there are, newest first; see `IndexKeeper.backups`."""
        return await self._index.backups()

    async def back_up(self) -> Backup:
        """Make a backup now; see `IndexKeeper.back_up`."""
        made = await self._index.back_up(asked=True)
        assert made is not None
        return made

    async def restore(self, version: str | None) -> Backup:
        """Go back to a backup; see `IndexKeeper.restore`."""
        restored = await self._index.restore(version)
        await self._embedders.refresh()
        return restored

    # --- what these share ---

    async def _decode(self, work: Callable[[], T]) -> T:
        return await asyncio.get_running_loop().run_in_executor(self._decoding, work)

    async def _nearest(
        self,
        embed: Callable[[Embedder], Awaitable[Vectors]],
        project: str,
        limit: int,
        min_score: float | None,
        only: ImageFilter,
    ) -> Hits:
        async def nearest(embedder: Embedder) -> Hits:
            vector = await embed(embedder)
            return await self._call(ImageIndex.search, project, vector, limit, min_score, only, embedder.name)

        serving = await self._embedders.serving()
        try:
            hits = await nearest(serving)
        except EmbedderChanged as error:  # perhaps since another one serves now
            refreshed = await self._embedders.refresh()
            if refreshed.name == serving.name:
                raise await self._still_embedding(error) from error
            hits = await nearest(refreshed)
        self._tend_soon()
        return hits

    async def _still_embedding(self, error: EmbedderChanged) -> EmbedderChanged:
        if self._embedders.old_failure is None:
            return error
        progress = await self._reembedding.progress()
        return EmbedderChanged(f"{error}; {progress.done} of {progress.total} have been embedded again so far")

    # --- duties ---

    async def _reopen(self) -> None:
        await self._index.reopen()

    async def _look(self) -> None:
        """See what another process has changed, and whether the database answers."""
        try:
            if self._failure is not None or await self._call(lambda index: index.is_shared):
                await self._embedders.refresh()
        except StoreError as error:
            if not self._is_unavailable():
                logger.error("image search is unavailable: %s", error)
            self._failure = error
        else:
            self._failure = None

    async def _sweep(self) -> None:
        await self._garbage.work()
        self._tend_soon()  # a graph that was written may have to be named yet

    async def _embed_again(self) -> None:
        await self._reembedding.work()

    async def _back_up(self) -> None:
        made = await self._index.back_up(only_changes=True)
        if made is not None:
            logger.info("the image index was backed up to %s", made.key)

    def _tend_soon(self) -> None:
        if self._tending is None or self._tending.done():
            self._tending = asyncio.create_task(self._tend())

    async def _tend(self) -> None:
        """Do the index's upkeep in slices, between which requests have their turn."""
        try:
            while await self._call(lambda index: index.needs_tending):
                await self._call(ImageIndex.tend)
        except Exception:
            # Searches are right without it, only slower; the next request starts it again.
            logger.exception("the upkeep of the image index failed")


def _serving(index: ImageIndex) -> Embedder:
    return index.serving
