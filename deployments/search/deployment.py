"""Image search: the index of pictures, and words and pictures looked up in it."""

from __future__ import annotations

import asyncio
import logging
import re
import unicodedata
import weakref
from collections.abc import Awaitable, Callable, Iterable, Mapping
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final, TypeVar

from ray.serve.handle import DeploymentHandle

from deployments.batches import Batcher, HaveLeft
from deployments.logs import log_request_ids
from deployments.search.embedders import Embedders
from deployments.search.index_keeper import IndexKeeper
from deployments.storage import PICTURE_SUFFIXES
from models.errors import InvalidImage
from models.picture_files import ACCEPTED, check, read_header
from models.pictures import examine
from stores.backup import Backup, Backups
from stores.database import Vectors
from stores.errors import EmbedderChanged, NotFound, StoreError, StoreUnavailable
from stores.index import (
    EVERYTHING,
    Embedder,
    Hits,
    ImageIndex,
    ImageRecord,
    New,
    NewImage,
    Page,
    Project,
    Reservation,
    Wanted,
    thumbnail_key,
)
from stores.objects import ObjectStore

logger = logging.getLogger("ray.serve")

T = TypeVar("T")

_MAX_FILENAME: Final = 255
_UNSEEN: Final = ("Cc", "Cf", "Cs", "Zl", "Zp")
_JOINERS: Final = "\u200c\u200d"
_TOGETHER: Final = 64
"""Records written in one transaction, at most."""
_EMBEDDED_ANEW: Final = 32
"""Pictures embedded anew at once."""
_STORE_THREADS: Final = 8
_REOPEN_SECONDS: Final = 10.0
_SWEEP_SECONDS: Final = 60.0
_FIRST_SECONDS: Final = 60.0
"""How soon after a start every duty is done once, at most: a server may never run for half an hour."""
_EMBED_SECONDS: Final = 2.0
_TAKE_OVER_SECONDS: Final = 0.005
_ANOTHER_SECONDS: Final = 0.05
_ANOTHER_TRIES: Final = 600
"""How often, and how long apart, it is looked whether somebody else has added the same picture: 30 s."""
_LISTED: Final = 1000


@dataclass(frozen=True)
class Strays:
    """Objects that no record has, by their keys, and records whose object is gone, by project and id."""

    orphans: list[str]
    missing: list[tuple[str, str]]
    deleted: int
    """Orphans that were removed."""
    set_aside: int
    """Objects of an index that a restore has set aside: no orphans while its file is there, to go back to."""
    indexes_set_aside: list[str]
    """The names of those files, beside the index."""


