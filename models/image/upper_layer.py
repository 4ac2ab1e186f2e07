"""What lies in the upper layer of the built-in picture model's pictures: pixels that need no painting.

These are the things that are asked for, decoded as large as can be from what the encoder tells of them and then made as
small as they shall be; and, of a picture that is changed, what stays as it was.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Final

import torch
from torch.nn import functional

from models.image.cut_outs import (
    INSIDE,
    LEAST_COVERED,
    ON_A_GROUND,
    cut_out,
    difference,
    enlarged,
    flat,
    matted,
    placed,
    resized,
    shrunk,
    soft,
)
from models.image.draft import CHANNELS, Draft, from_middle, points
from models.image.layers import BLOCK, of_latents, of_tokens, over
from models.image.matching import hanging_together, match, nearest
from models.image.wishes import ABOUT_A_THING, DRAWING, FIGURES, PLACES, SCALES, Conditioning, drawn_where

if TYPE_CHECKING:
    from collections.abc import Callable

    from models.image.autoencoder import PackedAutoencoder

_CHANGED: Final = (0.3, 0.8)
"""From and to how large a mean square difference of its channels a latent counts as changed."""
_NEAR, _AROUND = 1.3, 3.0
"""A thing lies within the first, the ground around it between the two, in half sides from its middle."""
_WITHIN: Final = 0.9
"""A part of a picture of which so much is within the square of what was found belongs to it."""


@dataclass(frozen=True)
class Reference:
    """A picture that is to be changed.

    Attributes:
        latents: those of its lower layer, [n, 8, height / 8, width / 8].
        pixels: [n, 3, height, width], -1 … 1.
    """

    latents: torch.Tensor
    pixels: torch.Tensor


@dataclass(frozen=True)
class _Sought:
    """What changes are about, as it stands in pictures.

    Attributes:
        stands: how much of each pixel belongs to it, [n, 1, height, width].
        ground: the colour around it, [n, 3, 1, 1].
        is_flat: whether the ground around it is of that colour: bool [n, 1, 1, 1].
        is_apart: whether it is known to the pixel, since nothing touches it there: likewise.
    """

    stands: torch.Tensor
    ground: torch.Tensor
    is_flat: torch.Tensor
    is_apart: torch.Tensor


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

        Of a change to what stands apart on a flat ground it is the whole picture: nothing is left to be painted.

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
        is_about = told.is_a(*ABOUT_A_THING)
        sought = _sought(reference.pixels, found) if reference is not None and is_about.any() else None
        drawings = draft.drawings(told).float()
        for number in reversed(range(FIGURES)):  # what is named first stands in front
            shown = is_shown[:, number]
            if not shown.any():
                continue
            laid = torch.zeros_like(result)
            laid[shown] = placed(self._cut_out(drawings[shown, number]), where[shown, number], *laid.shape[2:])
            if reference is not None and sought is not None and number == 1:
                laid = _coloured(laid, told, sought, reference.pixels, is_recoloured)
            result = over(laid, result)
        if reference is None or sought is None:
            return result
        for number in (told.resizes_it() & sought.is_apart.flatten()).nonzero()[:, 0].tolist():
            one = slice(number, number + 1)
            thing = cut_out(reference.pixels[one].float(), sought.ground[one], sought.stands[one])
            result[one] = resized(thing, SCALES[int(told.field("size 1")[number])])
        is_done = is_about & (told.is_a("remove") | (result[:, 3] > 0).flatten(1).any(1))
        without = _without(reference.pixels, sought)
        return torch.where(is_done[:, None, None, None] & sought.is_apart, over(result, without), result)

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

    @torch.no_grad()
    def matched(self, draft: Draft, told: Conditioning, found: torch.Tensor, reference: Reference) -> torch.Tensor:
        """What was found [n, 3], put right by pixels where it stands on a flat ground."""
        is_about, is_told = told.is_a(*ABOUT_A_THING), told.field("what 0") > 0
        by_colour = (told.field("what 0") == DRAWING) | (told.field("colour 0") > 0)
        drawings, places, found = (
            draft.drawings(told)[:, 0].float(),
            found.new_tensor([*PLACES.values()]),
            found.clone(),
        )
        for number in is_about.nonzero()[:, 0].tolist():
            pixels, near, said = reference.pixels[number], found[number], int(told.field("place 0")[number])
            if said:
                near = torch.cat([places[said - 1], near[2:]])
            if is_told[number]:
                drawing = self._cut_out(drawings[number : number + 1])[0]
                where = match(drawing, pixels, near, by_colour=bool(by_colour[number]))
            else:
                where = nearest(near, pixels)
            found[number] = found[number] if where is None else where.to(found)
        return found

    def _cut_out(self, drawings: torch.Tensor) -> torch.Tensor:
        """Layers of drawings [k, 9, 16, 16], as large as can be."""
        pixels = self._each(self._autoencoder.picture_of, drawings[:, :CHANNELS])
        return matted(pixels, drawings[:, CHANNELS:])

    def _each(self, make: Callable[[torch.Tensor], torch.Tensor], given: torch.Tensor) -> torch.Tensor:
        """One by one, since convolutions sum differently by batch, and each once; in the autoencoder's precision."""
        vae = self._autoencoder.to(given.device)
        _, which = torch.unique(given.cpu(), dim=0, return_inverse=True)  # not every GPU can compare rows
        firsts = [int((which == number).nonzero()[0]) for number in range(int(which.max()) + 1)]
        made = torch.cat([make(given[first : first + 1].to(vae.dtype)) for first in firsts])
        return made.float()[which.to(given.device)]


