"""Things cut out of pictures, as layers (`models.image.layers`): of drawings on grey, and of what is to be changed."""

from __future__ import annotations

from typing import Final

import torch
from torch.nn import functional

from models.image.draft import MARGIN, from_middle, points
from models.image.layers import BLOCK

GREY: Final = 186
"""What the drawings stand on whose latents the encoder tells, 0-255 in each channel."""
INSIDE: Final = (0.75, 0.95)
"""What is covered so much is all of the thing, even where it is as grey as what it stands on."""
ON_A_GROUND: Final = (0.08, 0.3)
"""From and to how large a difference, of the channel that differs most, a pixel is part of what stands before a
ground."""
LEAST_COVERED: Final = 0.2
"""Colours are divided by no less than this."""
_ON_GREY: Final = (0.06, 0.25)
"""Likewise of what stands before the grey."""
_OUTSIDE: Final = 0.03
"""What is covered less is nothing of a thing."""
_GREYISH: Final = (0.2, 0.5)
"""From and to which grey share of a drawing its outline is told by what it covers, and not by its colour."""
_WITHIN_OUTLINE: Final = (0.4, 0.65)
"""What is covered so much is all of such a drawing."""
_ALIKE: Final = 0.1
_MOST: Final = 0.6
"""A ground that has one colour, or nearly, in so much of it is flat: what stands before it is told by its colour."""
_WINDOWS: Final = (4, 8, 16, 32, 64)
"""Pixels a side, of what is looked at to tell what a ground is like behind a thing."""
_SEEN: Final = 0.2
"""A window of which so much is ground says it alone."""
_SUPERSAMPLED: Final = 2
"""Points a side of a pixel where a thing is made smaller."""
_SEEN_OF_IT: Final = 0.1
"""What is covered less does not count as part of a thing that is moved."""
_REACH: Final = 12
"""Pixels to each side of one within which colours tell whether it is part of a thing."""
_SMOOTHNESS: Final = 1e-3
"""Colours that vary less than this, in their square, tell nothing."""
_FOLLOWED: Final = (0.2, 0.65)
"""From and to where outlines that follow colours are sharpened."""


def matted(pixels: torch.Tensor, covered: torch.Tensor) -> torch.Tensor:
    """Drawings on grey [k, 3, height, width] cut out, as layers.

    `covered` [k, 1, ...] is roughly how much of each part is the drawing.
    """
    covered = enlarged(covered, pixels)
    grey = torch.full_like(pixels, GREY / 127.5 - 1)
    differs = soft(difference(pixels, grey), _ON_GREY)
    within = (covered > INSIDE[0]).float()
    alike = ((1 - differs) * within).sum((1, 2, 3), keepdim=True) / within.sum((1, 2, 3), keepdim=True).clamp(min=1)
    is_grey = soft(alike, _GREYISH)
    inside = torch.lerp(soft(covered, INSIDE), soft(covered, _WITHIN_OUTLINE), is_grey)
    return cut_out(pixels, grey, torch.maximum(differs * (covered > _OUTSIDE), inside))


def placed(layers: torch.Tensor, where: torch.Tensor, height: int, width: int) -> torch.Tensor:
    """Layers of one thing each [k, 4, ...] where they stand in pictures of so many pixels: [k, 4, height, width].

    `where` [k, 3] is as in `Conditioning.where`.
    """
    at = from_middle(where, points(height, width, where.device, _SUPERSAMPLED)) / MARGIN
    laid = functional.grid_sample(layers, at, padding_mode="zeros", align_corners=False)
    return functional.avg_pool2d(laid, _SUPERSAMPLED)


