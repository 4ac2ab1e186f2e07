"""What every engine for vectors does."""

from __future__ import annotations

from abc import abstractmethod
from collections.abc import Callable, Iterable, Sequence
from itertools import islice
from typing import TYPE_CHECKING, Any, ClassVar, TypeVar

import numpy as np
from pydantic import Field

from models import devices
from models.engine import Engine, Options
from models.errors import Cancelled

if TYPE_CHECKING:
    from PIL import Image

T = TypeVar("T")


class EmbeddingOptions(Options):
    """What the catalogue entry of any engine for vectors can say."""

    max_batch: int = Field(default=32, ge=1, description="inputs that go through the model at once")


class EmbeddingEngine(Engine):
    """Puts words, and pictures too where it takes them, in one space.

    `_load` sets `_dimension` and `_context_length`. A hook embeds one batch, as unit vectors, float32
    [size of the batch, dimension].
    """

    takes_pictures: ClassVar[bool] = True
    """Whether it embeds pictures: without, image search cannot use it."""
    options: EmbeddingOptions
    _dimension: int
    _context_length: int

    @property
    def max_batch(self) -> int:
        """How many inputs go through the model at once, as the entry says."""
        return self.options.max_batch

    @property
    def dimension(self) -> int:
        """How many numbers a vector has; known once loaded."""
        return self._dimension

    @property
    def context_length(self) -> int:
        """How many tokens of a text are read, those that the engine itself adds not among them; known once loaded."""
        return self._context_length

    @abstractmethod
    def count_tokens(self, text: str) -> int:
        """How many tokens a text has, with those that mark its ends; none is cut off, and padding is not counted."""

    def embed_texts(self, texts: Sequence[str], is_cancelled: Callable[[], bool] = lambda: False) -> np.ndarray:
        """Unit vectors, float32 [len(texts), dimension]; text beyond the model's context is cut off.

        Raises:
            Cancelled: `is_cancelled()` was true between two batches.
        """
        return self._in_batches(texts, self._encode_texts, is_cancelled)

    def embed_images(
        self, images: Iterable[Image.Image], is_cancelled: Callable[[], bool] = lambda: False
    ) -> np.ndarray:
        """Unit vectors, float32 [number of images, dimension]; the pictures are taken, and let go of, one by one.

        Raises:
            Cancelled: `is_cancelled()` was true between two batches.
        """
        return self._in_batches((self._seen(image) for image in images), self._encode_images, is_cancelled)

    @abstractmethod
    def _encode_texts(self, batch: list[str]) -> np.ndarray:
        """Embed some texts."""

    def _seen(self, image: Image.Image) -> Any:
        """What the model is given of a picture."""
        raise NotImplementedError(f"{type(self).__name__} embeds no pictures")

    def _encode_images(self, batch: list[Any]) -> np.ndarray:
        """Embed some of what `_seen` returns."""
        raise NotImplementedError(f"{type(self).__name__} embeds no pictures")

    def _in_batches(
        self, inputs: Iterable[T], encode: Callable[[list[T]], np.ndarray], is_cancelled: Callable[[], bool]
    ) -> np.ndarray:
        vectors = [np.empty((0, self._dimension), np.float32)]
        left = iter(inputs)
        with devices.inference():
            while not is_cancelled():
                batch = list(islice(left, self.max_batch))
                if not batch:
                    return np.concatenate(vectors)
                vectors.append(encode(batch))
        raise Cancelled
