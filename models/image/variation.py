"""Variations of a picture: what stands in it a little elsewhere and larger or smaller, before a ground painted anew.

Half of them are mirrored. Of a picture whose ground is none that can be painted they are parts of it, a little closer;
so they are where the edge cuts what stands on one colour.
"""

from __future__ import annotations

from typing import Final

import torch
from torch.nn import functional

from models.image.cut_outs import before_a_ground, beyond, extent, flat, moved
from models.image.layers import BLOCK, over

_FAMILIAR: Final = 0.25
"""How far the latents of a ground may be from the mean of its kind, as a mean square."""
_SEEN: Final = 0.1
"""The share of a picture that its ground has at least, to be told."""
_SHIFTED, _GROWN = 0.1, 0.1
"""Standard deviations of where things are, in halves of the picture's sides, and of how large they are."""
_CLOSER: Final = 0.06
"""Likewise of how much closer a picture is seen, beyond as much."""
_EVEN: Final = 0.75
"""The share of a ground that has one colour, if it is of one colour."""


def ground_of(latents: torch.Tensor, stands: torch.Tensor, grounds: torch.Tensor) -> int:
    """Which of the grounds, from 1, is behind what stands in a picture; 0 if it is another.

    Args:
        latents: of the picture, [8, rows, columns].
        stands: how much of each is of a thing, [1, rows, columns].
        grounds: mean latents of each, [k, 8, ...], from 0.
    """
    is_ground = beyond(stands[None])
    if is_ground.mean() < _SEEN:
        return 0
    known = functional.interpolate(grounds[1:], latents.shape[1:], mode="bilinear")
    away = (latents.float() - known).square().mean(1, keepdim=True) * is_ground
    distances = away.sum((1, 2, 3)) / is_ground.sum()
    return 1 + int(distances.argmin()) if float(distances.amin()) < _FAMILIAR else 0


def varied(pixels: torch.Tensor, stands: torch.Tensor, by: torch.Tensor, *, is_familiar: bool) -> torch.Tensor:
    """What lies over the ground of a variation: a layer [4, height, width]; the whole of it unless that is painted.

    Args:
        pixels: of the picture, [3, height, width], -1 … 1.
        stands: how much of each of its latents is of a thing, [1, height / 8, width / 8].
        by: four numbers of a picture's own noise: to the right, down, larger, and whether it is mirrored.
        is_familiar: its ground can be painted.
    """
    picture, by = pixels.float()[None], by.float().clamp(-2, 2)
    colour, is_even = flat(picture, functional.interpolate(beyond(stands[None]), scale_factor=BLOCK), _EVEN)
    things = before_a_ground(picture, stands[None])
    middle, half = extent(things[0, 3])
    is_whole = bool((middle.abs() < 1 - half).all())
    if is_even and is_whole:
        behind = torch.cat([colour, torch.ones_like(colour[:, :1])], 1).expand_as(things)
        return over(_shaken(things, middle, half, by), behind)[0]
    if is_familiar and not is_even:
        return (_shaken(things, middle, half, by) if is_whole else _mirrored(things, by))[0]
    whole = torch.cat([picture, torch.ones_like(picture[:, :1])], 1)
    return _closer(whole, by)[0]


def _shaken(layer: torch.Tensor, middle: torch.Tensor, half: torch.Tensor, by: torch.Tensor) -> torch.Tensor:
    """A layer with what it shows elsewhere, but whole."""
    scale = torch.minimum(torch.exp(_GROWN * by[2]), (1 / half).amin())
    room = 1 - half * scale
    to = middle * middle.new_tensor([_side(by), 1.0]) + _SHIFTED * by[:2]
    return moved(layer, middle, torch.maximum(torch.minimum(to, room), -room), scale, _side(by))


def _closer(layer: torch.Tensor, by: torch.Tensor) -> torch.Tensor:
    """A part of a layer that is all covered, as large as the whole."""
    scale = 1 + _CLOSER * (1 + by[2].abs())
    return moved(layer, torch.zeros_like(by[:2]), (scale - 1) * by[:2] / 2, scale, _side(by))


def _mirrored(layer: torch.Tensor, by: torch.Tensor) -> torch.Tensor:
    return layer.flip(3) if _side(by) < 0 else layer


def _side(by: torch.Tensor) -> float:
    """-1 of what is mirrored, 1 of what is not."""
    return -1.0 if by[3] < 0 else 1.0
