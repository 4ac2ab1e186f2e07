"""Pictures embedded again by another embedder, in the background, while the old one serves."""

from __future__ import annotations

import asyncio
import io
import logging
import time
from collections.abc import Mapping
from functools import cache
from typing import Final

import numpy as np
from PIL import Image

from deployments.ingress.errors import ApiError
from deployments.search.embedders import Embedders
from deployments.search.files import ImageFiles
from deployments.search.garbage import GarbageCollection
from deployments.search.index_keeper import IndexKeeper
from models.errors import InvalidImage
from stores.index.reembedding import Progress

logger = logging.getLogger("ray.serve")

MAX_BATCH: Final = 32
"""Pictures embedded at once."""
_MAX_BYTES: Final = 64 << 20
_COUNT_SECONDS: Final = 60.0
_DUE_SECONDS: Final = 30.0
_TAKE_OVER_SECONDS: Final = 0.005
_CLAIM: Final = "embedding"
_MAY_BE_THE_PICTURES: Final = ("INFERENCE_FAILED", "OUT_OF_MEMORY", "model_restarting", "internal_error")
"""How a call of the embedder ends that failed on a picture, or died of one. Otherwise it does not start, or fit."""


class Reembedding:
    """Gives all pictures vectors of the configured embedder, and then lets it serve.

    A picture that cannot be embedded (its file is gone or damaged, the model fails on it) is passed over, counted in
    `progress`, and tried again later, after longer and longer pauses. When it is the embedder or the store that
    fails, all wait for it.
    """

    def __init__(self, index: IndexKeeper, files: ImageFiles, embedders: Embedders, garbage: GarbageCollection) -> None:
        self._index = index
        self._files = files
        self._embedders = embedders
        self._garbage = garbage
        self._finished_opening = 0
        self._due_at = 0.0
        self._counted_at = 0.0
        self._counted_opening = 0
        self._progress = Progress(0, 0, 0)

    async def progress(self) -> Progress:
        """How far it is, as of a minute ago at most and with what was embedded since: counting takes a while.

        Counts itself only where nobody has since the index was opened.
        """
        if self._counted_opening != self._index.openings:
            await self._count()
        return self._progress

    async def work(self) -> None:
        """Embed what is lacking, once for each time that the index was opened; later, what is to be tried again."""
        opening = self._index.openings
        if self._finished_opening != opening:
            await self._garbage.clear()  # what is deleted needs no vectors
            if await self._embed_all(opening):
                self._finished_opening = opening
        elif time.monotonic() >= self._due_at:
            due = await self._index.call(lambda index: index.reembedding.due(MAX_BATCH))
            if due:
                await self._embed(due)
                await self._count()
            if len(due) < MAX_BATCH:
                self._due_at = time.monotonic() + _DUE_SECONDS

    async def _embed_all(self, opening: int) -> bool:
        """Whether nothing is left to be done for this opening."""
        if self._counted_opening != opening or time.monotonic() > self._counted_at + _COUNT_SECONDS:
            await self._count()
        lacking = await self._index.call(lambda index: index.reembedding.lacking(MAX_BATCH))
        is_pending = await self._index.call(lambda index: index.reembedding.is_pending)
        if not lacking and not is_pending:
            return True
        if not await self._index.call(lambda index: index.claim(_CLAIM)):
            return False  # another process is at it
        try:
            logger.info("pictures are embedded again, %d of %d so far", self._progress.done, self._progress.total)
            while lacking:
                last = await self._embed(lacking)
                if self._index.openings != opening:
                    return False  # an index that was restored begins again
                lacking = await self._index.call(lambda index, after: index.reembedding.lacking(MAX_BATCH, after), last)
            await self._take_over()
        finally:
            if self._index.openings == opening:
                await self._index.call(lambda index: index.release(_CLAIM))
        await self._count()
        logger.info("pictures were embedded again: %d of %d", self._progress.done, self._progress.total)
        return True

    async def _take_over(self) -> None:
        while not await self._index.call(lambda index: index.reembedding.take_over()):  # noqa: ASYNC110 - each does some
            await asyncio.sleep(_TAKE_OVER_SECONDS)
        await self._embedders.refresh()
        await self._garbage.clear()

    async def _embed(self, keys: Mapping[int, str]) -> int:
        """Embed pictures, by label and key; the last label of those that were read."""
        found, failed = await self._files.read(keys, _MAX_BYTES)
        for label, reason in failed.items():
            await self._fail(label, keys[label], reason)
        await self._fill({label: (keys[label], content) for label, content in found.items()})
        if time.monotonic() > self._counted_at + _COUNT_SECONDS:
            await self._count()
        return max([*found, *failed])

    async def _fill(self, pictures: Mapping[int, tuple[str, bytes]]) -> None:
        """Embed pictures, by label, with their keys; those that fail together are embedded one by one.

        Raises:
            Exception: what the embedder raised, when it would not have embedded another picture either.
        """
        if not pictures:
            return
        try:
            vectors = await self._embedders.images([content for _, content in pictures.values()])
        except Exception as error:
            if isinstance(error, ApiError) and error.code not in _MAY_BE_THE_PICTURES:
                raise
            if len(pictures) > 1:
                for label, picture in pictures.items():
                    await self._fill({label: picture})
                return
            if not isinstance(error, InvalidImage) and not await self._embeds():
                raise
            ((label, (key, _)),) = pictures.items()
            await self._fail(label, key, f"{type(error).__name__}: {error}")
            return
        embedded = dict(zip(pictures, vectors, strict=True))
        filled = {label: vector for label, vector in embedded.items() if np.isfinite(vector).all() and vector.any()}
        for label in embedded.keys() - filled.keys():
            await self._fail(label, pictures[label][0], "the model gives it no direction")
        await self._index.call(lambda index: index.reembedding.fill(filled))
        done = min(self._progress.done + len(filled), self._progress.total)
        self._progress = self._progress._replace(done=done)

    async def _embeds(self) -> bool:
        """Whether the embedder can embed a picture that no model chokes on."""
        try:
            await self._embedders.images([_grey()])
        except Exception as error:  # noqa: BLE001 - whatever it is, the embedder fails, and not because of a picture
            logger.warning("the embedder fails on every picture: %s: %s", type(error).__name__, error)
            return False
        return True

    async def _fail(self, label: int, key: str, reason: str) -> None:
        first_line = reason.partition("\n")[0]
        seconds = await self._index.call(lambda index: index.reembedding.fail(label, first_line))
        logger.warning("%s cannot be embedded now, and is tried again in %.0f s: %s", key, seconds, first_line)

    async def _count(self) -> None:
        self._counted_opening, self._counted_at = self._index.openings, time.monotonic()
        self._progress = await self._index.call(lambda index: index.reembedding.progress())


@cache
def _grey() -> bytes:
    file = io.BytesIO()
    Image.new("RGB", (64, 64), (128, 128, 128)).save(file, "PNG")
    return file.getvalue()
