"""What lies in the upper layer of the built-in picture model's pictures: pixels that need no painting.

These are the things that are asked for, decoded as large as can be from what the encoder tells of them and then made as
small as they shall be; and, of a picture that is changed, what stays as it was.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Final

import torch
from torch.nn import functional

from models.image.draft import (
    CHANNELS,
    DRAWING,
    FIGURES,
    MARGIN,
    Conditioning,
    Draft,
    drawn_where,
    from_middle,
    points,
)
from models.image.layers import BLOCK, of_latents, of_tokens, over

if TYPE_CHECKING:
    from collections.abc import Callable

    from models.image.autoencoder import PackedAutoencoder

GREY: Final = 186
"""What the drawings stand on whose latents the encoder tells, 0-255 in each channel."""
_SUPERSAMPLED: Final = 2
"""Points a side of a pixel where a thing is made smaller."""
_ON_GREY: Final = (0.06, 0.25)
_ON_A_GROUND: Final = (0.08, 0.3)
"""From and to how large a difference, of the channel that differs most, a pixel is part of what stands before the grey,
or before a ground."""
_OUTSIDE: Final = 0.03
"""What is covered less is nothing of a thing."""
_INSIDE: Final = (0.75, 0.95)
"""What is covered so much is all of the thing, even where it is as grey as what it stands on."""
_GREYISH: Final = (0.2, 0.5)
"""From and to which grey share of a drawing its outline is told by what it covers, and not by its colour."""
_WITHIN_OUTLINE: Final = (0.4, 0.65)
"""What is covered so much is all of such a drawing."""
_CHANGED: Final = (0.3, 0.8)
"""From and to how large a mean square difference of its channels a latent counts as changed."""
_ALIKE: Final = 0.1
_MOST: Final = 0.6
"""A ground that has one colour, or nearly, in so much of it is flat: what stands before it is told by its colour."""
_NEAR, _AROUND = 1.3, 3.0
"""A thing lies within the first, the ground around it between the two, in half sides from its middle."""
_LEAST_COVERED: Final = 0.2
"""Colours are divided by no less than this."""
_WINDOWS: Final = (4, 8, 16, 32, 64)
"""Pixels a side, of what is looked at to tell what a ground is like behind a thing."""
_SEEN: Final = 0.2
"""A window of which so much is ground says it alone."""


@dataclass(frozen=True)
class Reference:
    """A picture that is to be changed.

    Attributes:
        latents: those of its lower layer, [n, 8, height / 8, width / 8].
        pixels: [n, 3, height, width], -1 … 1.
    """

    latents: torch.Tensor
    pixels: torch.Tensor


class Layers:
    """What makes upper layers, with an autoencoder that decodes drawings and encodes references.

    It is a copy of the pipeline's own, without its layers: not one of a transformer's weights, so that it stays on the
    device where it was last needed. It learns no more.
    """

    def __init__(self, autoencoder: PackedAutoencoder) -> None:
        self._autoencoder = autoencoder.requires_grad_(False)

    @torch.no_grad()
    def of_things(
        self,
        draft: Draft,
        told: Conditioning,
        found: torch.Tensor,
        reference: Reference | None,
        height: int,
        width: int,
    ) -> torch.Tensor:
        """The things of wishes where the draft shows them: [n, 4, 16 * height, 16 * width].

        Args:
            draft: what makes drawings' latents of what is told.
            told: of n wishes.
            found: [n, 3], as in `drawn_where`.
            reference: the picture that is changed, if one is.
            height: of the picture, in tokens.
            width: likewise.
        """
        where = drawn_where(told, found).float()
        is_recoloured = told.is_a("recolour") & (told.field("what 1") != DRAWING)
        where[:, 1] = torch.where(is_recoloured[:, None], found.float(), where[:, 1])
        is_shown = where[..., 2] > 0
        result = where.new_zeros(len(where), 4, 2 * BLOCK * height, 2 * BLOCK * width)
        drawings = draft.drawings(told).float()
        for number in reversed(range(FIGURES)):  # what is named first stands in front
            shown = is_shown[:, number]
            if not shown.any():
                continue
            pixels = self._each(self._autoencoder.picture_of, drawings[shown, number, :CHANNELS])
            laid = torch.zeros_like(result)
            cut_out = matted(pixels, drawings[shown, number, CHANNELS:])
            laid[shown] = _placed(cut_out, where[shown, number], height, width)
            if reference is not None and number == 1:
                laid = _coloured(laid, told, found, reference.pixels, is_recoloured)
            result = over(laid, result)
        return result

    @torch.no_grad()
    def reference(self, tokens: torch.Tensor, grid: tuple[int, int], wanted: tuple[int, int]) -> Reference:
        """Of tokens [n, rows * columns, 1056]; of one of another shape or size the middle, as large as is wanted.

        `grid` and `wanted` are rows and columns of tokens.
        """
        latents = of_tokens(tokens, *grid)
        pixels = of_latents(latents[:, CHANNELS:].float())[:, :3]
        if grid == wanted:
            return Reference(latents[:, :CHANNELS].clone(), pixels)
        pixels = _filling(pixels, (2 * BLOCK * wanted[0], 2 * BLOCK * wanted[1]))
        return Reference(self._each(self._autoencoder.latents_of, pixels).to(tokens.dtype), pixels)

    def _each(self, make: Callable[[torch.Tensor], torch.Tensor], given: torch.Tensor) -> torch.Tensor:
        """One by one, since convolutions sum differently by batch, and each once; in the autoencoder's precision."""
        vae = self._autoencoder.to(given.device)
        _, which = torch.unique(given.cpu(), dim=0, return_inverse=True)  # not every GPU can compare rows
        firsts = [int((which == number).nonzero()[0]) for number in range(int(which.max()) + 1)]
        made = torch.cat([make(given[first : first + 1].to(vae.dtype)) for first in firsts])
        return made.float()[which.to(given.device)]


