"""A picture looked at in several ways: mirrored, turned a little, moved, squeezed, slanted."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

import torch
from torch import Tensor
from torch.nn import functional


@dataclass(frozen=True)
class View:
    """One way to look at a square picture; beyond its edge all is as at the edge.

    Attributes:
        mirrored: left and right change places, before all else.
        turned: by so many radians around the middle, against the clock.
        moved: by such shares of half a side, to the left and up.
        squeezed: how many times narrower and lower it becomes.
        slanted: its top goes so much further to the left than its middle, in shares of half a side.
    """

    mirrored: bool = False
    turned: float = 0.0
    moved: tuple[float, float] = (0.0, 0.0)
    squeezed: tuple[float, float] = (1.0, 1.0)
    slanted: float = 0.0

    def where(self) -> list[list[float]]:
        """Where in the picture a point of the view is, as `affine_grid` has it."""
        cos, sin = math.cos(self.turned), math.sin(self.turned)
        (across, down), (wide, high) = self.moved, self.squeezed
        row = [cos * wide, -sin * high - self.slanted, across]
        return [[-part for part in row] if self.mirrored else row, [sin * wide, cos * high, down]]


def seen(picture: Tensor, views: Sequence[View]) -> Tensor:
    """A picture, float [1, channels, side, side] in -1..1, in so many ways: [views, channels, side, side]."""
    where = torch.tensor([view.where() for view in views])
    grid = functional.affine_grid(where, [len(views), *picture.shape[1:]], align_corners=False)
    # On the CPU: Metal samples neither bicubically nor beyond an edge.
    pictures = picture.float().cpu().expand(len(views), -1, -1, -1)
    found = functional.grid_sample(pictures, grid, mode="bicubic", padding_mode="border", align_corners=False)
    return found.clamp(-1, 1).to(picture.device, picture.dtype)
