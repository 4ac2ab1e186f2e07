"""What every engine for captions does."""

from __future__ import annotations

from abc import abstractmethod
from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING

from models.engine import Engine

if TYPE_CHECKING:
    from PIL import Image


class CaptionEngine(Engine):
    """Captions pictures, continuing a prefix where one is given."""

    @property
    @abstractmethod
    def max_batch(self) -> int:
        """How many pictures go through the model at once."""

    @abstractmethod
    def caption(
        self,
        images: Sequence[Image.Image],
        prefix: str | None = None,
        is_cancelled: Callable[[], bool] = lambda: False,
    ) -> list[str]:
        """One caption per RGB picture, in order. Raises `Cancelled` soon after `is_cancelled()` is true."""
