"""Where in a picture a drawing is, told by pixels on a flat ground."""

from __future__ import annotations

import pytest
import torch

from models.image.matching import hanging_together, match, nearest
from tests.models.image.wishes import BLUE, RED, YELLOW, plain, with_square

MIDDLE = torch.tensor([0.5, 0.5, 0.5])


def disc(colour: torch.Tensor, side: int = 128) -> torch.Tensor:
    """A layer with a disc as wide as a drawing is."""
    rows, columns = torch.meshgrid(torch.linspace(-1, 1, side), torch.linspace(-1, 1, side), indexing="ij")
    covered = (rows**2 + columns**2 < (7 / 8) ** 2).float()[None]
    return torch.cat([colour[0] * covered, covered])


def with_disc(picture: torch.Tensor, colour: torch.Tensor, x: int, y: int, radius: int) -> torch.Tensor:
    rows, columns = torch.meshgrid(torch.arange(picture.shape[2]), torch.arange(picture.shape[3]), indexing="ij")
    inside = (rows - y) ** 2 + (columns - x) ** 2 < radius**2
    return torch.where(inside, colour, picture)


@pytest.mark.parametrize("scale", [1, 4])
def test_a_drawing_is_found_among_other_things_by_its_outline(scale: int) -> None:
    side = 128 * scale
    picture = with_square(plain(YELLOW, side), RED, 10 * scale, 50 * scale)
    picture = with_disc(picture, BLUE, 90 * scale, 80 * scale, 20 * scale)
    where = match(disc(RED), picture[0], MIDDLE, by_colour=False)
    assert where is not None
    assert where.tolist() == pytest.approx([90 / 128, 80 / 128, 40 / 128], abs=0.02)


def test_of_two_that_are_alike_the_one_of_its_colour_is_found() -> None:
    picture = with_disc(with_disc(plain(YELLOW), RED, 30, 30, 15), BLUE, 90, 80, 20)
    for colour, x in ((RED, 30), (BLUE, 90)):
        where = match(disc(colour), picture[0], MIDDLE, by_colour=True)
        assert where is not None
        assert where[0].item() == pytest.approx(x / 128, abs=0.01)


def test_of_two_that_fit_as_well_the_one_where_it_is_expected_is_found() -> None:
    picture = with_disc(with_disc(plain(YELLOW), BLUE, 30, 60, 20), BLUE, 95, 64, 20)
    for x in (30, 95):
        where = match(disc(BLUE), picture[0], torch.tensor([x / 128 + 0.1, 0.3, 0.4]), by_colour=True)
        assert where is not None
        assert where[0].item() == pytest.approx(x / 128, abs=0.01)


def test_in_a_wide_picture_a_place_is_a_share_of_each_side() -> None:
    picture = with_disc(YELLOW.expand(-1, -1, 96, 192).clone(), BLUE, 150, 30, 20)
    where = match(disc(BLUE), picture[0], MIDDLE, by_colour=True)
    assert where is not None
    assert where.tolist() == pytest.approx([150 / 192, 30 / 96, 40 / 96], abs=0.02)
    near = nearest(torch.tensor([0.6, 0.6, 0.5]), picture[0])
    assert near is not None
    assert near.tolist() == pytest.approx(where.tolist(), abs=0.03)


def test_nothing_is_found_that_does_not_fit_nor_on_an_uneven_ground() -> None:
    bar = plain(YELLOW)
    bar[..., 60:66, 20:110] = RED
    assert match(disc(RED), bar[0], MIDDLE, by_colour=True) is None
    assert match(disc(RED), plain(YELLOW)[0], MIDDLE, by_colour=True) is None
    assert match(torch.zeros(4, 128, 128), bar[0], MIDDLE, by_colour=True) is None
    uneven = with_disc(torch.rand(1, 3, 128, 128) * 2 - 1, RED, 64, 64, 30)
    assert match(disc(RED), uneven[0], MIDDLE, by_colour=True) is None
    assert nearest(torch.tensor([0.5, 0.5, 0.5]), uneven[0]) is None


def test_pixels_that_touch_have_one_number_and_others_another() -> None:
    stands = torch.zeros(2, 1, 20, 20)
    stands[0, 0, 2:5, 2:5] = stands[0, 0, 5:9, 5:9] = stands[0, 0, 12:15, 3:8] = 1
    stands[1, 0, 1:19, 10] = 1
    numbered = hanging_together(stands)
    assert ((numbered > 0) == (stands > 0)).all()
    assert numbered[0, 0, 3, 3] == numbered[0, 0, 8, 8] != numbered[0, 0, 13, 4]
    assert len(set(numbered[0].flatten().tolist())) == 3
    assert len(set(numbered[1].flatten().tolist())) == 2