def matted(pixels: torch.Tensor, covered: torch.Tensor) -> torch.Tensor:
    """Drawings on grey [k, 3, height, width] cut out, as layers.

    `covered` [k, 1, ...] is roughly how much of each part is the drawing.
    """
    covered = functional.interpolate(covered, pixels.shape[2:], mode="bilinear")
    grey = torch.full_like(pixels, GREY / 127.5 - 1)
    differs = _differs(pixels, grey, _ON_GREY)
    within = (covered > _INSIDE[0]).float()
    alike = ((1 - differs) * within).sum((1, 2, 3), keepdim=True) / within.sum((1, 2, 3), keepdim=True).clamp(min=1)
    is_grey = _soft(alike, _GREYISH)
    inside = torch.lerp(_soft(covered, _INSIDE), _soft(covered, _WITHIN_OUTLINE), is_grey)
    return _cut_out(pixels, grey, torch.maximum(differs * (covered > _OUTSIDE), inside))


def _coloured(
    layer: torch.Tensor, told: Conditioning, found: torch.Tensor, pixels: torch.Tensor, is_recoloured: torch.Tensor
) -> torch.Tensor:
    """What becomes of a thing in a picture, with the outline or the colour that the thing has there.

    The outline where it gets another colour, the colour where it gets another shape and no colour is named. Both can
    be seen on a flat ground alone.
    """
    stands, is_flat = _standing_out(pixels, found)
    covered = layer[:, 3:]
    wanted, is_of_one = _flat(layer[:, :3] / covered.clamp(min=_LEAST_COVERED), (covered > _INSIDE[0]).float())
    present, was_of_one = _flat(pixels, (stands > _INSIDE[0]).float())
    named = (told.field("what 1") > 0)[:, None, None, None]
    recoloured = torch.where(is_flat & is_of_one, torch.cat([wanted * stands, stands], 1), layer * named)
    layer = torch.where(is_recoloured[:, None, None, None], recoloured, layer)
    is_doubted = told.in_doubt()[:, None, None, None] & is_flat & was_of_one
    return torch.where(is_doubted, torch.cat([present * covered, covered], 1), layer)


