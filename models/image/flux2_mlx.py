"""FLUX.2 klein on MLX: mlx-vlm's networks and weights, and what of diffusers' pipeline makes the same picture of them.

mlx-vlm's own pipelines know their checkpoints by name, tell nobody of their steps, and differ from diffusers' in what
they read: they cut the padding of prompts short, which the transformer hears, guide away from " " instead of "", and
bring every reference to the size of the picture. So the networks alone are used.

Latents here are [1, 4 x 32 channels, height / 16, width / 16] of a picture's pixels, normalised to about unit size;
tokens are the same as [1, height x width / 256, channels], each with a place (picture, row, column, 0).
"""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from inspect import signature
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final, Literal

import numpy as np

from models.errors import CheckpointError
from models.mlx_internals import unpack_from_channels
from models.mlx_weights import parameter_bytes

if TYPE_CHECKING:
    import mlx.core as mx
    from PIL import Image

_READ_LAYERS: Final = 27
"""The text encoder's last layer whose output is read; those above it are not kept."""
_LATENT_CHANNELS: Final = 32
_GROUP: Final = 64
"""Numbers that are quantised with one scale."""
_TILE: Final = 512
"""Pixels a side, from which on a picture is decoded in tiles of this size where it may be."""
_PREVIEW: Final = 64
"""Latents a side, before their 2x2 patches are packed, to which they are shrunk for a preview of 512 pixels."""
MAX_REFERENCE_PIXELS: Final = 1024 * 1024
"""Pixels. diffusers shows the model no larger reference."""
_OTHER_LEVELS: Final = (
    "shift_terminal", "use_karras_sigmas", "use_exponential_sigmas", "use_beta_sigmas", "invert_sigmas",
    "stochastic_sampling",
)  # fmt: skip
"""Of diffusers' scheduler: with any of them it goes another way."""
_REFERENCES_APART: Final = 10
"""The first coordinate of the places of reference i is this times i + 1."""


@dataclass(frozen=True)
class Tokens:
    """Float [1, count, channels] and int32 [1, count, 4]: what the transformer looks at, and where that is."""

    values: mx.array = field(repr=False)
    places: mx.array = field(repr=False)


