"""The models whose vectors image search compares: the configured one, and one that it takes the place of."""

from __future__ import annotations

import asyncio
import logging
import time
from collections import Counter
from collections.abc import Awaitable, Callable
from concurrent.futures import ThreadPoolExecutor
from contextvars import Context
from http import HTTPStatus
from typing import Any, Final

import numpy as np
from cachetools import LRUCache

from deployments.batches import Batcher, HaveLeft
from deployments.executors import yield_to_others
from deployments.ingress.calls.model_handle import ModelHandle
from deployments.ingress.errors import ApiError
from deployments.ingress.metrics import Outcome, outcome_of
from models.catalog import create_engine, fingerprints
from models.embedding.engine import EmbeddingEngine
from models.entry import ModelEntry
from models.errors import CheckpointError, InvalidImage, ModelError
from models.pictures import open_picture
from stores.database import Vectors
from stores.errors import EmbedderChanged
from stores.index.records import Embedder

logger = logging.getLogger("ray.serve")

Work = Callable[[EmbeddingEngine], np.ndarray]

MAX_BATCH: Final = 16
"""Pictures of several callers that go to the model in one call: a call costs as much as embedding some of them."""
_MAX_TEXTS: Final = 10_000
"""Texts whose vectors are remembered: 31 MB of them by default."""
_LOAD_AGAIN_SECONDS: Final = 60.0


class Embedders:
    """Words and pictures into vectors, by the configured embedder or the one that serves.

    Methods raise `ApiError` when the deployment does not start in time, does not fit or dies twice, as any call of a
    model does.

    The configured one is a deployment. One that serves while pictures are embedded again is loaded in this process,
    once, on the CPU, when it is first needed; it is freed when it is seen that it serves no longer.
    """

    def __init__(self, configured: Embedder, model: ModelHandle, look: Callable[[], Awaitable[Embedder]]) -> None:
        """`model` is the deployment of the configured one; `look` asks the index which embedder serves."""
        self.configured = configured
        self._model = model
        self.calls: Counter[str] = Counter()
        """Calls of the configured one's deployment, by how they ended, as `Metrics` has it."""
        self._look = look
        self._serving: Embedder | None = None
        self._texts: LRUCache[tuple[str, str], Vectors] = LRUCache(_MAX_TEXTS)
        self._old = _OldEmbedder()
        self._images = Batcher(self._embed, lambda taken, _: len(taken) < MAX_BATCH)

    @property
    def old_failure(self) -> str | None:
        """Why the embedder that serves cannot be loaded, where that was tried."""
        return self._old.failure

    async def serving(self) -> Embedder:
        """The embedder that serves, as of the last look at the index."""
        return self._serving or await self.refresh()

    async def refresh(self) -> Embedder:
        """Look at the index which embedder serves, and free one that no longer does."""
        self._serving = serving = await self._look()
        await self._old.serve(None if serving.name == self.configured.name else serving)
        return serving

    async def text(self, embedder: Embedder, text: str) -> Vectors:
        """The vector of a text, float32 [dimension]. Raises `EmbedderChanged` when its model cannot be had."""
        key = (embedder.name, text)
        vector: Vectors | None = self._texts.get(key)
        if vector is None:
            if embedder.name == self.configured.name:
                vectors: Vectors = await self._call("embed_texts", [text])
            else:
                vectors = await self._old.run(embedder, lambda engine: engine.embed_texts([text]))
            vector = self._texts[key] = vectors[0]
        return vector

    async def image(self, embedder: Embedder, image: bytes) -> Vectors:
        """The vector of an encoded picture, float32 [dimension]. Raises `InvalidImage` and as `text`."""
        if embedder.name == self.configured.name:
            return await self._images.ask(image)
        vectors = await self._old.run(embedder, lambda engine: engine.embed_images([open_picture(image)]))
        vector: Vectors = vectors[0]
        return vector

    async def images(self, images: list[bytes]) -> Vectors:
        """The configured embedder's vectors of several pictures, float32 [pictures, dimension]."""
        vectors: Vectors = await self._call("embed_images", *images)
        return vectors

    def close(self) -> None:
        """End; nothing is asked any more."""
        self._old.close()

    async def _call(self, method: str, *args: Any) -> Vectors:
        """What a method of the deployment gives. Raises `InvalidImage` for what is the picture's fault."""
        outcome: Outcome = "cancelled"
        try:
            vectors: Vectors = await self._model.call(method, *args)
            outcome = "ok"
        except ApiError as error:
            outcome = outcome_of(error)
            if error.status == HTTPStatus.BAD_REQUEST:
                raise InvalidImage(error.message, error.param, error.code or "invalid_image") from error
            raise
        finally:
            self.calls[outcome] += 1
        return vectors

    async def _embed(self, images: list[bytes], _: HaveLeft) -> list[Vectors]:
        # in a context of its own: when a caller leaves, Serve cancels what was called in the context of its request
        call = asyncio.get_running_loop().create_task(self.images(images), context=Context())
        return list(await call)


