"""What is used of the insides of diffusers (and of accelerate's hooks), which no document promises.

Everything of that kind stands here, so that another version is checked in one place
(tests/models/image/test_diffusers_internals.py, docs/upgrading.md).
"""

from __future__ import annotations

import inspect
from typing import Any, Literal


def auto_class(task: Literal["text2img", "img2img", "inpaint"], name: str) -> Any:
    """The class that AutoPipeline takes for a task where a checkpoint names the class `name`.

    Raises:
        ValueError: it knows none.
    """
    from diffusers.pipelines import auto_pipeline as auto

    mapping = {
        "text2img": auto.AUTO_TEXT2IMAGE_PIPELINES_MAPPING,
        "img2img": auto.AUTO_IMAGE2IMAGE_PIPELINES_MAPPING,
        "inpaint": auto.AUTO_INPAINT_PIPELINES_MAPPING,
    }[task]
    return auto._get_task_class(mapping, name)


def separates_passes(pipeline: Any) -> bool:
    """Whether a pipeline tells its transformer's caches which of its guided and unguided passes each step is."""
    return "cache_context(" in inspect.getsource(type(pipeline).__call__)


def has_repeated_blocks(denoiser: Any) -> bool:
    """Whether `compile_repeated_blocks` finds anything to compile."""
    return bool(getattr(denoiser, "_repeated_blocks", None))


def computing_device(pipeline: Any) -> Any:
    """The torch device on which a pipeline computes, wherever its weights are."""
    return pipeline._execution_device


def is_offloaded(module: Any) -> bool:
    """Whether accelerate moves a module's weights to the device when it is used."""
    return hasattr(module, "_hf_hook")


def packs_into_channels(pipeline: Any) -> bool:
    """Whether a pipeline's tokens are 2x2 latents side by side in the channels of one, as FLUX.2's are."""
    return hasattr(pipeline, "_unpatchify_latents")


def pack_into_channels(pipeline: Any, latents: Any) -> Any:
    """Latents [n, channels, height, width] as [n, 4 * channels, height / 2, width / 2]."""
    return pipeline._patchify_latents(latents)


def unpack_from_channels(pipeline: Any, latents: Any) -> Any:
    """The reverse of `pack_into_channels`."""
    return pipeline._unpatchify_latents(latents)


def unpack_tokens(pipeline: Any, tokens: Any, height: int, width: int) -> Any:
    """Tokens [n, tokens, 4 * channels] of a picture of this size in pixels as latents; None where they are no such."""
    if not hasattr(pipeline, "_unpack_latents"):
        return None
    return pipeline._unpack_latents(tokens, height, width, pipeline.vae_scale_factor)
