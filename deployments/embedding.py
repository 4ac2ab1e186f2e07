"""Embeddings: words and pictures in one space, whose callers share the model's forwards."""

from __future__ import annotations

from collections.abc import Mapping, Sequence, Sized
from dataclasses import dataclass

import numpy as np

from deployments.batches import Batcher, HaveLeft
from deployments.replica import ModelReplica
from models.embedding.engine import EmbeddingEngine
from models.entry import ModelEntry
from models.errors import InvalidInput
from models.pictures import open_picture


@dataclass(frozen=True)
class EmbeddingResult:
    """`vectors` of unit length, float32 [inputs, dimension], and how many tokens the texts among the inputs have."""

    vectors: np.ndarray
    tokens: int


@dataclass(frozen=True)
class _Texts:
    """A caller's texts; with `names`, none of them may be cut off, and errors say which one would be."""

    texts: Sequence[str]
    names: Sequence[str] = ()

    def __len__(self) -> int:
        return len(self.texts)


class Embedding(ModelReplica[EmbeddingEngine]):
    """Embeds texts and pictures; each with those of other callers, up to the engine's `max_batch` at once."""

    def __init__(self, alias: str, entry: ModelEntry, capacity: int = 0) -> None:
        super().__init__(alias, entry, capacity)
        self._text_batches = Batcher(self._embed_texts, self._fit)
        self._image_batches = Batcher(self._embed_images, self._fit)

    async def embed_texts(self, texts: list[str]) -> np.ndarray:
        """Unit vectors, float32 [len(texts), dimension]; of a long text, as much as the model reads."""
        with self.presence.in_use():
            return (await self._text_batches.ask(_Texts(texts))).vectors

    async def embed_images(self, *images: bytes) -> np.ndarray:
        """Unit vectors of encoded pictures, float32 [len(images), dimension].

        Raises:
            InvalidImage: one of them is not a picture that we read.
        """
        with self.presence.in_use():
            return await self._image_batches.ask({f"image[{i}]": image for i, image in enumerate(images)})

    async def embed(self, inputs: Mapping[str, str | bytes], dimension: int | None = None) -> EmbeddingResult:
        """The vectors of whole texts and of encoded pictures, in order, by the names that errors use for them.

        Raises:
            InvalidInput: a text is longer than the model reads (by its name), or the vectors have another
                `dimension`.
            InvalidImage: one of the pictures is not one that we read.
        """
        with self.presence.in_use():
            if dimension is not None:
                await self.run(lambda _: self._require(dimension))
            return await self._embed(inputs)

    async def _embed(self, inputs: Mapping[str, str | bytes]) -> EmbeddingResult:
        texts = {name: each for name, each in inputs.items() if isinstance(each, str)}
        images = {name: each for name, each in inputs.items() if isinstance(each, bytes)}
        vectors: dict[str, np.ndarray] = {}
        tokens = 0
        if texts:
            read = await self._text_batches.ask(_Texts(list(texts.values()), list(texts)))
            vectors |= zip(texts, read.vectors, strict=True)
            tokens = read.tokens
        if images:
            vectors |= zip(images, await self._image_batches.ask(images), strict=True)
        return EmbeddingResult(np.stack([vectors[name] for name in inputs]), tokens)

    def _require(self, dimension: int) -> None:
        if dimension != self.engine.dimension:
            raise InvalidInput(
                f"dimensions: {dimension} is not what this model makes, and its vectors cannot be shortened; "
                f"allowed: {self.engine.dimension}",
                "dimensions",
            )

    def _fit(self, taken: Sequence[Sized], more: Sized) -> bool:
        return sum(map(len, taken)) + len(more) <= self.engine.max_batch

    async def _embed_texts(self, batch: list[_Texts], have_left: HaveLeft) -> list[EmbeddingResult]:
        def work() -> list[EmbeddingResult]:
            tokens = [self._count(each) for each in batch]
            vectors = self.engine.embed_texts([text for each in batch for text in each.texts], have_left)
            return [EmbeddingResult(*own) for own in zip(_shares(vectors, batch), tokens, strict=True)]

        return await self.run(lambda _: work())

    def _count(self, asked: _Texts) -> int:
        """The tokens of the texts that may not be cut off. Raises InvalidInput for the first that would be."""
        longest, tokens = self.engine.context_length, 0
        for name, text in zip(asked.names, asked.texts, strict=False):
            count = self.engine.count_tokens(text)
            if count > longest:
                message = f"{name}: the text has {count} tokens; this model reads at most {longest}"
                raise InvalidInput(message, name, "context_length_exceeded")
            tokens += count
        return tokens

    async def _embed_images(self, batch: list[Mapping[str, bytes]], have_left: HaveLeft) -> list[np.ndarray]:
        def work() -> list[np.ndarray]:
            pictures = (open_picture(image, name) for images in batch for name, image in images.items())
            return _shares(self.engine.embed_images(pictures, have_left), batch)

        return await self.run(lambda _: work())


def _shares(vectors: np.ndarray, batch: Sequence[Sized]) -> list[np.ndarray]:
    """Each caller's vectors."""
    return np.split(vectors, np.cumsum([len(each) for each in batch])[:-1])
