"""A picture looked at in several ways: mirrored, or squeezed."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import torch
from torch import Tensor
from torch.nn import functional


@dataclass(frozen=True)
class View:
    """One way to look at a picture; beyond its edge all is as at the edge.

    Attributes:
        mirrored: left and right change places.
        squeezed: how many times narrower and lower it becomes.
    """

    mirrored: bool = False
    squeezed: tuple[float, float] = (1.0, 1.0)

    def where(self) -> list[list[float]]:
        """Where in the picture a point of the view is, as `affine_grid` has it."""
        wide, high = self.squeezed
        return [[-wide if self.mirrored else wide, 0.0, 0.0], [0.0, high, 0.0]]


def seen(picture: Tensor, views: Sequence[View]) -> Tensor:
    """A picture, float [1, channels, height, width] in -1..1, in so many ways: [views, channels, height, width]."""
    where = torch.tensor([view.where() for view in views])
    grid = functional.affine_grid(where, [len(views), *picture.shape[1:]], align_corners=False)
    # On the CPU: Metal samples neither bicubically nor beyond an edge.
    pictures = picture.float().cpu().expand(len(views), -1, -1, -1)
    found = functional.grid_sample(pictures, grid, mode="bicubic", padding_mode="border", align_corners=False)
    return found.clamp(-1, 1).to(picture.device, picture.dtype)
