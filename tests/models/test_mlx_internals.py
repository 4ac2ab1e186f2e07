"""The insides of mlx-vlm and mlx-audio that are relied upon are still there, and still mean the same."""

from __future__ import annotations

import inspect

import mlx.core as mx
from mlx_audio.tts.models.qwen3_tts.qwen3_tts import Model as Qwen3Tts
from mlx_vlm.models.flux2.latent import patchify_latents
from mlx_vlm.models.flux2.vae import Flux2VAE

from models import mlx_internals as internals


def test_latents_that_are_packed_into_channels_are_unpacked_as_they_were() -> None:
    latents = mx.arange(1 * 3 * 4 * 6).reshape(1, 3, 4, 6)
    assert mx.array_equal(internals.unpack_from_channels(Flux2VAE, patchify_latents(latents)), latents)


def test_qwen3_tts_looks_for_a_speakers_codes_and_embedding_where_they_are_put() -> None:
    source = inspect.getsource(Qwen3Tts)
    assert "self._icl_cache.get(" in source or "in self._icl_cache" in source
    assert "self.extract_speaker_embedding(" in source
