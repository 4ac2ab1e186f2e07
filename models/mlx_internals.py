"""What is used of the insides of mlx-vlm and mlx-audio, which no document promises.

Everything of that kind stands here, so that another version is checked in one place
(tests/models/test_mlx_internals.py, docs/upgrading.md). mlx-vlm's networks of FLUX.2, which have no documents at all,
are used in models/image/flux2_mlx.py only, and compared with those of diffusers in
tests/models/image/test_diffusion_mlx.py.
"""

from __future__ import annotations

from typing import Any


def unpack_from_channels(vae: Any, latents: Any) -> Any:
    """FLUX.2's latents [n, 4 * channels, height / 2, width / 2] as [n, channels, height, width]."""
    return vae._unpatchify_latents(latents)


def use_speaker(model: Any, codes: dict[Any, Any], embedding: Any) -> None:
    """Let a Qwen3-TTS of mlx-audio speak as a speaker whose embedding is there; `codes` are filled when it first does.

    By itself it would keep the codes of every recording for good, and embed it again for each sentence.
    """
    model._icl_cache = codes
    model.extract_speaker_embedding = lambda *_: embedding
