"""What every engine for pictures does."""

from __future__ import annotations

from abc import abstractmethod
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import TYPE_CHECKING

from models.engine import Engine
from models.entry import ModelEntry
from models.tasks import ImageJob

if TYPE_CHECKING:
    from PIL import Image


@dataclass(frozen=True)
class Step:
    """Where a job of pictures is: `done` of `total` denoising steps, counted over all its pictures.

    `share` (0-1) is how much of the pictures in work is done, be it one of the job's or a batch of them. `peek()`
    gives what they look like by now, as (number in the job, picture); empty where the model's latents cannot be read
    midway. It costs a small decoding or less, so it is called only by who wants to see.
    """

    done: int
    total: int
    share: float
    peek: Callable[[], list[tuple[int, Image.Image]]]


StepCallback = Callable[[Step], None]
"""Called after each step; what it raises (`Cancelled`) ends the work."""


class ImageEngine(Engine):
    """Makes and changes pictures."""

    @classmethod
    @abstractmethod
    def refuse(cls, entry: ModelEntry, job: ImageJob) -> None:
        """Refuse what the model plainly cannot do, without loading it; `stream` refuses whatever else it finds.

        Raises:
            InvalidInput: named by the field that asks for it.
        """

    @abstractmethod
    def stream(self, job: ImageJob, on_step: StepCallback) -> Iterator[Image.Image]:
        """The pictures of the job as they are finished, in order; picture i is what `seed + i` alone would give."""

    def generate(self, job: ImageJob, on_step: StepCallback) -> list[Image.Image]:
        """The pictures of the job all at once. Raises as `stream` does."""
        return list(self.stream(job, on_step))
