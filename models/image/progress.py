"""The steps of a job as its pictures are made, with previews."""

from __future__ import annotations

import logging
from collections.abc import Callable
from typing import TYPE_CHECKING, Any

from models import devices
from models.image.engine import Step, StepCallback
from models.image.previews import Previewer

if TYPE_CHECKING:
    from PIL import Image

logger = logging.getLogger(__name__)


class BatchProgress:
    """The step callback of a diffusers pipeline: reports the steps of all pictures of a job as one work.

    `made` pictures of the job's `pictures` are finished, and `batch` are made now. What `on_step` raises passes.
    """

    def __init__(self, on_step: StepCallback, previewer: Previewer, made: int, batch: int, pictures: int) -> None:
        self._on_step, self._previewer = on_step, previewer
        self._made, self._batch, self._pictures = made, batch, pictures

    def __call__(self, pipeline: Any, step: int, timestep: Any, tensors: dict[str, Any]) -> dict[str, Any]:  # noqa: ARG002
        """After each step, as diffusers calls it."""
        steps = pipeline.num_timesteps
        self._previewer.saw(tensors["latents"])
        done = self._made * steps + (step + 1) * self._batch
        self._on_step(Step(done, steps * self._pictures, (step + 1) / steps, self._peek))
        return tensors

    def _peek(self) -> list[tuple[int, Image.Image]]:
        return previews(lambda: list(enumerate(self._previewer.pictures(), start=self._made)))


def previews(make: Callable[[], list[tuple[int, Image.Image]]]) -> list[tuple[int, Image.Image]]:
    """What `make` gives, or none where it fails, which is logged: a preview is not worth the picture."""
    try:
        return make()
    except Exception:  # out of memory, say
        logger.warning("a preview could not be made", exc_info=True)
        devices.free_device_cache()
        return []