class Flux2:
    """A FLUX.2 klein in memory. `dtype` is that of the weights (where they are not quantised) and of all latents."""

    def __init__(self, folder: Path, dtype: mx.Dtype, bits: Literal[4, 8] | None) -> None:
        """Load a folder of diffusers' layout; networks that are not quantised there are, to `bits` bits, if given.

        Raises:
            CheckpointError: weights are missing, or the autoencoder or the noise levels are not the released ones.
        """
        from mlx_vlm.models.flux2 import weights
        from mlx_vlm.models.flux2.config import Flux2Variant
        from mlx_vlm.models.flux2.qwen import Qwen3TextEncoder
        from mlx_vlm.models.flux2.tokenizer import Flux2Tokenizer
        from mlx_vlm.models.flux2.transformer import Flux2Transformer

        self.dtype = dtype
        self._keep_to_dtype()
        _check_scheduler(folder)
        configs = {part: _config(folder, part) for part in ("transformer", "text_encoder", "vae")}
        sides = [configs["vae"].get(f"{side}block_out_channels") for side in ("", "decoder_")]
        if any(side is not None and tuple(side) != weights.FULL_DECODER_CHANNELS for side in sides):
            raise CheckpointError(f"{str(folder)!r} has another autoencoder than the released one, which mlx-vlm lacks")
        kind = Flux2Variant(
            name=folder.name,
            aliases=(),
            repo_id=folder.name,
            local_dir_name=folder.name,
            transformer_overrides=_known(Flux2Transformer, configs["transformer"]),
            text_encoder_overrides=_known(Qwen3TextEncoder, configs["text_encoder"]),
        )
        self._tokenizer = Flux2Tokenizer(folder)
        self._text_encoder = weights.load_text_encoder(folder, kind)
        self._text_encoder.layers = self._text_encoder.layers[:_READ_LAYERS]
        self._transformer = weights.load_transformer(folder, kind)
        _set_eps(self._transformer, configs["transformer"].get("eps", 1e-6))
        self._vae = weights.load_vae(folder, include_encoder=True)
        _turn_first_kernel(self._vae, folder / "vae", dtype)
        for part, network in self._networks.items():
            _check_weights(folder, part, network)
        self._come_into_memory(bits)

    def _come_into_memory(self, bits: Literal[4, 8] | None) -> None:
        """Read the weights, which were only described so far, and quantise them one by one."""
        import mlx.core as mx
        from mlx import nn

        for part, network in self._networks.items():
            if bits is not None and part != "vae" and network.quantization_config is None:
                nn.quantize(network, _GROUP, bits, class_predicate=lambda _, module: _is_quantisable(module))
            for module in network.modules():  # one by one, so that few are there both before and after
                mx.eval([value for value in module.values() if isinstance(value, mx.array)])
        norm = self._vae.bn
        mean, spread = norm.running_mean, mx.sqrt(norm.running_var + norm.eps)
        self._mean, self._spread = (values.reshape(1, -1, 1, 1).astype(self.dtype) for values in (mean, spread))
        mx.eval(self._mean, self._spread)
        mx.clear_cache()

    @property
    def _networks(self) -> dict[str, Any]:
        """By the folder that each is in."""
        return {"text_encoder": self._text_encoder, "transformer": self._transformer, "vae": self._vae}

    @property
    def footprint(self) -> dict[str, int]:
        """Bytes of the parameters of each network, by its folder's name."""
        return {part: parameter_bytes(network) for part, network in self._networks.items()}

    def _keep_to_dtype(self) -> None:
        """mlx-vlm's own knob, one for the process: to what weights are loaded, and activations cast midway."""
        from mlx_vlm.models.flux2.constants import ModelConfig

        ModelConfig.precision = self.dtype

    def read(self, prompt: str) -> Tokens:
        """What the text encoder makes of a prompt: always 512 tokens, since the transformer hears the padding too."""
        import mlx.core as mx
        from mlx_vlm.models.flux2.prompt import encode_prompt

        self._keep_to_dtype()
        embeds, places = encode_prompt(
            prompt=prompt, tokenizer=self._tokenizer, text_encoder=self._text_encoder, bucketed=False
        )
        mx.eval(embeds, places)
        return Tokens(embeds, places)

    def encode(self, picture: Image.Image) -> mx.array:
        """The latents of an RGB picture whose sides are multiples of 16 pixels."""
        import mlx.core as mx
        from mlx_vlm.models.flux2.latent import patchify_latents

        self._keep_to_dtype()
        pixels = 2 * np.asarray(picture, np.float32).transpose(2, 0, 1)[None] / 255 - 1
        encoded: mx.array = patchify_latents(self._vae.encode(mx.array(pixels).astype(self.dtype)))
        latents = (encoded - self._mean) / self._spread
        mx.eval(latents)
        return latents

    def decode(self, latents: mx.array, *, tiled: bool) -> Image.Image:
        """The RGB picture of latents; `tiled`: a large one by tiles, which take less memory and look a little other."""
        from mlx_vlm.models.flux2.tiling import TilingConfig

        self._keep_to_dtype()
        tiles = TilingConfig(vae_decode_tile_size=_TILE) if tiled else None
        return _picture(self._vae.decode_packed_latents(latents, tiles))

    def preview(self, latents: mx.array) -> Image.Image:
        """The picture of latents, of at most 512 pixels a side."""
        import mlx.core as mx
        import torch

        self._keep_to_dtype()
        grid = unpack_from_channels(self._vae, latents * self._spread + self._mean)
        side = max(grid.shape[-2:])
        if side > _PREVIEW:
            whole = torch.from_numpy(np.array(grid.astype(mx.float32)))
            small = torch.nn.functional.interpolate(whole, scale_factor=_PREVIEW / side, mode="area")
            grid = mx.array(small.numpy()).astype(self.dtype)
        return _picture(self._vae.decode(grid))

    def velocity(self, latents: Tokens, references: Tokens | None, words: Tokens, sigma: float) -> mx.array:
        """What the model predicts at the noise level `sigma` (0-1): noise - picture, as tokens. Not evaluated yet."""
        import mlx.core as mx

        self._keep_to_dtype()
        seen = latents if references is None else joined([latents, references])
        # as diffusers rounds it. Not in thousandths, as mlx-vlm's own pipelines give it: its transformer takes the last
        # ones, up to 1, for parts of a whole
        timestep = mx.array([sigma * 1000]).astype(self.dtype) / 1000
        predicted: mx.array = self._transformer(seen.values, words.values, timestep, seen.places, words.places)
        return predicted[:, : latents.values.shape[1]]


