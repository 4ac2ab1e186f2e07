"""The ways in which a picture is looked at."""

from __future__ import annotations

import pytest
import torch

from models.views import View, seen


def test_a_view_is_the_picture_as_it_is_mirrored_or_squeezed() -> None:
    picture = -torch.ones(1, 1, 64, 64)
    picture[..., 20:28, 12:20] = 1  # a spot at (16, 24)
    views = {
        View(): (16.0, 24.0),
        View(mirrored=True): (48.0, 24.0),
        View(squeezed=(1.25, 1.0)): (19.2, 24.0),
        View(squeezed=(1.0, 2.0)): (16.0, 28.0),
        View(mirrored=True, squeezed=(1.25, 2.0)): (44.8, 28.0),
    }
    found = seen(picture, tuple(views))
    assert found.shape == (5, 1, 64, 64)
    for view, place in zip(found, views.values(), strict=True):
        assert middle(view) == pytest.approx(place, abs=0.3)
    torch.testing.assert_close(found[:1], picture, atol=1e-3, rtol=0)


def middle(picture: torch.Tensor) -> tuple[float, float]:
    """Where what is lit in [1, height, width] has its middle, in pixels."""
    lit = (picture[0] + 1) / (picture + 1).sum()
    down, across = (torch.arange(size) + 0.5 for size in lit.shape)
    return float((lit.sum(0) * across).sum()), float((lit.sum(1) * down).sum())


def test_what_lies_beyond_the_edge_of_a_picture_is_as_at_its_edge() -> None:
    picture = torch.zeros(1, 1, 32, 32)
    picture[..., -1] = 1
    assert (seen(picture, [View(squeezed=(2.0, 1.0))])[..., 25:] > 0.9).all()
