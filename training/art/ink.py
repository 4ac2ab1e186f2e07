"""Colours for drawings that are of black alone: fonts and icons."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Final

import numpy as np
from PIL import Image, ImageDraw, ImageFilter
from scipy import ndimage

from training.art.render import SIDE

Colour = tuple[int, int, int]
_INK: Final = 96
"""A line is as opaque as this, 0-255, where a colour must not run out of it."""
_WIDENED: Final = 5
"""Lines are made wider by this many pixels, an odd number, before it is looked at what they enclose: one fewer is the
widest gap that they may have."""
_SOLID: Final = 0.5
"""Where more of what is enclosed is ink than this, it is a surface, not lines."""


def colours_of(drawing: np.ndarray) -> tuple[Colour, ...]:
    """Up to four colours that most of a drawing has, uint8 [128, 128, 4], without the darkest: those are its lines."""
    seen = drawing[drawing[..., 3] > 200][:, :3]
    if not len(seen):
        return ()
    few = Image.fromarray(seen[None]).quantize(6, kmeans=1)
    palette = np.array(few.getpalette()).reshape(-1, 3)
    found = [palette[number] for _, number in sorted(few.getcolors() or [], reverse=True)]  # type: ignore[call-overload]
    return tuple((int(r), int(g), int(b)) for r, g, b in found if max(r, g, b) > 70)[:4]


def coloured(drawing: np.ndarray, colours: Sequence[Colour]) -> np.ndarray:
    """Ink, uint8 [128, 128, 4], with colours, the most usual first.

    Lines stay black, and what they enclose is filled. Surfaces of ink take the first colour, and have black edges.
    """
    ink = Image.fromarray(drawing[..., 3])
    inside = _enclosed(ink)
    is_ink = drawing[..., 3] > _INK
    holes, count = ndimage.label(inside & ~is_ink)
    sizes = ndimage.sum_labels(np.ones_like(holes), holes, range(1, count + 1))
    is_solid = is_ink.sum() > _SOLID * inside.sum()
    fill = np.zeros((SIDE, SIDE, 4), np.uint8)
    for rank, hole in enumerate(np.argsort(-sizes)):
        fill[holes == hole + 1] = (*colours[(rank + is_solid) % len(colours)], 255)
    if is_solid:
        surface = drawing.copy()
        surface[..., :3] = colours[0]
        edges = np.asarray(ink.filter(ImageFilter.FIND_EDGES).filter(ImageFilter.MaxFilter(3)))
        surface[edges > _INK, :3] = 0
        drawing = surface
    else:
        # Under the lines themselves lies a colour too, so that their soft edges do not let the ground through.
        nearest = ndimage.distance_transform_edt(fill[..., 3] == 0, return_distances=False, return_indices=True)
        under = fill[tuple(nearest)]
        fill = np.where((inside & is_ink)[..., None], under, fill)
    whole = Image.fromarray(fill)
    whole.alpha_composite(Image.fromarray(drawing))
    return np.asarray(whole)


def _enclosed(ink: Image.Image) -> np.ndarray:
    """Bool [128, 128]: what lines enclose, with small gaps in them closed, and the lines themselves."""
    walls = Image.new("L", (SIDE + 2 * _WIDENED, SIDE + 2 * _WIDENED))
    walls.paste(ink.point(lambda alpha: 255 if alpha > _INK else 0), (_WIDENED, _WIDENED))
    thick = walls.filter(ImageFilter.MaxFilter(_WIDENED))
    ImageDraw.floodfill(thick, (0, 0), 128)
    # What the flood has not reached is enclosed; it stopped early, at the thickened lines.
    outside = thick.point(lambda level: 255 if level == 128 else 0).filter(ImageFilter.MaxFilter(_WIDENED))
    is_outside = (np.asarray(outside) > 0) & (np.asarray(walls) == 0)
    enclosed: np.ndarray = ~is_outside[_WIDENED:-_WIDENED, _WIDENED:-_WIDENED]
    return enclosed