class Search:
    """Adds, lists, finds and deletes pictures.

    The index is used from one thread, in turn, so that nothing blocks the event loop and no search meets an insert;
    objects are put and deleted by other threads. Over SQLite there is one replica, the file's one writer; over
    PostgreSQL there may be many. Every method raises what `stores.errors` names.

    An index that cannot be restored or reached leaves the replica running: `state` says why, requests get the error at
    once, and it is tried again every 10 s.
    """

    def __init__(
        self,
        files: Callable[[], ObjectStore],
        index: Callable[[ObjectStore], ImageIndex],
        configured: Embedder,
        embedder: DeploymentHandle,
        backups: Callable[[ObjectStore], Backups] | None = None,
        database: Path | None = None,
        backup_seconds: float = 1800,
    ) -> None:
        """`files` opens the store of the pictures, `index` the index over it for the `configured` embedder.

        `embedder` has that one's `embed_texts` and `embed_images`. For `backups` and `database` see `IndexKeeper`.
        """
        log_request_ids()
        self._files = files()
        self._configured = configured
        self._embedders = Embedders(configured, embedder)
        self._serving: Embedder | None = None
        self._embedded = 0
        self._upkeep: asyncio.Task[None] | None = None
        self._storing: set[asyncio.Task[tuple[ImageRecord, bool]]] = set()
        self._store_threads = ThreadPoolExecutor(_STORE_THREADS, thread_name_prefix="image-files")
        self._reserving = Batcher(self._reserve, _has_room)
        self._completing = Batcher(self._complete, _has_room)
        self._index = IndexKeeper(lambda: index(self._files), backups(self._files) if backups else None, database)
        self._call = self._index.call
        duties = {Search._reopen: _REOPEN_SECONDS, Search._sweep: _SWEEP_SECONDS, Search._embed_anew: _EMBED_SECONDS}
        if backups is not None:
            duties[Search._back_up] = backup_seconds
        itself = weakref.ref(self)
        self._duties = [asyncio.ensure_future(_again_and_again(itself, duty, pause)) for duty, pause in duties.items()]

    def __del__(self) -> None:
        """Close; Serve calls this when it stops a replica."""
        if hasattr(self, "_duties"):
            self.close()

    def close(self) -> None:
        """Save the search graphs and close the index; safe to call twice."""
        for duty in self._duties:
            if not duty.get_loop().is_closed():
                duty.get_loop().call_soon_threadsafe(duty.cancel)
        self._store_threads.shutdown()
        self._index.close()
        self._embedders.close()

    async def state(self) -> dict[str, Any]:
        """What the index does: `state` is ready, embedding (with `done` and `total`) or unavailable (with `why`).

        `embedding` has a `why` too where nothing can be found meanwhile.
        """
        if self._index.failure is not None:
            return {"state": "unavailable", "why": str(self._index.failure)}
        serving = await self._call(_serving)
        if serving.name == self._configured.name:
            return {"state": "ready"}
        done, total = await self._call(ImageIndex.progress)
        why = self._embedders.old_failure
        return {"state": "embedding", "done": done, "total": total} | ({} if why is None else {"why": why})

    # --- pictures ---

    async def add(self, project: str, filename: str, content: bytes) -> tuple[ImageRecord, bool]:
        """Store a picture; its record, and whether the project had the same bytes already.

        Raises:
            InvalidImage: not a picture that we read.
        """
        image = await asyncio.to_thread(_examined, filename, content)
        known = await self._call(ImageIndex.find, project, image.sha256)
        if known is not None:
            await self._put_back(known, image)
            return known, True
        # Not to be broken off in the middle, whether the caller leaves or not.
        storing = asyncio.ensure_future(self._store(New(project, image, await self._vectors(content))))
        self._storing.add(storing)
        storing.add_done_callback(self._storing.discard)
        return await asyncio.shield(storing)

    async def page(self, project: str, limit: int, after: str | None = None) -> Page:
        """Some of the project's records; see `ImageIndex.page`."""
        return await self._call(ImageIndex.page, project, limit, after)

    async def get(self, project: str, image_id: str) -> ImageRecord:
        """One record."""
        return await self._call(ImageIndex.get, project, image_id)

    async def delete(self, project: str, image_id: str) -> None:
        """Delete a picture and its files; those that cannot be deleted now are later."""
        await self._remove(await self._call(ImageIndex.delete, project, image_id))
        self._tend_soon()

    async def projects(self) -> list[Project]:
        """All projects, with their numbers of pictures."""
        return await self._call(ImageIndex.projects)

    async def delete_project(self, project: str) -> None:
        """Delete a project with its pictures and their files; those that cannot be deleted now are later."""
        await self._call(ImageIndex.delete_project, project)
        await self._sweep()

    # --- searches ---

    async def search_text(
        self, project: str, query: str, limit: int, min_score: float | None = None, wanted: Wanted = EVERYTHING
    ) -> Hits:
        """The pictures that fit the words best."""

        async def embed(embedder: Embedder) -> Vectors:
            return await self._embedders.text(embedder, query)

        return await self._nearest(embed, project, limit, min_score, wanted)

    async def search_image(
        self, project: str, image: bytes, limit: int, min_score: float | None = None, wanted: Wanted = EVERYTHING
    ) -> Hits:
        """The pictures most like an encoded one.

        Raises:
            InvalidImage: not a picture that we read.
        """
        await asyncio.to_thread(check, image, "image")

        async def embed(embedder: Embedder) -> Vectors:
            return await self._embedders.image(embedder, image)

        return await self._nearest(embed, project, limit, min_score, wanted)

    async def search_id(
        self, project: str, image_id: str, limit: int, min_score: float | None = None, wanted: Wanted = EVERYTHING
    ) -> Hits:
        """The pictures most like a stored one, itself first."""

        def nearest(index: ImageIndex) -> Hits:
            return index.search(project, index.vector(project, image_id), limit, min_score, wanted)

        hits = await self._call(nearest)
        self._tend_soon()
        return hits

    # --- for administrators ---

    async def strays(self, *, remove: bool, forget_set_aside: bool = False) -> Strays:
        """What objects and records do not have of each other; `remove` removes the orphans, and never a record.

        `forget_set_aside` removes the indexes that restores have set aside before.
        """
        prefix = await self._call(lambda index: index.key_prefix)  # or else it is unavailable, and nothing is removed
        if forget_set_aside:
            await self._index.forget_set_aside()
        keys = await self._in_store(lambda: list(self._files.keys(prefix)))
        unknown: dict[str, str] = {}
        for begin in range(0, len(keys), _LISTED):
            unknown |= await self._call(ImageIndex.unknown, keys[begin : begin + _LISTED])
        elsewhere = await self._index.named_aside(set(unknown.values()))
        orphans = [key for key, image_id in unknown.items() if image_id not in elsewhere]
        missing = [(record.project_id, record.id) for record in await self._without_objects(set(keys))]
        deleted = await self._in_store(lambda: _delete(self._files, orphans)) if remove else []
        return Strays(
            orphans, missing, len(deleted), len(unknown) - len(orphans), [path.name for path in self._index.set_aside]
        )

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
        return await self._index.restore(version)

    # --- what these share ---

    async def _in_store(self, work: Callable[[], T]) -> T:
        return await asyncio.get_running_loop().run_in_executor(self._store_threads, work)

    async def _vectors(self, content: bytes) -> dict[str, Vectors]:
        """Of the configured embedder, and of the one that serves while the configured one does not."""
        vectors = {self._configured.name: await self._embedders.image(self._configured, content)}
        serving = await self._who_serves()
        if serving.name != self._configured.name:
            try:
                vectors[serving.name] = await self._embedders.image(serving, content)
            except EmbedderChanged:
                logger.info("a picture will be found once the configured model serves")
        return vectors

    async def _nearest(
        self,
        embed: Callable[[Embedder], Awaitable[Vectors]],
        project: str,
        limit: int,
        min_score: float | None,
        wanted: Wanted,
    ) -> Hits:
        try:
            hits = await self._nearest_by(await self._who_serves(), embed, project, limit, min_score, wanted)
        except EmbedderChanged:  # perhaps since another one serves now
            self._serving = None
            hits = await self._nearest_by(await self._who_serves(), embed, project, limit, min_score, wanted)
        self._tend_soon()
        return hits

    async def _who_serves(self) -> Embedder:
        if self._serving is None:
            self._serving = await self._call(_serving)
        return self._serving

    async def _nearest_by(
        self,
        embedder: Embedder,
        embed: Callable[[Embedder], Awaitable[Vectors]],
        project: str,
        limit: int,
        min_score: float | None,
        wanted: Wanted,
    ) -> Hits:
        try:
            vector = await embed(embedder)
        except EmbedderChanged as error:
            done, total = await self._call(ImageIndex.progress)
            raise EmbedderChanged(f"{error}; {done} of {total} have been embedded anew so far") from error
        return await self._call(ImageIndex.search, project, vector, limit, min_score, wanted, embedder.name)

    async def _reserve(self, news: list[New], _: HaveLeft) -> list[Reservation | ImageRecord | None]:
        return await self._call(ImageIndex.reserve, news)

    async def _complete(self, reservations: list[Reservation], _: HaveLeft) -> list[ImageRecord]:
        return await self._call(ImageIndex.complete, reservations)

    async def _store(self, new: New) -> tuple[ImageRecord, bool]:
        """Reserve a record, put its objects and show it, or leave nothing of it; or the record that is there."""
        for _ in range(_ANOTHER_TRIES):
            opening = self._index.openings
            reserved = await self._reserving.ask(new)
            if isinstance(reserved, ImageRecord):
                return reserved, True
            if reserved is not None:
                return await self._finish(reserved, opening), False
            await asyncio.sleep(_ANOTHER_SECONDS)
        raise StoreUnavailable("the same picture is still being added; try again later")

    async def _finish(self, reserved: Reservation, opening: int) -> ImageRecord:
        try:
            await self._in_store(lambda: _put(self._files, reserved.objects))
            if self._index.openings != opening:
                raise StoreUnavailable("the index was restored while the picture was added; add it again")
            record = await self._completing.ask(reserved)
        except BaseException:
            if self._index.openings == opening:  # or the label may be of another picture now
                await self._call(ImageIndex.withdraw, reserved)
            await self._remove(list(reserved.objects))
            raise
        self._tend_soon()
        return record

    async def _put_back(self, record: ImageRecord, image: NewImage) -> None:
        """Put a picture's objects where they should be, if somebody has removed them and the record is still there."""
        if await self._in_store(lambda: self._files.exists(record.r2_key)):
            return
        objects = {} if image.thumbnail is None else {thumbnail_key(record.r2_key): image.thumbnail}
        objects[record.r2_key] = image.content
        await self._in_store(lambda: _put(self._files, objects))
        found = await self._call(ImageIndex.find, record.project_id, image.sha256)
        if found is None or found.r2_key != record.r2_key:  # deleted meanwhile
            await self._in_store(lambda: _delete(self._files, objects))

    async def _remove(self, keys: list[str]) -> None:
        """Delete objects whose records are gone; what fails is tried again by `_sweep`."""
        deleted = await self._in_store(lambda: _delete(self._files, keys))
        await self._call(ImageIndex.forget, deleted)

    async def _without_objects(self, keys: set[str]) -> list[ImageRecord]:
        """The records whose picture is not among the keys, nor there now."""

        def absent(page: Page) -> list[ImageRecord]:
            unseen = [record for record in page.images if record.r2_key not in keys]
            return [record for record in unseen if not self._files.exists(record.r2_key)]

        found: list[ImageRecord] = []
        for project in await self.projects():
            page = await self.page(project.project_id, _LISTED)
            found += await asyncio.to_thread(absent, page)
            while page.next is not None:
                page = await self.page(project.project_id, _LISTED, page.next)
                found += await asyncio.to_thread(absent, page)
        return found

    # --- duties ---

    async def _reopen(self) -> None:
        await self._index.reopen()

    async def _sweep(self) -> None:
        """Remove the rows of deleted projects, and the objects of deleted pictures.

        Those that cannot be removed now are tried again the next time.
        """
        try:
            await self._clear()
        finally:
            last = ""
            while keys := await self._call(ImageIndex.buried, after=last):
                await self._call(ImageIndex.forget, await asyncio.to_thread(_delete, self._files, keys))
                last = keys[-1]
        self._tend_soon()  # a graph that was written may have to be named yet

    async def _clear(self) -> None:
        """Remove the rows that what is deleted has left, in slices, between which requests have their turn."""
        while await self._call(ImageIndex.clear):
            pass

    async def _embed_anew(self) -> None:
        """Give all pictures vectors of the configured embedder, and then let it serve; once for each opened index."""
        if self._embedded == self._index.openings:
            return
        opening = self._index.openings
        await self._clear()  # what is deleted needs no vectors
        if await self._call(lambda index: index.is_incomplete):
            if not await self._call(ImageIndex.claim, "embedding"):
                return  # another process is at it
            await self._embed_all(opening)
        self._embedded = opening

    async def _embed_all(self, opening: int) -> None:
        logger.info("pictures are embedded anew, %d of %d so far", *await self._call(ImageIndex.progress))
        last = 0
        while lacking := await self._call(ImageIndex.lacking, _EMBEDDED_ANEW, last):
            await self._fill(lacking)
            last = max(lacking)
            if self._index.openings != opening:
                return  # an index that was restored begins anew
        while not await self._call(ImageIndex.take_over):  # noqa: ASYNC110 - each call does some of the work
            await asyncio.sleep(_TAKE_OVER_SECONDS)
        self._serving = None
        await self._embedders.forget_old()
        await self._clear()
        logger.info("pictures were embedded anew: %d of %d", *await self._call(ImageIndex.progress))

    async def _fill(self, lacking: Mapping[int, str]) -> None:
        """Embed these pictures, by label and key; what cannot be is left without a vector, and told."""
        found = await asyncio.to_thread(_found, self._files, lacking)
        try:
            vectors = await self._embedders.images(list(found.values()))
        except InvalidImage:
            if len(found) > 1:
                for label in found:
                    await self._fill({label: lacking[label]})
            else:
                logger.warning("%s cannot be embedded anew: its file is damaged", *(lacking[label] for label in found))
            return
        await self._call(ImageIndex.fill, dict(zip(found, vectors, strict=True)))

    async def _back_up(self) -> None:
        made = await self._index.back_up(only_changes=True)
        if made is not None:
            logger.info("the image index was backed up to %s", made.key)

    def _tend_soon(self) -> None:
        if self._upkeep is None or self._upkeep.done():
            self._upkeep = asyncio.create_task(self._tend())

    async def _tend(self) -> None:
        """Do the index's upkeep in slices, between which requests have their turn."""
        try:
            while await self._call(lambda index: index.needs_tending):
                await self._call(ImageIndex.tend)
        except Exception:
            # Searches are right without it, only slower; the next request starts it again.
            logger.exception("the upkeep of the image index failed")


