"""The two layers of the built-in picture model's pictures, and how they travel as latents.

A thing of forty pixels has five latents a side; what is decoded from so few is a blur, however well it was painted.
So a picture has two layers. The lower one is what the transformer paints in latents: the ground, light and weather,
what is left where something was taken away. In the upper one lie pixels that need no painting
(`models.image.upper_layer`).

A layer is a tensor [n, 4, height, width]: colours from -1 to 1 times how much they cover, and how much that is, 0-1.
It travels with the latents as further channels, an 8x8 block of pixels for each latent.
"""

from __future__ import annotations

from typing import Final

import torch
from torch.nn import functional

from models.image.draft import CHANNELS

BLOCK: Final = 8
"""Pixels a side of a latent."""
LAYER: Final = 4 * BLOCK * BLOCK
LATENTS: Final = CHANNELS + LAYER
"""Channels of latents with a layer."""
_OPAQUE: Final = 0.99
"""In half precision 1 may come back as a little less."""


def over(upper: torch.Tensor, lower: torch.Tensor) -> torch.Tensor:
    """A layer over another one, or over the pixels of a picture [n, 3, height, width]."""
    return upper[:, : lower.shape[1]] + lower * (1 - upper[:, 3:])


def as_latents(layer: torch.Tensor) -> torch.Tensor:
    """[n, 256, height / 8, width / 8]."""
    return functional.pixel_unshuffle(layer, BLOCK)


def of_latents(latents: torch.Tensor) -> torch.Tensor:
    """The layer that `as_latents` made latents of, if they are still noisy too."""
    layer = functional.pixel_shuffle(latents, BLOCK)
    covered = layer[:, 3:].clamp(0, 1)
    covered = torch.where(covered > _OPAQUE, 1.0, covered)
    return torch.cat([layer[:, :3].clamp(-covered, covered), covered], 1)


def as_tokens(latents: torch.Tensor) -> torch.Tensor:
    """As `FluxPipeline` packs latents 2x2: [n, tokens, 4 * channels]."""
    return functional.pixel_unshuffle(latents, 2).flatten(2).transpose(1, 2).contiguous()


def of_tokens(tokens: torch.Tensor, height: int, width: int) -> torch.Tensor:
    """The latents of a picture of so many tokens: [n, channels, 2 * height, 2 * width]."""
    return functional.pixel_shuffle(tokens.transpose(1, 2).reshape(len(tokens), -1, height, width), 2)
