"""What every engine for vectors does."""

from __future__ import annotations

from abc import abstractmethod
from collections.abc import Callable, Iterable, Sequence
from typing import TYPE_CHECKING, ClassVar

import numpy as np

from models.engine import Engine

if TYPE_CHECKING:
    from PIL import Image


class EmbeddingEngine(Engine):
    """Puts words, and pictures too where it takes them, in one space."""

    takes_pictures: ClassVar[bool] = True
    """Whether it embeds pictures: without, image search cannot use it."""

    @property
    @abstractmethod
    def max_batch(self) -> int:
        """How many inputs go through the model at once."""

    @property
    @abstractmethod
    def dimension(self) -> int:
        """How many numbers a vector has; known once loaded."""

    @property
    @abstractmethod
    def context_length(self) -> int:
        """How many tokens of a text are read; known once loaded."""

    @abstractmethod
    def count_tokens(self, text: str) -> int:
        """How many tokens a text has, with those that mark its ends; none is cut off, and padding is not counted."""

    @abstractmethod
    def embed_texts(self, texts: Sequence[str], is_cancelled: Callable[[], bool] = lambda: False) -> np.ndarray:
        """Unit vectors, float32 [len(texts), dimension]; text beyond the model's context is cut off.

        Raises:
            Cancelled: `is_cancelled()` was true between two batches.
        """

    @abstractmethod
    def embed_images(
        self, images: Iterable[Image.Image], is_cancelled: Callable[[], bool] = lambda: False
    ) -> np.ndarray:
        """Unit vectors, float32 [number of images, dimension]; the pictures are taken, and let go of, one by one.

        Raises:
            Cancelled: `is_cancelled()` was true between two batches.
        """