class _OldEmbedder:
    """The engine of the embedder that serves while it is not the configured one; loaded and used by one thread."""

    def __init__(self) -> None:
        self._thread = ThreadPoolExecutor(1, thread_name_prefix="old-embedder", initializer=yield_to_others)
        self._serving: Embedder | None = None
        self._engine: EmbeddingEngine | None = None
        self._failed_at = 0.0
        self.failure: str | None = None
        """Why it cannot be loaded, where that was tried."""

    async def serve(self, embedder: Embedder | None) -> None:
        """Load, from now on, this one when it is needed, and free another that was loaded; None: there is none."""
        if (embedder and embedder.name) == (self._serving and self._serving.name):
            return
        self._serving = embedder  # before what still waits for the thread has its turn there
        self.failure = None
        await asyncio.get_running_loop().run_in_executor(self._thread, self._free)

    async def run(self, embedder: Embedder, work: Work) -> Vectors:
        """What `work` gives with the embedder's engine. Raises `EmbedderChanged` when it cannot be had."""

        def in_turn() -> Vectors:
            if self._serving is None or self._serving.name != embedder.name:
                raise EmbedderChanged("another model serves now")
            return np.asarray(work(self._engine or self._load(embedder)), np.float32)

        return await asyncio.get_running_loop().run_in_executor(self._thread, in_turn)

    def close(self) -> None:
        """End; nothing is asked any more."""
        self._thread.shutdown(wait=False, cancel_futures=True)

    def _load(self, embedder: Embedder) -> EmbeddingEngine:
        if self.failure is not None and time.monotonic() < self._failed_at + _LOAD_AGAIN_SECONDS:
            raise EmbedderChanged(self.failure)
        try:
            self._engine = _load(embedder)
        except EmbedderChanged as error:
            self.failure, self._failed_at = str(error), time.monotonic()
            raise
        self.failure = None
        return self._engine

    def _free(self) -> None:
        if self._engine is not None:
            self._engine.unload()
            self._engine = None


def embedder_of(entry: ModelEntry) -> Embedder:
    """The embedder that an entry of the catalogue makes: other weights make other vectors, whatever the alias."""
    pretrained = entry.options.get("pretrained")
    name = f"{fingerprints(entry)}@{entry.revision}" + (f"+{pretrained}" if pretrained else "")
    return Embedder(name, entry.model_dump_json(exclude={"replicas"}))


def _load(embedder: Embedder) -> EmbeddingEngine:
    try:
        if embedder.entry is None:
            raise CheckpointError("it was not kept how")
        entry = ModelEntry.model_validate_json(embedder.entry).model_copy(update={"device": "cpu"})
        if embedder_of(entry).name != embedder.name:
            raise CheckpointError("its weights were exchanged for others")
        engine = create_engine(entry)
        assert isinstance(engine, EmbeddingEngine)
        engine.load()
    except (ModelError, ValueError) as error:
        logger.warning("the model that embedded the pictures cannot be loaded any more: %s", error)
        raise EmbedderChanged(
            "the pictures were embedded by another model than the one configured, which cannot be loaded any more"
        ) from error
    logger.info("%s serves searches until the pictures are embedded again", embedder.name)
    return engine