def noise(seed: int, rows: int, columns: int, dtype: mx.Dtype) -> mx.array:
    """The latents that diffusers' pipeline starts from with this seed in this dtype: torch's, drawn on the CPU."""
    import mlx.core as mx
    import torch

    generator = torch.Generator("cpu").manual_seed(seed)
    shape = (1, 4 * _LATENT_CHANNELS, rows, columns)
    drawn = torch.randn(shape, generator=generator, dtype=getattr(torch, str(dtype).rpartition(".")[2]))
    return mx.array(drawn.float().numpy()).astype(dtype)


def noise_levels(tokens: int, steps: int, strength: float) -> list[float]:
    """The noise levels (0-1) from the first to 0, one more than the steps that `strength` leaves of `steps`."""
    from mlx_vlm.models.flux2.scheduler import FlowMatchEulerDiscreteScheduler

    scheduler = FlowMatchEulerDiscreteScheduler(image_seq_len=tokens, num_inference_steps=steps)
    levels: list[float] = scheduler.sigmas.tolist()
    return levels[int(max(steps - min(steps * strength, steps), 0)) :]


def tokens_of(latents: mx.array, reference: int | None = None) -> Tokens:
    """Latents as tokens, in the places of the picture that is drawn or of reference number `reference`."""
    from mlx_vlm.models.flux2.latent import pack_latents, prepare_grid_ids

    first = 0 if reference is None else _REFERENCES_APART * (reference + 1)
    return Tokens(pack_latents(latents), prepare_grid_ids(latents, t_coord=first))


def latents_of(tokens: mx.array, rows: int, columns: int) -> mx.array:
    """Tokens of a picture as latents again."""
    from mlx_vlm.models.flux2.latent import unpack_latents

    latents: mx.array = unpack_latents(tokens, latent_height=rows, latent_width=columns)
    return latents


def joined(several: Sequence[Tokens]) -> Tokens:
    """All tokens in a row."""
    import mlx.core as mx

    values = mx.concatenate([tokens.values for tokens in several], axis=1)
    return Tokens(values, mx.concatenate([tokens.places for tokens in several], axis=1))


def mask_of(mask: Image.Image, dtype: mx.Dtype) -> mx.array:
    """How much of each token is repainted, [1, tokens, 1] in 0-1: what diffusers' bilinear shrinking sees of the mask,
    four pixels in the middle of each 16x16. `mask` is black and white, mode L, of the size that is drawn.
    """
    import mlx.core as mx

    pixels = np.asarray(mask, np.float32) / 255
    rows = (pixels[7::16] + pixels[8::16]) / 2
    shares = (rows[:, 7::16] + rows[:, 8::16]) / 2
    return mx.array(shares.reshape(1, -1, 1)).astype(dtype)


