"""Embeddings: words and pictures in one space, whose callers share the model's forwards."""

from __future__ import annotations

from collections.abc import Mapping, Sequence, Sized
from dataclasses import dataclass, replace

import numpy as np

from deployments.batches import Batcher, HaveLeft
from deployments.replica import ModelReplica
from models.embedding.engine import EmbeddingEngine
from models.embedding.windows import windows
from models.entry import ModelEntry
from models.errors import InvalidInput
from models.pictures import open_picture

MAX_TOKENS = 8191
"""Of one text, as OpenAI counts; longer than a model reads at once, it is embedded in windows."""
MAX_TOKENS_TOGETHER = 300_000
"""Of all texts of a request, as with OpenAI: for an hour of windows nobody would wait."""


@dataclass(frozen=True)
class EmbeddingResult:
    """`vectors` of unit length, float32 [inputs, dimension], and how many tokens the texts among the inputs have.

    `in_windows` says whether a text was longer than the model reads at once.
    """

    vectors: np.ndarray
    tokens: int
    in_windows: bool = False


@dataclass(frozen=True)
class _Texts:
    """A caller's texts; with `names`, none of them is cut off, and errors say which one is too long."""

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

        Of a text longer than the model reads it is the mean of overlapping windows, by their tokens. A `dimension`
        below the model's own: so many of the first numbers, of unit length again.

        Raises:
            InvalidInput: a text has more than `MAX_TOKENS` (by its name), the model has no eyes, or makes vectors of
                fewer than `dimension` numbers.
            InvalidImage: one of the pictures is not one that we read.
        """
        with self.presence.in_use():
            if dimension is not None:
                await self.run(lambda _: self._require(dimension))
            found = await self._embed(inputs)
            return found if dimension is None else replace(found, vectors=_unit(found.vectors[:, :dimension]))

    async def _embed(self, inputs: Mapping[str, str | bytes]) -> EmbeddingResult:
        texts = {name: each for name, each in inputs.items() if isinstance(each, str)}
        images = {name: each for name, each in inputs.items() if isinstance(each, bytes)}
        for name in images:
            if not self.engine.takes_pictures:
                raise InvalidInput(f"{name}: this model embeds texts only", name)
        vectors: dict[str, np.ndarray] = {}
        tokens, in_windows = 0, False
        if texts:
            read = await self._text_batches.ask(_Texts(list(texts.values()), list(texts)))
            vectors |= zip(texts, read.vectors, strict=True)
            tokens, in_windows = read.tokens, read.in_windows
        if images:
            vectors |= zip(images, await self._image_batches.ask(images), strict=True)
        return EmbeddingResult(np.stack([vectors[name] for name in inputs]), tokens, in_windows)

    def _require(self, dimension: int) -> None:
        if dimension > self.engine.dimension:
            raise InvalidInput(
                f"dimensions: {dimension} is more than this model makes; allowed: 1 to {self.engine.dimension}",
                "dimensions",
            )

    def _fit(self, taken: Sequence[Sized], more: Sized) -> bool:
        return sum(map(len, taken)) + len(more) <= self.engine.max_batch

    async def _embed_texts(self, batch: list[_Texts], have_left: HaveLeft) -> list[EmbeddingResult]:
        def work() -> list[EmbeddingResult]:
            counts = [self._count(each) for each in batch]
            parts = [self._parts(text) if own.names else [text] for own in batch for text in own.texts]
            read = self.engine.embed_texts([part for each in parts for part in each], have_left)
            vectors = np.stack([self._mean(*each) for each in zip(_shares(read, parts), parts, strict=True)])
            return [
                EmbeddingResult(own, sum(tokens), any(count > self.engine.context_length for count in tokens))
                for own, tokens in zip(_shares(vectors, batch), counts, strict=True)
            ]

        return await self.run(lambda _: work())

    def _count(self, asked: _Texts) -> list[int]:
        """The tokens of the texts that may not be cut off. Raises InvalidInput for the first that has too many."""
        counts = []
        for name, text in zip(asked.names, asked.texts, strict=False):
            counts.append(self.engine.count_tokens(text))
            if counts[-1] > max(MAX_TOKENS, self.engine.context_length):
                message = f"{name}: the text has {counts[-1]} tokens; at most {MAX_TOKENS} are embedded"
                raise InvalidInput(message, name, "context_length_exceeded")
            if sum(counts) > MAX_TOKENS_TOGETHER:
                message = f"input: more than {MAX_TOKENS_TOGETHER} tokens in all; send the texts in several requests"
                raise InvalidInput(message, "input", "context_length_exceeded")
        return counts

    def _parts(self, text: str) -> list[str]:
        return windows(text, self.engine.count_tokens, self.engine.context_length)

    def _mean(self, vectors: np.ndarray, parts: Sequence[str]) -> np.ndarray:
        """One unit vector of a text's windows, the longer ones with more weight."""
        if len(parts) == 1:
            one: np.ndarray = vectors[0]
            return one
        return _unit(np.average(vectors, axis=0, weights=[self.engine.count_tokens(part) for part in parts]))

    async def _embed_images(self, batch: list[Mapping[str, bytes]], have_left: HaveLeft) -> list[np.ndarray]:
        def work() -> list[np.ndarray]:
            pictures = (open_picture(image, name) for images in batch for name, image in images.items())
            return _shares(self.engine.embed_images(pictures, have_left), batch)

        return await self.run(lambda _: work())


def _unit(vectors: np.ndarray) -> np.ndarray:
    lengths = np.linalg.norm(vectors, axis=-1, keepdims=True)
    unit: np.ndarray = (vectors / np.maximum(lengths, np.finfo(np.float32).tiny)).astype(np.float32)
    return unit


def _shares(vectors: np.ndarray, batch: Sequence[Sized]) -> list[np.ndarray]:
    """Each caller's vectors."""
    return np.split(vectors, np.cumsum([len(each) for each in batch])[:-1])
