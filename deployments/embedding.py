"""Embeddings: words and pictures in one space."""

from __future__ import annotations

import numpy as np

from deployments.replica import ModelReplica
from models.engine import EmbeddingEngine
from models.pictures import open_picture


class Embedding(ModelReplica[EmbeddingEngine]):
    """Embeds texts and pictures."""

    async def embed_texts(self, texts: list[str]) -> np.ndarray:
        """Unit vectors, float32 [len(texts), dimension]."""
        return await self.run(lambda _: self.engine.embed_texts(texts))

    async def embed_images(self, images: list[bytes]) -> np.ndarray:
        """Unit vectors of encoded pictures, float32 [len(images), dimension]."""
        return await self.run(lambda _: self.engine.embed_images([open_picture(image) for image in images]))
