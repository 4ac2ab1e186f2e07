"""What is drawn by both engines, and how far apart it is."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np

from models.entry import ModelEntry
from models.image.engine import Step
from models.image.engines.diffusion import DiffusionEngine
from models.image.engines.diffusion_mlx import MlxDiffusionEngine
from models.pictures import encode
from models.tasks import ImageJob
from tests.models.image.edits.jobs import mask_of, picture_of

JOB = ImageJob("a red circle", width=64, height=64, steps=2, guidance=3.0, seed=7)


PICTURE = encode(picture_of(1))


WIDE = encode(picture_of(2, 144, 64))


MASK = encode(mask_of())


TASKS: dict[str, dict[str, Any]] = {
    "text2img": {},
    "edit": {"images": (PICTURE,)},
    "several": {"images": (PICTURE, WIDE), "width": 112, "height": 80},
    "img2img": {"images": (PICTURE,), "strength": 0.6, "steps": 5},
    "variation": {"images": (PICTURE,), "is_variation": True, "steps": 4},
    "inpaint": {"images": (PICTURE,), "mask": MASK},
    "inpaint by strength": {"images": (PICTURE,), "mask": MASK, "strength": 0.7, "steps": 4},
}


Changed = Callable[..., ModelEntry]


def on_step(_step: Step) -> None:
    """Do nothing."""


def drawn(engine: DiffusionEngine | MlxDiffusionEngine, job: ImageJob) -> np.ndarray:
    """The only picture of the job, as levels of grey."""
    (picture,) = engine.generate(job, on_step)
    return np.asarray(picture, int)


def difference(one: np.ndarray, other: np.ndarray) -> float:
    """Mean difference in levels of grey."""
    return float(np.abs(one - other).mean())


def made(engine: MlxDiffusionEngine, job: ImageJob) -> list[bytes]:
    return [picture.tobytes() for picture in engine.generate(job, on_step)]
