"""The ways in which a picture is looked at."""

from __future__ import annotations

import math

import pytest
import torch

from models.views import View, seen


def test_a_view_is_the_picture_mirrored_turned_moved_squeezed_or_slanted() -> None:
    picture = -torch.ones(1, 1, 64, 64)
    picture[..., 28:36, 12:20] = 1  # a spot at (16, 32)
    views = {
        View(): (16.0, 32.0),
        View(mirrored=True): (48.0, 32.0),
        View(turned=math.pi / 2): (32.0, 48.0),
        View(moved=(0.25, -0.25)): (8.0, 40.0),
        View(mirrored=True, moved=(0.25, 0.0)): (40.0, 32.0),
        View(squeezed=(1.25, 1.0)): (19.2, 32.0),
    }
    found = seen(picture, tuple(views))
    assert found.shape == (6, 1, 64, 64)
    for view, (x, y) in zip(found, views.values(), strict=True):
        assert middle(view) == pytest.approx((x, y), abs=0.3)
    torch.testing.assert_close(found[:1], picture, atol=1e-3, rtol=0)
    column = -torch.ones(1, 1, 64, 64)
    column[..., :8, 28:36] = column[..., 56:, 28:36] = 1
    slanted = seen(column, [View(slanted=0.25)])[0]
    assert middle(slanted[:, :8])[0] == pytest.approx(32 - 0.25 * 28, abs=0.3)
    assert middle(slanted[:, 56:])[0] == pytest.approx(32 + 0.25 * 28, abs=0.3)


def middle(picture: torch.Tensor) -> tuple[float, float]:
    """Where what is lit in [1, height, width] has its middle, in pixels."""
    lit = (picture[0] + 1) / (picture + 1).sum()
    down, across = (torch.arange(size) + 0.5 for size in lit.shape)
    return float((lit.sum(0) * across).sum()), float((lit.sum(1) * down).sum())


def test_what_lies_beyond_the_edge_of_a_picture_is_as_at_its_edge() -> None:
    picture = torch.zeros(1, 1, 32, 32)
    picture[..., -1] = 1
    assert (seen(picture, [View(moved=(0.5, 0.0))])[..., 24:] > 0.9).all()
