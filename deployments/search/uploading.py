"""Adding pictures: examined, embedded, reserved, put into the store, and then shown."""

from __future__ import annotations

import asyncio
import logging
import re
import unicodedata
from collections.abc import Callable
from concurrent.futures import Executor
from typing import Final, TypeVar

from deployments.batches import Batcher, HaveLeft
from deployments.search.embedders import Embedders
from deployments.search.files import ImageFiles
from deployments.search.garbage import GarbageCollection
from deployments.search.index_keeper import IndexKeeper
from deployments.storage import PICTURE_SUFFIXES
from models.picture_files import ACCEPTED, read_header
from models.pictures import examine
from stores.database import Vectors
from stores.errors import EmbedderChanged, StoreUnavailable
from stores.index.index import ImageIndex
from stores.index.records import Abandoned, ImageRecord, NewImage, NewRecord, Reservation, thumbnail_key

logger = logging.getLogger("ray.serve")

T = TypeVar("T")

MAX_BATCH: Final = 64
"""Records written in one transaction, at most."""
_MAX_FILENAME: Final = 255
_UNSEEN: Final = ("Cc", "Cf", "Cs", "Zl", "Zp")
_JOINERS: Final = "\u200c\u200d"
_ANOTHER_SECONDS: Final = 0.05
_ANOTHER_TRIES: Final = 600
"""How often, and how long apart, it is looked whether another request has added the same picture: 30 s."""


class Uploading:
    """Adds pictures, whose records are written together with those of other callers."""

    def __init__(
        self,
        index: IndexKeeper,
        files: ImageFiles,
        embedders: Embedders,
        garbage: GarbageCollection,
        decoding: Executor,
        added: Callable[[], None],
    ) -> None:
        """`added` is called after each picture that was added."""
        self._index = index
        self._files = files
        self._embedders = embedders
        self._garbage = garbage
        self._decoding = decoding
        self._added = added
        self._storing: set[asyncio.Task[tuple[ImageRecord, bool]]] = set()
        self._reserving = Batcher(self._reserve, _has_room)
        self._completing = Batcher(self._complete, _has_room)

    async def add(self, project: str, filename: str, content: bytes) -> tuple[ImageRecord, bool]:
        """Store a picture; its record, and whether the project had the same bytes already.

        Raises:
            InvalidImage: not a picture that we read.
        """
        image = await asyncio.get_running_loop().run_in_executor(self._decoding, _examined, filename, content)
        known = await self._index.call(ImageIndex.find, project, image.sha256)
        if known is not None:
            await self._put_back(known, image)
            return known, True
        # Not to be broken off in the middle, whether the caller leaves or not.
        storing = asyncio.ensure_future(self._store(NewRecord(project, image, await self._vectors(content))))
        self._storing.add(storing)
        storing.add_done_callback(self._storing.discard)
        return await asyncio.shield(storing)

    async def _vectors(self, content: bytes) -> dict[str, Vectors]:
        """Of the configured embedder, and of the one that serves while the configured one does not."""
        configured, serving = self._embedders.configured, await self._embedders.serving()
        vectors = {configured.name: await self._embedders.image(configured, content)}
        if serving.name != configured.name:
            try:
                vectors[serving.name] = await self._embedders.image(serving, content)
            except EmbedderChanged:
                logger.info("a picture will be found once the configured model serves")
        return vectors

    async def _store(self, new: NewRecord) -> tuple[ImageRecord, bool]:
        """Reserve a record, put its objects and show it, or leave nothing of it; or the record that is there."""
        for _ in range(_ANOTHER_TRIES):
            opening = self._index.openings
            reserved = await self._reserving.ask(new)
            if isinstance(reserved, ImageRecord):
                return reserved, True
            if isinstance(reserved, Reservation):
                return await self._finish(reserved, opening), False
            if reserved is not None:
                await self._garbage.settle(reserved)
            else:
                await asyncio.sleep(_ANOTHER_SECONDS)
        raise StoreUnavailable("the same picture is still being added; try again later")

    async def _finish(self, reserved: Reservation, opening: int) -> ImageRecord:
        try:
            await self._files.put(reserved.objects)
            if self._index.openings != opening:
                raise StoreUnavailable("the index was restored while the picture was added; add it again")
            record = await self._completing.ask(reserved)
        except BaseException:
            if self._index.openings == opening:
                await self._index.call(lambda index: index.adding.withdraw(reserved))
            await self._garbage.remove(list(reserved.objects))
            raise
        self._added()
        return record

    async def _put_back(self, record: ImageRecord, image: NewImage) -> None:
        """Put a picture's objects where they should be, if somebody has removed them and the record is still there."""
        if await self._files.exists(record.r2_key):
            return
        objects = {} if image.thumbnail is None else {thumbnail_key(record.r2_key): image.thumbnail}
        objects[record.r2_key] = image.content
        await self._files.put(objects)
        found = await self._index.call(ImageIndex.find, record.project_id, image.sha256)
        if found is None or found.r2_key != record.r2_key:  # deleted meanwhile
            await self._files.delete(objects)

    async def _reserve(self, new: list[NewRecord], _: HaveLeft) -> list[Reservation | ImageRecord | Abandoned | None]:
        return await self._index.call(lambda index: index.adding.reserve(new))

    async def _complete(self, reservations: list[Reservation], _: HaveLeft) -> list[ImageRecord]:
        return await self._index.call(lambda index: index.adding.complete(reservations))


def _has_room(taken: list[T], _: T) -> bool:
    return len(taken) < MAX_BATCH


def _examined(filename: str, content: bytes) -> NewImage:
    kind = read_header(content, "file").name
    facts = examine(content, "file")
    image = NewImage(
        content,
        _shown_name(filename),
        ACCEPTED[kind],
        PICTURE_SUFFIXES[kind],
        facts.width,
        facts.height,
        facts.dominant_color,
        facts.thumbnail,
    )
    image.sha256  # noqa: B018 - computed here, and not where the event loop would wait for it
    return image


def _shown_name(filename: str) -> str:
    """The last part of the client's name for its file: it is shown, never a path.

    Without control characters, and without what is not seen: marks that turn the direction of writing, say, behind
    which `gpj.exe` looks like another type. Joiners stay, which some scripts and emoji are written with.
    """
    last = re.split(r"[/\\]", filename)[-1]
    clean = "".join(c for c in last if unicodedata.category(c) not in _UNSEEN or c in _JOINERS).strip()
    return clean[:_MAX_FILENAME] or "upload"
