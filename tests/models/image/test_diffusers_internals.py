"""The insides of diffusers and accelerate that are relied upon are still there, and still mean the same."""

from __future__ import annotations

from pathlib import Path
from types import SimpleNamespace
from typing import Any

import diffusers
import pytest
import torch
from accelerate.hooks import ModelHook, add_hook_to_module
from PIL import Image

import models
from models.image import diffusers_internals as internals


def without_weights(cls: type) -> object:
    """A pipeline that has nothing but its class."""
    return object.__new__(cls)


def test_auto_pipeline_knows_the_siblings_of_a_class_that_we_do_not_name() -> None:
    assert internals.auto_class("img2img", "KolorsPipeline") is diffusers.KolorsImg2ImgPipeline
    with pytest.raises(ValueError, match="can't find"):
        internals.auto_class("text2img", "FluxPriorReduxPipeline")


def test_pipelines_that_separate_their_passes_are_distinguished_from_those_that_do_not() -> None:
    assert internals.separates_passes(without_weights(diffusers.QwenImagePipeline))
    assert internals.separates_passes(without_weights(diffusers.FluxPipeline))
    assert not internals.separates_passes(without_weights(diffusers.FluxImg2ImgPipeline))


def test_transformers_say_which_of_their_blocks_repeat() -> None:
    assert internals.has_repeated_blocks(without_weights(diffusers.FluxTransformer2DModel))
    assert not internals.has_repeated_blocks(torch.nn.Linear(1, 1))


def test_a_pipeline_says_where_it_computes() -> None:
    scheduler = diffusers.FlowMatchEulerDiscreteScheduler()
    pipeline = diffusers.FluxPipeline(scheduler, *[None] * 6)
    assert internals.computing_device(pipeline) == torch.device("cpu")


def test_an_offloaded_module_has_a_hook() -> None:
    module = torch.nn.Linear(1, 1)
    assert not internals.is_offloaded(module)
    add_hook_to_module(module, ModelHook())
    assert internals.is_offloaded(module)


def test_latents_that_are_packed_into_channels_are_unpacked_as_they_were() -> None:
    pipeline = without_weights(diffusers.Flux2KleinPipeline)
    latents = torch.arange(2 * 3 * 4 * 6).float().reshape(2, 3, 4, 6)
    packed = internals.pack_into_channels(pipeline, latents)
    assert packed.shape == (2, 12, 2, 3)
    assert internals.unpack_from_channels(pipeline, packed).equal(latents)
    assert internals.packs_into_channels(pipeline)
    assert not internals.packs_into_channels(without_weights(diffusers.FluxPipeline))


def test_tokens_are_latents_again_in_their_places() -> None:
    latents = torch.arange(1 * 3 * 4 * 6).float().reshape(1, 3, 4, 6)
    tokens = diffusers.FluxPipeline._pack_latents(latents, 1, 3, 4, 6)
    pipeline = SimpleNamespace(_unpack_latents=diffusers.FluxPipeline._unpack_latents, vae_scale_factor=8)
    assert internals.unpack_tokens(pipeline, tokens, 32, 48).equal(latents)
    assert internals.unpack_tokens(without_weights(diffusers.StableDiffusionXLPipeline), tokens, 32, 48) is None


@pytest.mark.parametrize("kind", ["", "Img2Img", "Inpaint", "Kontext", "KontextInpaint"])
def test_a_run_of_flux_has_its_positions_to_itself_and_asks_for_its_prompt_first(kind: str) -> None:
    """What the built-in model's transformer tells runs and their two prompts apart by."""
    folder = Path(models.__file__).parent / "builtin" / "image"
    pipeline: Any = getattr(diffusers, f"Flux{kind}Pipeline").from_pretrained(folder)
    pipeline.set_progress_bar_config(disable=True)
    picture = Image.new("RGB", (64, 64), "teal")
    given: dict[str, Any] = {"image": picture, "strength": 1.0} if kind else {}
    if "Inpaint" in kind:
        given["mask_image"] = picture
    if "Kontext" in kind:
        given |= {"max_area": 64 * 64, "_auto_resize": False}
    if kind == "Kontext":
        del given["strength"]
    asked: list[tuple[Any, Any, torch.Tensor]] = []
    forward = pipeline.transformer.forward

    def recorded(**named: Any) -> Any:
        asked.append((named["img_ids"], named["hidden_states"], named["encoder_hidden_states"]))
        return forward(**named)

    pipeline.transformer.forward = recorded
    for _ in range(2):
        pipeline(
            prompt="a cat", negative_prompt="a dog", true_cfg_scale=2.0, num_inference_steps=2,
            height=64, width=64, max_sequence_length=40, output_type="latent", **given,
        )  # fmt: skip
    first, second = asked[:4], asked[4:]
    assert len(second) == 4
    assert all(each[0] is first[0][0] for each in first)
    assert second[0][0] is not first[0][0]
    for step in (0, 2):
        assert first[step][1] is first[step + 1][1], "the same noisy pictures"
        assert torch.equal(first[step][2], first[0][2])
        assert not torch.equal(first[step + 1][2], first[0][2])
