"""What a job gives a picture model to start from: the sizes, the pictures, the mask, the strength and the steps."""

from __future__ import annotations

import math
from typing import TYPE_CHECKING

from models.pictures import open_picture, repainted

if TYPE_CHECKING:
    from PIL import Image

    from models.image.pipeline_tasks import PipelineTask
    from models.tasks import ImageJob

MAX_DRAWN_PIXELS = 4_194_304
"""Pixels. An answer is larger only where a mask keeps most of a larger original."""
MIN_STRENGTH = 0.001
"""Schedulers know 1000 noise levels; the first is no change that could be seen."""


def drawn_size(width: int, height: int, native_pixels: int | None) -> tuple[int, int]:
    """The size at which a picture is drawn, in multiples of 16 pixels.

    It is the one asked for, up to 4 million pixels, or one of its shape with about `native_pixels`.
    """
    if native_pixels is None:
        scale = min(1.0, (MAX_DRAWN_PIXELS / (width * height)) ** 0.5)
        return max(16, round(width * scale / 16) * 16), max(16, round(height * scale / 16) * 16)
    scale = (native_pixels / (width * height)) ** 0.5
    return max(16, round(width * scale / 16) * 16), max(16, round(height * scale / 16) * 16)


class Sources:
    """The pictures that a job starts from, RGB, in the sizes that the model and the answer need.

    `drawn` is the size at which the model draws, width and height in pixels. `strength` (0-1) is how much of the first
    picture is changed, and `steps` how many denoising steps a whole picture has, of which it leaves at least one.
    """

    def __init__(self, job: ImageJob, drawn: tuple[int, int], task: PipelineTask, default_strength: float) -> None:
        """Raises InvalidImage where a picture or the mask cannot be read, named by its field."""
        self.drawn = drawn
        self._size = (job.width, job.height)
        names = ["image"] if len(job.images) == 1 else [f"image[{i}]" for i in range(len(job.images))]
        self._pictures = [open_picture(data, name) for data, name in zip(job.images, names, strict=True)]
        self._mask = None if job.mask is None else repainted(job.mask)
        self.strength, self.steps = 1.0, job.steps
        if task in ("img2img", "inpaint"):
            whole = default_strength if task == "img2img" else 1.0
            self.strength = whole if job.strength is None else job.strength
        if 0 < self.strength < 1:
            self.strength = max(self.strength, MIN_STRENGTH)
            # a pipeline does strength x steps of them, rounded down, and fails on none
            self.steps = max(job.steps, math.ceil(1 / self.strength))
            self.steps += int(self.steps * self.strength) < 1  # 49 * (1 / 49) is less than 1

    @property
    def original(self) -> Image.Image:
        """The first picture, filling the size of the answer."""
        return _filling(self._pictures[0], self._size)

    @property
    def picture(self) -> Image.Image:
        """The first picture, filling the size that is drawn."""
        return _filling(self._pictures[0], self.drawn)

    @property
    def references(self) -> list[Image.Image]:
        """All pictures, each in its own shape with about as many pixels as will be drawn."""
        return [_shaped(picture, self.drawn) for picture in self._pictures]

    @property
    def mask(self) -> Image.Image:
        """What is repainted, in the size that is drawn: mode L, 255 there; everywhere where the job has no mask."""
        from PIL import Image

        return Image.new("L", self.drawn, 255) if self._mask is None else _filling(self._mask, self.drawn)

    def finished(self, picture: Image.Image) -> Image.Image:
        """The answer: of the size asked for, and equal to the original wherever the mask does not repaint."""
        from PIL import Image

        if picture.size != self._size:
            picture = picture.resize(self._size, Image.Resampling.LANCZOS)
        if self._mask is None:
            return picture
        return Image.composite(picture, self.original, _filling(self._mask, self._size))


def _filling(picture: Image.Image, size: tuple[int, int]) -> Image.Image:
    """The picture in this size, its longer side cut where the shapes differ; masks stay black and white."""
    from PIL import Image, ImageOps

    if picture.size == size:
        return picture
    smooth = Image.Resampling.NEAREST if picture.mode == "L" else Image.Resampling.LANCZOS
    fitted: Image.Image = ImageOps.fit(picture, size, smooth)
    return fitted


def _shaped(picture: Image.Image, drawn: tuple[int, int]) -> Image.Image:
    """The picture in its own shape with about as many pixels as will be drawn."""
    from PIL import Image

    size = drawn_size(*picture.size, drawn[0] * drawn[1])
    return picture if picture.size == size else picture.resize(size, Image.Resampling.LANCZOS)
