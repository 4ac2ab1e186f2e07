"""Where in a picture a drawing is: it is laid over everything that stands out from a flat ground, to see where it fits.

A network that finds things (`models.image.draft.Finder`) takes one shape for another where it has seen too few. On a
ground of one colour pixels tell better: what stands apart is known to the pixel, and of what is sought the encoder
tells the outline and the colour.
"""

from __future__ import annotations

from typing import Final

import torch
from torch.nn import functional

from models.image.cut_outs import LEAST_COVERED, ON_A_GROUND, difference, flat, placed, soft
from models.image.draft import MARGIN

_LARGEST: Final = 128
"""Pixels of the shorter side of what is looked at."""
_BORDER: Final = 4
"""Pixels from the edge by which a ground is told."""
_SMALLEST: Final = 0.002
"""Share of a picture that a thing has at least."""
_LEAST_FIT: Final = 0.6
"""What fits less is something else. Right ones fitted 0.66 or better, save those that hide each other."""
_AS_WELL: Final = 0.05
"""What fits less by no more than this fits as well."""
_WIDER: Final = 1.03
"""A thing's square is so much wider than what is seen of it."""

Box = tuple[int, int, int, int]
"""Left, top, right, bottom, in pixels."""


def match(drawing: torch.Tensor, pixels: torch.Tensor, near: torch.Tensor, *, by_colour: bool) -> torch.Tensor | None:
    """Where the drawing fits best, as in `Conditioning.where`: [3], or None where it does not, or the ground is uneven.

    Args:
        drawing: a layer [4, ...] as `cut_outs.matted` makes it.
        pixels: [3, height, width], -1 … 1.
        near: where it is expected [3], which decides between what fits about as well.
        by_colour: its colour counts too, and not its outline alone.
    """
    layer, picture = drawing[None].float().cpu(), _small(pixels)
    whole = _box(layer[0, 3] > 0.5)
    if whole is None:
        return None
    fits = [_fit(layer, whole, picture, thing, by_colour=by_colour) for thing in _things(picture)]
    best = max((fit for fit, _ in fits), default=0.0)
    places = [where for fit, where in fits if fit > max(_LEAST_FIT, best - _AS_WELL)]
    return min(places, key=lambda where: _away(where, near), default=None)


def nearest(found: torch.Tensor, pixels: torch.Tensor) -> torch.Tensor | None:
    """Where the thing is that is nearest to what was found [3], if any stands on a flat ground: likewise."""
    picture = _small(pixels)
    places = [_place(_box(thing), *picture.shape[2:]) for thing in _things(picture)]
    return min(places, key=lambda where: _away(where, found), default=None)


def _away(where: torch.Tensor, other: torch.Tensor) -> float:
    return float((where - other.cpu())[:2].norm())


def hanging_together(stands: torch.Tensor) -> torch.Tensor:
    """The number of the thing that each pixel is of, 0 for none: [n, 1, height, width], from 0 or 1 for each."""
    ones = torch.ones_like(stands[:1], dtype=torch.float32)
    numbered = ones.flatten().cumsum(0).view_as(ones) * stands
    while True:  # until all that hang together have the number of the last of them
        spread = functional.max_pool2d(numbered, 3, 1, 1) * stands
        if torch.equal(spread, numbered):
            return numbered
        numbered = spread


def _small(pixels: torch.Tensor) -> torch.Tensor:
    """As a picture [1, 3, ...] in which things are looked for."""
    return functional.avg_pool2d(pixels[None].float().cpu(), max(1, min(pixels.shape[1:]) // _LARGEST))


def _things(picture: torch.Tensor) -> list[torch.Tensor]:
    """The things before a flat ground, each as the pixels that it has: bool [height, width]."""
    border = torch.ones_like(picture[:, :1])
    border[..., _BORDER:-_BORDER, _BORDER:-_BORDER] = 0
    ground, is_flat = flat(picture, border)
    if not is_flat:
        return []
    numbered = hanging_together((soft(difference(picture, ground), ON_A_GROUND) > 0.5).float())
    numbers, counts = torch.unique(numbered, return_counts=True)
    large = numbers[(numbers > 0) & (counts >= _SMALLEST * numbered.numel())]
    return [numbered[0, 0] == number for number in large]


def _place(box: Box | None, height: int, width: int) -> torch.Tensor:
    """Where a thing is that has this box, as in `Conditioning.where`."""
    assert box is not None
    x, y, size = _square(box)
    return torch.tensor([x / width, y / height, _WIDER * size / min(height, width)])


def _fit(
    layer: torch.Tensor, whole: Box, picture: torch.Tensor, thing: torch.Tensor, *, by_colour: bool
) -> tuple[float, torch.Tensor]:
    """How well the layer, of whose picture `whole` is covered, fits over a thing of that size, 0-1, and where it is."""
    height, width = thing.shape
    box = _box(thing)
    assert box is not None
    (across, down, long), (x, y, size) = _square(whole), _square(box)
    share = MARGIN / layer.shape[3]
    side = size / (long * share)
    middle = [x - (across - layer.shape[3] / 2) * share * side, y - (down - layer.shape[2] / 2) * share * side]
    where = torch.tensor([middle[0] / width, middle[1] / height, side / min(height, width)])
    laid = placed(layer, where[None], height, width)
    covered, there = laid[:, 3:], thing.float()
    wrong = (covered - there).abs()
    if by_colour:
        colour = laid[:, :3] / covered.clamp(min=LEAST_COVERED)
        differs = (picture - colour).abs().mean(1, keepdim=True).clamp(max=1)
        wrong = torch.maximum(wrong, differs * torch.minimum(covered, there))
    return 1 - float(wrong.sum() / torch.maximum(covered, there).sum()), where


def _box(mask: torch.Tensor) -> Box | None:
    if not mask.any():
        return None
    rows, columns = (mask.any(axis).nonzero()[:, 0].tolist() for axis in (1, 0))
    return columns[0], rows[0], columns[-1] + 1, rows[-1] + 1


def _square(box: Box) -> tuple[float, float, int]:
    """The middle of a box, and its longer side."""
    left, top, right, bottom = box
    return (left + right) / 2, (top + bottom) / 2, max(right - left, bottom - top)