async def _again_and_again(
    search: weakref.ref[Search], duty: Callable[[Search], Awaitable[None]], pause: float
) -> None:
    """Do a duty of a replica until the replica is gone; what fails is told and tried again."""
    next_pause = min(pause, _FIRST_SECONDS)
    while True:
        await asyncio.sleep(next_pause)
        next_pause = pause
        replica = search()
        if replica is None:
            return
        try:
            await duty(replica)
        except Exception:
            if replica._index.failure is None:  # else that was told, and this is what follows from it
                logger.exception("a duty of image search failed and will be tried again")
        del replica


def _has_room(taken: list[T], _: T) -> bool:
    return len(taken) < _TOGETHER


def _serving(index: ImageIndex) -> Embedder:
    return index.serving


def _examined(filename: str, content: bytes) -> NewImage:
    kind = read_header(content, "file").name
    facts = examine(content, "file")
    return NewImage(
        content,
        _shown_name(filename),
        ACCEPTED[kind],
        PICTURE_SUFFIXES[kind],
        facts.width,
        facts.height,
        facts.dominant_color,
        facts.thumbnail,
    )


def _shown_name(filename: str) -> str:
    """The last part of the client's name for its file: it is shown, never a path.

    Without control characters, and without what is not seen: marks that turn the direction of writing, say, behind
    which `gpj.exe` looks like another type. Joiners stay, which some scripts and emoji are written with.
    """
    last = re.split(r"[/\\]", filename)[-1]
    clean = "".join(c for c in last if unicodedata.category(c) not in _UNSEEN or c in _JOINERS).strip()
    return clean[:_MAX_FILENAME] or "upload"


def _put(files: ObjectStore, objects: Mapping[str, bytes]) -> None:
    for key, content in objects.items():
        files.put(key, content)


def _delete(files: ObjectStore, keys: Iterable[str]) -> list[str]:
    """Delete objects; those that are gone now. One that cannot be deleted holds up no other."""
    deleted = []
    for key in keys:
        try:
            files.delete(key)
        except StoreError:
            logger.warning("%s could not be removed yet", key, exc_info=True)
        else:
            deleted.append(key)
    return deleted


def _found(files: ObjectStore, keys: Mapping[int, str]) -> dict[int, bytes]:
    """The objects of the keys that are there."""
    found = {}
    for label, key in keys.items():
        try:
            found[label] = files.get(key)
        except NotFound:
            logger.warning("%s cannot be embedded anew: its file is gone", key)
    return found
