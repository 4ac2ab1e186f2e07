"""The built-in picture model's autoencoder, with and without the upper layer of its pictures."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any, Final, Self, TypeVar

import torch
from diffusers import AutoencoderKL, ModelMixin
from diffusers.models.autoencoders.vae import Decoder, DecoderOutput, DiagonalGaussianDistribution
from diffusers.models.modeling_outputs import AutoencoderKLOutput
from safetensors.torch import load_file
from torch import nn

from models.image.draft import CHANNELS
from models.image.layers import LATENTS, as_latents, of_latents, over
from models.packed import unpacked

if TYPE_CHECKING:
    from collections.abc import Mapping

_WEIGHTS: Final = "diffusion_pytorch_model.safetensors"
_WIDENED: Final = "decoder_widened"
"""What says in an autoencoder's configuration how much wider its decoder is."""
_CERTAIN: Final = -30.0
"""The logarithm of a variance of nothing, the least that diffusers knows."""
Module = TypeVar("Module", bound=nn.Module)
__all__ = [
    "LayeredAutoencoder",
    "ModelMixin",  # diffusers looks for the base class where the class is
    "PackedAutoencoder",
    "filled",
    "ready",
]


class PackedAutoencoder(AutoencoderKL):  # type: ignore[misc]
    """FLUX's autoencoder, whose weights may be packed in 8 bits on disk, and whose decoder may be the wider half."""

    def widen_decoder(self, factor: float) -> None:
        """Put an untrained decoder with `factor` times as many channels, and groups of them, in the decoder's place."""
        config = self.config
        self.decoder = Decoder(
            in_channels=CHANNELS,
            out_channels=config.out_channels,
            up_block_types=config.up_block_types,
            block_out_channels=[int(factor * width) for width in config.block_out_channels],
            layers_per_block=config.layers_per_block,
            norm_num_groups=int(factor * config.norm_num_groups),
            act_fn=config.act_fn,
            mid_block_add_attention=config.mid_block_add_attention,
        )
        self.register_to_config(**{_WIDENED: factor})

    def latents_of(self, pixels: torch.Tensor) -> torch.Tensor:
        """Those of pictures [n, 3, height, width] as pipelines have them, of about unit size: [n, channels, ...]."""
        found: torch.Tensor = self.encode(pixels).latent_dist.mean
        latents: torch.Tensor = (found - self.config.shift_factor) * self.config.scaling_factor
        return latents

    def picture_of(self, latents: torch.Tensor) -> torch.Tensor:
        """The reverse of `latents_of`."""
        picture: torch.Tensor = self.decode(latents / self.config.scaling_factor + self.config.shift_factor).sample
        return picture

    @classmethod
    def from_pretrained(cls, folder: str | Path, **asked: Any) -> Self:
        """From a folder, in the `torch_dtype` or `dtype` that is asked for; one with layers can be had without."""
        return filled(cls._untrained(cls.load_config(folder)), folder, asked)  # type: ignore[no-any-return]

    @classmethod
    def _untrained(cls, config: Mapping[str, Any]) -> Self:
        """One of these sizes, without a layer."""
        sizes = dict(config) | {"latent_channels": CHANNELS}
        factor = sizes.pop(_WIDENED, None)
        built: Self = cls.from_config(sizes)
        if factor is not None:
            built.widen_decoder(factor)
        return built


class LayeredAutoencoder(PackedAutoencoder):
    """One whose latents have an upper layer as further channels.

    What it encodes comes back exactly, in half precision to a level of 255.
    """

    @classmethod
    def of(cls, autoencoder: PackedAutoencoder) -> Self:
        """One with the same weights."""
        layered = cls._untrained(autoencoder.config)
        layered.load_state_dict(autoencoder.state_dict())
        layered.register_to_config(latent_channels=LATENTS)
        nn.Module.to(layered, autoencoder.device)
        return ready(layered, {"dtype": autoencoder.dtype})

    @classmethod
    def from_pretrained(cls, folder: str | Path, **asked: Any) -> Self:
        """As without layers."""
        layered = super().from_pretrained(folder, **asked)
        layered.register_to_config(latent_channels=LATENTS)
        return layered

    def apart(self, latents: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
        """Latents [n, 264, ...] as pipelines have them: the lower layer's [n, 8, ...], and the upper layer."""
        return latents[:, :CHANNELS], of_latents(latents[:, CHANNELS:])

    def encode(self, x: torch.Tensor, return_dict: bool = True) -> Any:
        """Pictures [n, 3, height, width] -> latents of 8 channels, and the picture itself as an opaque layer."""
        painted = super().encode(x).latent_dist
        opaque = as_latents(torch.cat([x, torch.ones_like(x[:, :1])], 1))
        exact = opaque / self.config.scaling_factor + self.config.shift_factor
        certain = torch.full_like(exact, _CERTAIN)
        found = DiagonalGaussianDistribution(torch.cat([painted.mean, exact, painted.logvar, certain], 1))
        return AutoencoderKLOutput(latent_dist=found) if return_dict else (found,)

    def decode(self, z: torch.Tensor, return_dict: bool = True, generator: Any = None) -> Any:
        """Latents with their layer [n, 264, ...] -> pictures; outputs and arguments as `AutoencoderKL` has them."""
        painted = super().decode(z[:, :CHANNELS], generator=generator).sample
        layer = (z[:, CHANNELS:] - self.config.shift_factor) * self.config.scaling_factor
        picture = over(of_latents(layer), painted)
        return DecoderOutput(sample=picture) if return_dict else (picture,)


def filled(part: Any, folder: str | Path, asked: Mapping[str, Any]) -> Any:
    """A part with its weights from a folder, which may be packed; `asked` as in `ready`."""
    part.load_state_dict(unpacked(load_file(Path(folder) / _WEIGHTS)))
    return ready(part, asked)


def ready(part: Module, asked: Mapping[str, Any]) -> Module:
    """A part in the `torch_dtype` or `dtype` that is asked for, float32 where none is."""
    # Diffusers says `torch_dtype` to its own classes and `dtype` to those of transformers. Its own `to` warns of parts
    # that want float32; there are none here.
    return nn.Module.to(part, asked.get("torch_dtype") or asked.get("dtype") or torch.float32).eval()