def _standing_out(pixels: torch.Tensor, found: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
    """How much of each pixel belongs to what was found, and whether the ground around it is flat.

    `found` [n, 3] -> [n, 1, height, width] and bool [n, 1, 1, 1].
    """
    height, width = pixels.shape[2:]
    at = points(height // BLOCK, width // BLOCK, pixels.device, BLOCK)
    far = from_middle(found.float(), at).abs().amax(-1)[:, None]
    ground, is_flat = _flat(pixels, ((far > _NEAR) & (far < _AROUND)).float())
    return _differs(pixels, ground, _ON_A_GROUND) * (far < _NEAR), is_flat


@torch.no_grad()
def kept(reference: Reference, latents: torch.Tensor, is_new_ground: torch.Tensor) -> torch.Tensor:
    """What a picture of these latents [n, 8, ...] keeps of its reference: the pixels where its latents are the same.

    Where `is_new_ground` (bool [n]) things stay and what is behind them goes: they are cut out, by how they differ
    from what was there before. Elsewhere the pixels next to a change belong to it.
    """
    change = (latents - reference.latents).float().square().mean(1, keepdim=True)
    stays = 1 - _soft(change, _CHANGED)
    pixels = reference.pixels
    inner = _enlarged(_shrunk(stays), pixels)
    whole = torch.cat([pixels * inner, inner], 1)
    if not is_new_ground.any():
        return whole
    cut_out = _before_a_ground(pixels, stays, inner)
    return torch.where(is_new_ground[:, None, None, None], cut_out, whole)


def _before_a_ground(pixels: torch.Tensor, stays: torch.Tensor, inner: torch.Tensor) -> torch.Tensor:
    """What stands before the ground of pictures, cut out: `stays` is of each latent, `inner` of each pixel."""
    is_ground = (functional.max_pool2d(stays, 3, 1, 1) < 0.5).float()
    is_ground = functional.interpolate(is_ground, scale_factor=BLOCK, mode="nearest")
    even, is_even = _flat(pixels, is_ground)
    ground = torch.where(is_even, even, _continued(pixels, is_ground))
    difference = (pixels - ground).abs().amax(1, keepdim=True)
    differs = _soft(difference, _ON_A_GROUND)
    is_thing = torch.maximum(differs * _enlarged(stays, pixels), inner)
    covered = torch.where(is_even, differs, is_thing)
    # Pixels on an edge are a mixture: they differ less than those beside them that are the thing's alone.
    mixed = difference / functional.max_pool2d(difference, 5, 1, 2).clamp(min=1e-4)
    is_edge = _shrunk(covered) < 0.5
    return _cut_out(pixels, ground, torch.where(is_edge, torch.minimum(covered, mixed), covered))


def _flat(pixels: torch.Tensor, weights: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
    """The colour [n, 3, 1, 1] of the middle of those with a weight, and whether most have it: bool [n, 1, 1, 1]."""
    among = torch.where(weights > 0, pixels, torch.nan).flatten(2)
    colour = among.cpu().nanmedian(2).values.nan_to_num().to(pixels.device)[..., None, None]
    has_it = ((pixels - colour).abs().amax(1, keepdim=True) < _ALIKE) * weights
    share = has_it.sum((1, 2, 3), keepdim=True) / weights.sum((1, 2, 3), keepdim=True).clamp(min=1)
    return colour, share > _MOST


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


def _cut_out(pixels: torch.Tensor, behind: torch.Tensor, covered: torch.Tensor) -> torch.Tensor:
    """The layer that has these pixels over what is behind it."""
    colours = (pixels - (1 - covered) * behind) / covered.clamp(min=_LEAST_COVERED)
    return torch.cat([colours.clamp(-1, 1) * covered, covered], 1)


def _differs(pixels: torch.Tensor, behind: torch.Tensor, bounds: tuple[float, float]) -> torch.Tensor:
    return _soft((pixels - behind).abs().amax(1, keepdim=True), bounds)


def _soft(value: torch.Tensor, bounds: tuple[float, float]) -> torch.Tensor:
    """0 up to the first bound, 1 from the second on."""
    low, high = bounds
    return ((value - low) / (high - low)).clamp(0, 1)


def _shrunk(stays: torch.Tensor) -> torch.Tensor:
    return -functional.max_pool2d(-stays, 3, 1, 1)


def _enlarged(share: torch.Tensor, pixels: torch.Tensor) -> torch.Tensor:
    return functional.interpolate(share, pixels.shape[2:], mode="bilinear")


def _placed(cut_out: torch.Tensor, where: torch.Tensor, height: int, width: int) -> torch.Tensor:
    """Layers of one thing each [k, 4, ...] where they stand [k, 3]: [k, 4, pixels high, pixels wide]."""
    finer = points(height, width, where.device, 2 * BLOCK * _SUPERSAMPLED)
    at = from_middle(where, finer) / MARGIN
    laid = functional.grid_sample(cut_out, at, padding_mode="zeros", align_corners=False)
    return functional.avg_pool2d(laid, _SUPERSAMPLED)


def _filling(pixels: torch.Tensor, wanted: tuple[int, int]) -> torch.Tensor:
    """The middle of pictures, as large as is wanted."""
    scale = max(sought / have for sought, have in zip(wanted, pixels.shape[2:], strict=True))
    sizes = [max(sought, round(have * scale)) for sought, have in zip(wanted, pixels.shape[2:], strict=True)]
    pixels = functional.interpolate(pixels, sizes, mode="bilinear", antialias=True)
    top, left = ((have - sought) // 2 for have, sought in zip(sizes, wanted, strict=True))
    return pixels[:, :, top : top + wanted[0], left : left + wanted[1]]