def _coloured(
    layer: torch.Tensor, told: Conditioning, sought: _Sought, pixels: torch.Tensor, is_recoloured: torch.Tensor
) -> torch.Tensor:
    """What becomes of a thing in a picture, with the outline or the colour that the thing has there.

    The outline where it gets another colour, the colour where it gets another shape and no colour is named. Both can
    be seen on a flat ground alone.
    """
    stands, is_flat, covered = sought.stands, sought.is_flat, layer[:, 3:]
    wanted, is_of_one = flat(layer[:, :3] / covered.clamp(min=LEAST_COVERED), (covered > INSIDE[0]).float())
    present, was_of_one = flat(pixels, (stands > INSIDE[0]).float())
    named = (told.field("what 1") > 0)[:, None, None, None]
    recoloured = torch.where(is_flat & is_of_one, torch.cat([wanted * stands, stands], 1), layer * named)
    layer = torch.where(is_recoloured[:, None, None, None], recoloured, layer)
    is_doubted = told.in_doubt()[:, None, None, None] & is_flat & was_of_one
    return torch.where(is_doubted, torch.cat([present * covered, covered], 1), layer)


def _sought(pixels: torch.Tensor, found: torch.Tensor) -> _Sought:
    """What was found [n, 3] in pictures."""
    height, width = pixels.shape[2:]
    at = points(height // BLOCK, width // BLOCK, pixels.device, BLOCK)
    far = from_middle(found.float(), at).abs().amax(-1)[:, None]
    ground, is_flat = flat(pixels, ((far > _NEAR) & (far < _AROUND)).float())
    stands = soft(difference(pixels, ground), ON_A_GROUND)
    numbered = hanging_together(((stands > 0.5) & is_flat).float()).long()
    is_part = torch.stack([_mostly(each, away < 1) for each, away in zip(numbered, far, strict=True)])
    is_apart = is_flat & is_part.flatten(1).any(1)[:, None, None, None]
    near = torch.where(is_apart, _grown(is_part), (far < _NEAR).float())
    return _Sought(stands * near, ground, is_flat, is_apart)


def _mostly(numbered: torch.Tensor, within: torch.Tensor) -> torch.Tensor:
    """The pixels of those numbers, from 1, that are mostly within a part of a picture: bool, as `numbered`."""
    numbers = numbered.flatten().cpu()
    inside = torch.bincount(numbers[within.flatten().cpu()], minlength=int(numbers.max()) + 1)
    mostly = inside > _WITHIN * torch.bincount(numbers)
    mostly[0] = False
    return mostly.to(numbered.device)[numbered]


def _without(pixels: torch.Tensor, sought: _Sought) -> torch.Tensor:
    """Layers of whole pictures from which something is gone that stood apart."""
    hidden = _grown(sought.stands > 0)
    return torch.cat([torch.lerp(pixels, sought.ground.expand_as(pixels), hidden), torch.ones_like(hidden)], 1)


def _grown(mask: torch.Tensor) -> torch.Tensor:
    """With what is within two pixels of it, where edges are blended."""
    return functional.max_pool2d(mask.float(), 5, 1, 2)


@torch.no_grad()
def kept(reference: Reference, latents: torch.Tensor) -> torch.Tensor:
    """What a picture of these latents [n, 8, ...] keeps of its reference: the pixels where its latents are the same.

    The pixels next to a change belong to it.
    """
    change = (latents - reference.latents).float().square().mean(1, keepdim=True)
    stays = enlarged(shrunk(1 - soft(change, _CHANGED)), reference.pixels)
    return torch.cat([reference.pixels * stays, stays], 1)


def _filling(pixels: torch.Tensor, wanted: tuple[int, int]) -> torch.Tensor:
    """The middle of pictures, as large as is wanted."""
    scale = max(sought / have for sought, have in zip(wanted, pixels.shape[2:], strict=True))
    sizes = [max(sought, round(have * scale)) for sought, have in zip(wanted, pixels.shape[2:], strict=True)]
    pixels = functional.interpolate(pixels, sizes, mode="bilinear", antialias=True)
    top, left = ((have - sought) // 2 for have, sought in zip(sizes, wanted, strict=True))
    return pixels[:, :, top : top + wanted[0], left : left + wanted[1]]