def shown(reference: Image.Image) -> Image.Image:
    """A reference as diffusers shows it to the model: of at most a megapixel, cut to multiples of 16 pixels."""
    from PIL import Image

    width, height = reference.size
    if width * height > MAX_REFERENCE_PIXELS:
        scale = (MAX_REFERENCE_PIXELS / (width * height)) ** 0.5
        reference = reference.resize((int(width * scale), int(height * scale)), Image.Resampling.LANCZOS)
        width, height = reference.size
    left, top = width % 16 // 2, height % 16 // 2
    return reference.crop((left, top, left + width // 16 * 16, top + height // 16 * 16))


def _picture(pixels: mx.array) -> Image.Image:
    """The RGB picture of pixels [1, 3, height, width] in -1 … 1."""
    import mlx.core as mx
    from PIL import Image

    colours = mx.clip(pixels[0] * 0.5 + 0.5, 0, 1).transpose(1, 2, 0).astype(mx.float32)
    return Image.fromarray((np.array(colours) * 255).round().astype(np.uint8))


def _config(folder: Path, part: str) -> dict[str, Any]:
    found: dict[str, Any] = json.loads((folder / part / "config.json").read_text("utf-8"))
    # transformers 5 writes it there
    return {"rope_theta": found["rope_parameters"]["rope_theta"], **found} if "rope_parameters" in found else found


def _check_scheduler(folder: Path) -> None:
    """Refuse noise levels that mlx-vlm does not know; folders without a scheduler have those of the release.

    Raises:
        CheckpointError: the checkpoint's scheduler shifts them otherwise.
    """
    path = folder / "scheduler" / "scheduler_config.json"
    if not path.is_file():
        return
    config = json.loads(path.read_text("utf-8"))
    is_known = config.get("use_dynamic_shifting") and config.get("time_shift_type", "exponential") == "exponential"
    if not is_known or any(config.get(name) for name in _OTHER_LEVELS):
        raise CheckpointError(f"{str(folder)!r} has other noise levels than the released ones, which mlx-vlm lacks")


def _known(network: Any, config: Mapping[str, Any]) -> dict[str, Any]:
    """What of a checkpoint's configuration are arguments of mlx-vlm's class, which has the same names for them."""
    return {name: config[name] for name in signature(network.__init__).parameters if name in config}


def _set_eps(transformer: Any, eps: float) -> None:
    """Of all norms, as the checkpoint says; mlx-vlm has 1e-5 for those of queries and keys, the released ones 1e-6."""
    from mlx import nn

    for module in transformer.modules():
        if isinstance(module, nn.RMSNorm | nn.LayerNorm):
            module.eps = eps


def _turn_first_kernel(vae: Any, folder: Path, dtype: mx.Dtype) -> None:
    """Give the encoder's first convolution its weights in MLX's layout.

    mlx-vlm (0.7.10) tells layouts by their shapes, and this one, of 3 channels and 3x3 pixels, has the same in both; so
    it leaves those of diffusers as they are, and every picture would be read with its colours for places.
    """
    kernels = _described(folder)
    mine, another = kernels.get("encoder.conv_in.weight"), kernels.get("decoder.conv_in.weight")
    if mine is not None and another is not None and another.shape[1] == _LATENT_CHANNELS:  # torch's: channels before
        vae.encoder.conv_in.weight = mine.transpose(0, 2, 3, 1).astype(dtype)


def _is_quantisable(module: Any) -> bool:
    return hasattr(module, "to_quantized") and module.weight.shape[-1] % _GROUP == 0


def _check_weights(folder: Path, part: str, network: Any) -> None:
    """Refuse a folder that lacks weights: mlx-vlm would leave random ones in their place.

    Raises:
        CheckpointError: it names the first one.
    """
    from mlx.utils import tree_flatten

    there = {_renamed(name) for name in _described(folder / part)}
    needed = {name for name, _ in tree_flatten(network.parameters())} - {"rotary_emb.inv_freq"}
    if missing := sorted(needed - there):
        raise CheckpointError(f"{str(folder / part)!r} lacks {len(missing)} weights, {missing[0]} the first of them")


def _described(folder: Path) -> dict[str, mx.array]:
    """The weights in a folder by their names there; MLX reads no numbers until they are used."""
    import mlx.core as mx

    files: list[Any] = [mx.load(str(file)) for file in folder.glob("*.safetensors")]
    return {name: weight for file in files for name, weight in file.items()}


def _renamed(name: str) -> str:
    """A weight's name in mlx-vlm's networks."""
    name = name.removeprefix("model.").replace(".to_out.0.", ".to_out.")
    return name.replace("time_guidance_embed.timestep_embedder.", "time_guidance_embed.")
