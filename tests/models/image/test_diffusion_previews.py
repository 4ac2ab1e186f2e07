"""Previews by a matrix, and weights that wait in main memory: what is left on the device, and when.

There is no GPU here: accelerate's hooks are the real ones, but they move the weights from the CPU to the CPU.
"""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import numpy as np
import pytest
import torch
from PIL import Image

from models.errors import Cancelled, OutOfMemory
from models.image.engine import Step
from models.image.engines.diffusion import DiffusionEngine
from models.image.previews import LatentColours, _decoded
from models.pictures import encode
from models.tasks import ImageJob
from tests.models.conftest import Shelf, entry_of, loaded, with_options

JOB = ImageJob("a red circle", width=64, height=64, steps=4, guidance=2.0, seed=7)
FAMILIES = ["flux", "flux2_klein", "z_image", "qwen_image", "sdxl"]
BUILT_IN: dict[str, Any] = {"guidance_argument": "true_cfg_scale", "call": {"max_sequence_length": 40}}
BLOTCHES = Image.fromarray(np.random.default_rng(1).integers(0, 256, (4, 4, 3), dtype=np.uint8)).resize(
    (128, 128), Image.Resampling.BICUBIC
)


def on_step(_step: Step) -> None:
    """Do nothing."""


def likeness(one: Any, other: Any) -> float:
    """The correlation of two pictures' colours, each about its mean."""
    flat = [np.asarray(each, float) for each in (one, other)]
    flat = [each - each.mean(axis=(0, 1)) for each in flat]
    return float(np.corrcoef(flat[0].ravel(), flat[1].ravel())[0, 1])


def test_the_matrix_sees_what_the_built_in_autoencoder_sees() -> None:
    pipeline = loaded(entry_of("diffusion", "builtin:image"))._pipeline
    pixels = torch.from_numpy(np.asarray(BLOTCHES, np.float32)).permute(2, 0, 1)[None] / 127.5 - 1
    with torch.inference_mode():
        latents = pipeline.vae.encode(pixels).latent_dist.mode()
        latents = (latents - pipeline.vae.config.shift_factor) * pipeline.vae.config.scaling_factor
        colours = LatentColours(pipeline)(latents)[0].permute(1, 2, 0)
        painted, _ = pipeline.vae.apart(latents)
        without_layer = torch.cat([painted, torch.zeros_like(latents[:, painted.shape[1] :])], 1)
        below = LatentColours(pipeline)(without_layer)[0].permute(1, 2, 0)
    small = BLOTCHES.resize((colours.shape[1], colours.shape[0]), Image.Resampling.BOX)
    assert np.abs(np.asarray(small, float) - (colours.numpy() + 1) * 127.5).max() < 2, "a picture's own layer is itself"
    assert likeness(below, small) > 0.9
    assert 0.6 < float(below.std()) / (np.asarray(small, float).std() / 127.5) < 1.3


@pytest.mark.parametrize("name", FAMILIES)
def test_the_matrix_is_fitted_to_the_autoencoder_of_each_family(name: str, shelf: Shelf) -> None:
    pipeline = loaded(shelf(name))._pipeline
    colours = LatentColours(pipeline)
    latents = colours._smooth()
    with torch.inference_mode():
        decoded = _decoded(pipeline, latents).clamp(-1, 1)
        small = torch.nn.functional.adaptive_avg_pool2d(decoded, latents.shape[-2:])
        mapped = colours(latents)
    spread = small - small.mean(dim=(0, 2, 3), keepdim=True)
    assert (mapped - small).var() < 0.95 * spread.var()  # random weights: there is little that a matrix could tell
    assert (mapped - small).mean().abs() < 0.01


def test_a_large_picture_has_previews_of_one_pixel_for_each_latent(shelf: Shelf) -> None:
    engine = loaded(shelf("flux"))
    seen: list[Image.Image] = []
    engine._colours.fit()
    decodings = counted(engine)
    job = replace(JOB, width=272, height=272, steps=2, guidance=1.0)
    engine.generate(job, lambda step: seen.extend(picture for _, picture in step.peek()))
    assert [(preview.mode, preview.size) for preview in seen] == [("RGB", (136, 136))]
    assert len(decodings) == 1


# Weights in main memory


def counted(engine: DiffusionEngine) -> list[int]:
    """Grows by one whenever the autoencoder decodes."""
    decodings: list[int] = []
    engine._pipeline.vae.decoder.register_forward_hook(lambda *_: decodings.append(1))
    return decodings


def offloaded(engine: DiffusionEngine) -> DiffusionEngine:
    """The engine as `offload: model` leaves it."""
    engine._colours.fit()
    engine._pipeline.enable_model_cpu_offload(device="cpu")
    return engine


@pytest.mark.parametrize("name", FAMILIES)
def test_previews_of_an_offloaded_model_leave_its_autoencoder_where_it_is(name: str, shelf: Shelf) -> None:
    engine = offloaded(loaded(shelf(name)))
    decodings, seen = counted(engine), list[list[int]]()

    def peek(step: Step) -> None:
        seen.append([number for number, _ in step.peek()])
        assert not decodings

    (picture,) = engine.generate(replace(JOB, guidance=1.0), peek)
    assert seen == [[], [0], [0], [0]]
    assert picture.size == (64, 64)
    assert decodings == [1]


def test_previews_of_an_offloaded_model_look_like_its_picture() -> None:
    engine = offloaded(loaded(with_options(entry_of("diffusion", "builtin:image"), **BUILT_IN)))
    seen: list[Image.Image] = []
    job = replace(JOB, width=128, height=128, steps=8)
    (picture,) = engine.generate(job, lambda step: seen.extend(p for _, p in step.peek()))
    assert len(seen) == 7
    assert likeness(seen[-1], picture.resize(seen[-1].size, Image.Resampling.BOX)) > 0.9


@pytest.mark.parametrize("error", [Cancelled(), torch.OutOfMemoryError("CUDA out of memory"), KeyboardInterrupt()])
@pytest.mark.parametrize("strength", [None, 0.9], ids=["its own pipeline", "a sibling"])
def test_what_ends_a_run_leaves_nothing_of_an_offloaded_model_on_the_device(
    error: BaseException, strength: float | None, shelf: Shelf
) -> None:
    engine = offloaded(loaded(shelf("flux")))
    job = JOB if strength is None else replace(JOB, images=(encode(BLOTCHES),), strength=strength)
    whole = engine.generate(job, on_step)
    hooks = engine._pipeline._all_hooks

    def ending(_step: Step) -> None:
        assert engine._pipeline._all_hooks is hooks
        raise error

    with pytest.raises((OutOfMemory, type(error))):
        engine.generate(job, ending)
    assert engine._pipeline._all_hooks is not hooks  # diffusers brings everything back and adds new hooks
    assert engine.generate(job, on_step) == whole


def test_a_sibling_that_has_worked_leaves_nothing_on_the_device_either(shelf: Shelf) -> None:
    engine = offloaded(loaded(shelf("flux")))
    hooks = engine._pipeline._all_hooks
    engine.generate(replace(JOB, images=(encode(BLOTCHES),), strength=0.9), on_step)
    assert engine._pipeline._all_hooks is not hooks
