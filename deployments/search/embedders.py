"""The models whose vectors image search compares: the configured one, and one that it takes the place of."""

from __future__ import annotations

import asyncio
import logging
from collections import OrderedDict
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from contextvars import Context
from typing import Final

import numpy as np
from ray.serve.handle import DeploymentHandle

from deployments.batches import Batcher, HaveLeft
from models.catalog import ModelEntry, create_engine
from models.checkpoints import fingerprint
from models.engine import EmbeddingEngine
from models.errors import CheckpointError, ModelError
from models.pictures import open_picture
from stores.database import Vectors
from stores.errors import EmbedderChanged
from stores.index import Embedder

logger = logging.getLogger("ray.serve")

Work = Callable[[EmbeddingEngine], np.ndarray]

_TOGETHER: Final = 16
"""Pictures of several callers that go to the model in one call: a call costs as much as embedding some of them."""
_REMEMBERED: Final = 10_000
"""Texts whose vectors are remembered: 20 MB of them."""


class Embedders:
    """Words and pictures into vectors, by the embedder that is asked for.

    The configured one is a deployment. One that served before is loaded in this process, on the CPU, when it is first
    needed and until `forget_old`, so that searches go on while pictures are embedded anew.
    """

    def __init__(self, configured: Embedder, handle: DeploymentHandle) -> None:
        self._configured = configured
        self._handle = handle
        self._texts: OrderedDict[tuple[str, str], Vectors] = OrderedDict()
        self._old: EmbeddingEngine | None = None
        self._old_name = ""
        self.old_failure: str | None = None
        """Why the one that served before cannot be asked, where it was tried."""
        self._old_thread = ThreadPoolExecutor(1, thread_name_prefix="old-embedder")
        self._images = Batcher(self._embed, lambda taken, _: len(taken) < _TOGETHER)

    async def text(self, embedder: Embedder, text: str) -> Vectors:
        """The vector of a text, float32 [dimension]. Raises `EmbedderChanged` when its model cannot be had."""
        key = (embedder.name, text)
        if key in self._texts:
            self._texts.move_to_end(key)
            return self._texts[key]
        vectors: Vectors
        if embedder.name == self._configured.name:
            vectors = await self._handle.embed_texts.remote([text])
        else:
            vectors = await self._by_old(embedder, lambda engine: engine.embed_texts([text]))
        vector: Vectors = vectors[0]
        self._texts[key] = vector
        if len(self._texts) > _REMEMBERED:
            self._texts.popitem(last=False)
        return vector

    async def image(self, embedder: Embedder, image: bytes) -> Vectors:
        """The vector of an encoded picture, float32 [dimension]. Raises `InvalidImage` and as `text`."""
        if embedder.name == self._configured.name:
            return await self._images.ask(image)
        vectors = await self._by_old(embedder, lambda engine: engine.embed_images([open_picture(image)]))
        vector: Vectors = vectors[0]
        return vector

    async def images(self, images: list[bytes]) -> Vectors:
        """The configured embedder's vectors of several pictures, float32 [pictures, dimension]."""
        if not images:
            return np.empty((0, 0), np.float32)
        vectors: Vectors = await self._handle.embed_images.remote(images)
        return vectors

    async def _embed(self, images: list[bytes], _: HaveLeft) -> list[Vectors]:
        # in a context of its own: when a caller leaves, Serve cancels what was called in the context of its request
        call = asyncio.get_running_loop().create_task(self.images(images), context=Context())
        return list(await call)

    async def forget_old(self) -> None:
        """Unload the one that served before."""
        old, self._old, self.old_failure = self._old, None, None
        if old is not None:
            await asyncio.get_running_loop().run_in_executor(self._old_thread, old.unload)

    def close(self) -> None:
        """End; nothing is asked any more."""
        self._old_thread.shutdown(wait=False, cancel_futures=True)

    async def _by_old(self, embedder: Embedder, work: Work) -> Vectors:
        def loaded_and_done() -> Vectors:
            if self._old is None or self._old_name != embedder.name:
                try:
                    self._old, self._old_name = _load(embedder), embedder.name
                except EmbedderChanged as error:
                    self.old_failure = str(error)
                    raise
                self.old_failure = None
            return np.asarray(work(self._old), np.float32)

        return await asyncio.get_running_loop().run_in_executor(self._old_thread, loaded_and_done)


def embedder_of(entry: ModelEntry) -> Embedder:
    """The embedder that an entry of the catalogue makes: other weights make other vectors, whatever the alias."""
    pretrained = entry.options.get("pretrained")
    name = f"{fingerprint(entry)}@{entry.revision}" + (f"+{pretrained}" if pretrained else "")
    return Embedder(name, entry.model_dump_json())


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
    logger.info("%s serves searches until the pictures are embedded anew", embedder.name)
    return engine