def extent(covered: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
    """The middle of what is covered [height, width], and half of how far it reaches: x and y from -1 to 1, [2] each.

    What touches an edge reaches beyond it, and so does nothing.
    """
    high, wide = covered.shape
    rows, columns = ((covered > _SEEN_OF_IT).any(axis).nonzero()[:, 0].tolist() for axis in (1, 0))
    if not rows:
        return covered.new_zeros(2), covered.new_ones(2)
    first, last = (
        covered.new_tensor(each) for each in ((columns[0] - 1, rows[0] - 1), (columns[-1] + 2, rows[-1] + 2))
    )
    size = covered.new_tensor([wide, high])
    return (first + last) / size - 1, (last - first) / size


def moved(
    layer: torch.Tensor, middle: torch.Tensor, to: torch.Tensor, scale: torch.Tensor | float, side: float = 1.0
) -> torch.Tensor:
    """A layer [1, 4, ...] with what has its middle at one place at another, so many times as large.

    Places are as in `extent`; with a side of -1 it is mirrored.
    """
    slope = middle.new_tensor([side, 1.0]) / scale
    theta = torch.cat([torch.diag(slope), (middle - slope * to)[:, None]], 1)[None]
    high, wide = layer.shape[2:]
    at = functional.affine_grid(theta, [1, 4, _SUPERSAMPLED * high, _SUPERSAMPLED * wide], align_corners=False)
    sampled = functional.grid_sample(layer, at, padding_mode="border", align_corners=False)
    return functional.avg_pool2d(sampled, _SUPERSAMPLED)


def resized(layer: torch.Tensor, scale: float) -> torch.Tensor:
    """A layer [1, 4, ...] with what it shows so many times as large, or as large as the picture holds."""
    middle, half = extent(layer[0, 3])
    scale = min(scale, float((1 / half).amin()))
    room = 1 - half * scale
    return moved(layer, middle, torch.maximum(torch.minimum(middle, room), -room), scale)


def beyond(stands: torch.Tensor) -> torch.Tensor:
    """1 where nothing of a thing is near, 0 elsewhere: [n, 1, rows, columns] from how much of each is of one."""
    return (functional.max_pool2d(stands, 3, 1, 1) < 0.5).float()


def before_a_ground(pixels: torch.Tensor, stands: torch.Tensor) -> torch.Tensor:
    """What stands before the grounds of pictures [n, 3, height, width], cut out.

    `stands` [n, 1, height / 8, width / 8] is how much of each latent belongs to it.
    """
    is_ground = functional.interpolate(beyond(stands), scale_factor=BLOCK, mode="nearest")
    even, is_even = flat(pixels, is_ground)
    roughly = enlarged(stands, pixels)
    followed = soft(_following(pixels, roughly), _FOLLOWED)
    ground = torch.where(is_even, even, _continued(pixels, (followed == 0).float()))
    differs = difference(pixels, ground)
    # Pixels on an edge are a mixture: they differ less than those beside them that are the thing's alone.
    mixed = differs / functional.max_pool2d(differs, 5, 1, 2).clamp(min=1e-4)
    told_by_colour = soft(differs, ON_A_GROUND)
    is_edge = shrunk(told_by_colour) < 0.5
    by_colour = torch.where(is_edge, torch.minimum(told_by_colour, mixed), told_by_colour)
    return cut_out(pixels, ground, torch.where(is_even, by_colour, followed))


def flat(pixels: torch.Tensor, weights: torch.Tensor, most: float = _MOST) -> tuple[torch.Tensor, torch.Tensor]:
    """The colour [n, 3, 1, 1] of the middle of those with a weight, and whether `most` have it: bool [n, 1, 1, 1]."""
    among = torch.where(weights > 0, pixels, torch.nan).flatten(2)
    colour = among.cpu().nanmedian(2).values.nan_to_num().to(pixels.device)[..., None, None]
    has_it = (difference(pixels, colour) < _ALIKE) * weights
    share = has_it.sum((1, 2, 3), keepdim=True) / weights.sum((1, 2, 3), keepdim=True).clamp(min=1)
    return colour, share > most


def cut_out(pixels: torch.Tensor, behind: torch.Tensor, covered: torch.Tensor) -> torch.Tensor:
    """The layer that has these pixels over what is behind it."""
    colours = (pixels - (1 - covered) * behind) / covered.clamp(min=LEAST_COVERED)
    return torch.cat([colours.clamp(-1, 1) * covered, covered], 1)


def difference(pixels: torch.Tensor, behind: torch.Tensor) -> torch.Tensor:
    """Of the channel that differs most: [n, 1, height, width]."""
    return (pixels - behind).abs().amax(1, keepdim=True)


def soft(value: torch.Tensor, bounds: tuple[float, float]) -> torch.Tensor:
    """0 up to the first bound, 1 from the second on."""
    low, high = bounds
    return ((value - low) / (high - low)).clamp(0, 1)


def shrunk(share: torch.Tensor) -> torch.Tensor:
    """The least of each and those next to it."""
    return -functional.max_pool2d(-share, 3, 1, 1)


def enlarged(share: torch.Tensor, pixels: torch.Tensor) -> torch.Tensor:
    """As large as these pixels."""
    return functional.interpolate(share, pixels.shape[2:], mode="bilinear")


def _following(pixels: torch.Tensor, share: torch.Tensor) -> torch.Tensor:
    """A share [n, 1, height, width] along the outlines of pixels: He, Sun and Tang's guided filter, guided by colour.

    In each window the share is taken for a linear function of the colour.
    """
    pixels, share = pixels.float(), share.float()
    colour, mean = _mean(pixels), _mean(share)
    pairs = (pixels[:, :, None] * pixels[:, None]).flatten(1, 2)
    scatter = (_mean(pairs) - (colour[:, :, None] * colour[:, None]).flatten(1, 2)).permute(0, 2, 3, 1)
    scatter = scatter.reshape(*scatter.shape[:3], 3, 3) + _SMOOTHNESS * torch.eye(3, device=pixels.device)
    together = (_mean(pixels * share) - colour * mean).permute(0, 2, 3, 1)
    slopes = torch.linalg.solve(scatter.cpu(), together.cpu()).to(pixels.device).permute(0, 3, 1, 2)
    offset = mean - (slopes * colour).sum(1, keepdim=True)
    return (_mean(slopes) * pixels).sum(1, keepdim=True) + _mean(offset)


def _mean(values: torch.Tensor) -> torch.Tensor:
    """Of the window around each pixel."""
    summed = functional.pad(values, (_REACH,) * 4, mode="replicate")
    for kernel in ((2 * _REACH + 1, 1), (1, 2 * _REACH + 1)):
        summed = functional.avg_pool2d(summed, kernel, 1)
    return summed


def _continued(pixels: torch.Tensor, weights: torch.Tensor) -> torch.Tensor:
    """Pixels where they have a weight, and everywhere else what is near: means over ever larger windows."""
    size = pixels.shape[2:]
    result, known = torch.zeros_like(pixels), torch.zeros_like(weights)
    for window in _WINDOWS:
        seen, mean = (
            functional.avg_pool2d(functional.avg_pool2d(each, window, ceil_mode=True), 3, 1, 1)
            for each in (weights, pixels * weights)
        )
        seen, mean = (
            functional.interpolate(each, scale_factor=window, mode="bilinear")[..., : size[0], : size[1]]
            for each in (seen, mean)
        )
        share = (1 - known) * (seen / _SEEN).clamp(0, 1)
        result, known = result + share * mean / seen.clamp(min=1e-4), known + share
    return result / known.clamp(min=1e-4)
