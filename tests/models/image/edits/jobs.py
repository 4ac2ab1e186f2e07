"""Jobs for every family of models and every way to a picture."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from typing import Any

import numpy as np
import pytest
from PIL import Image

from models.errors import InvalidInput
from models.image.engine import Step
from models.image.engines.diffusion import DiffusionEngine
from models.pictures import encode
from models.tasks import ImageJob

JOB = ImageJob("a red circle", width=64, height=64, steps=2, guidance=2.0, seed=7)


SHORT: dict[str, Any] = {"call": {"max_sequence_length": 48}}


def short(name: str) -> dict[str, Any]:
    """Options for short prompts, where the family has such a thing."""
    return {} if name == "sdxl" or name.startswith("qwen") else SHORT  # Qwen's count their template too


FAMILIES: dict[str, set[str]] = {
    "flux": {"text2img", "img2img", "inpaint"},
    "kontext": {"text2img", "edit", "img2img", "inpaint"},
    "flux2_klein": {"text2img", "edit", "img2img", "inpaint", "several"},
    "z_image": {"text2img", "img2img", "inpaint"},
    "qwen_image": {"text2img", "img2img", "inpaint"},
    "qwen_image_edit": {"edit", "img2img", "inpaint"},
    "qwen_image_edit_plus": {"edit", "several"},
    "sdxl": {"text2img", "img2img", "inpaint"},
}


SLOW = {"qwen_image_edit", "qwen_image_edit_plus"}
"""Work at a megapixel whatever is asked for: they are asked less."""


EVERY_FAMILY = pytest.mark.parametrize(
    "name", [pytest.param(name, marks=pytest.mark.nightly) if name in SLOW else name for name in FAMILIES]
)


def those(task: str, *, slow: bool = True) -> pytest.MarkDecorator:
    """The families that can do something."""
    able = [name for name, tasks in FAMILIES.items() if task in tasks and (slow or name not in SLOW)]
    return pytest.mark.parametrize("name", able)


def picture_of(seed: int, width: int = 64, height: int = 64) -> Image.Image:
    """Soft blotches of colour."""
    noise = np.random.default_rng(seed).integers(0, 256, (4, 4, 3), dtype=np.uint8)
    return Image.fromarray(noise).resize((width, height), Image.Resampling.BICUBIC)


PICTURE = encode(picture_of(1))


OTHER = encode(picture_of(2))


def mask_of(width: int = 64, height: int = 64) -> Image.Image:
    """The middle is to be repainted; half-transparent pixels beside it are not."""
    mask = Image.new("RGBA", (width, height), (0, 0, 0, 255))
    mask.paste((0, 0, 0, 1), (0, 0, width, height // 4))
    mask.paste((255, 255, 255, 0), (width // 4, height // 4, width // 2, height // 2))
    return mask


def job_of(task: str) -> ImageJob:
    """The plain job, done in one task."""
    changed: dict[str, dict[str, Any]] = {
        "text2img": {},
        "edit": {"images": (PICTURE,)},
        "img2img": {"images": (PICTURE,), "strength": 0.6},
        "inpaint": {"images": (PICTURE,), "mask": encode(mask_of())},
        "several": {"images": (PICTURE, OTHER)},
    }
    return replace(JOB, **changed[task])


def on_step(_step: Step) -> None:
    """Do nothing."""


def made(engine: DiffusionEngine, job: ImageJob) -> list[bytes]:
    return [picture.tobytes() for picture in engine.generate(job, on_step)]


def difference(one: Image.Image, other: Image.Image) -> float:
    """Mean difference in levels of grey."""
    return float(np.abs(np.asarray(one, float) - np.asarray(other, float)).mean())


def refused(engine: DiffusionEngine, job: ImageJob) -> str | None:
    """The field for which the job is refused."""
    with pytest.raises(InvalidInput) as caught:
        engine.generate(job, on_step)
    return caught.value.param


Engines = Callable[[str], DiffusionEngine]
