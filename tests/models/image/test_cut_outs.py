"""Things are cut out of pictures, of drawings and of what is to be changed."""

from __future__ import annotations

import pytest
import torch

from models.image.cut_outs import GREY, before_a_ground, matted, placed
from models.image.layers import over
from tests.models.image.wishes import BLUE, RED, YELLOW, grey, plain, with_square


def test_a_drawing_is_cut_out_of_the_grey_that_it_stands_on_with_what_is_grey_inside_it() -> None:
    drawing = with_square(grey(), RED, 32, 96)
    drawing[..., 60:68, 60:68] = GREY / 127.5 - 1
    covered = torch.zeros(1, 1, 16, 16)
    covered[..., 4:12, 4:12] = 1
    layer = matted(drawing, covered)
    assert (layer[0, 3, 32:96, 32:96] == 1).all()
    assert layer[0, 3, :24].amax() == 0
    assert torch.allclose(layer[0, :3, 40, 40], RED.flatten())


def standing(first: int = 5, last: int = 11) -> torch.Tensor:
    stands = torch.zeros(1, 1, 16, 16)
    stands[..., first:last, first:last] = 1
    return stands


def test_a_thing_is_cut_out_for_another_ground_without_the_colour_of_the_old_one() -> None:
    layer = before_a_ground(with_square(plain(BLUE), RED), standing())
    picture = over(layer, plain(YELLOW))
    assert torch.allclose(picture[..., 42:86, 42:86], plain(RED)[..., 42:86, 42:86])
    assert torch.allclose(picture[..., :38, :], plain(YELLOW)[..., :38, :])
    assert (picture - BLUE).abs().amax(1).amin() > 0.5, "no pixel of the old ground"


def test_on_an_uneven_ground_its_outline_is_found_by_colour_within_what_is_roughly_known() -> None:
    torch.manual_seed(0)
    shades = torch.rand(1, 1, 1, 128) * 0.6
    ground = BLUE + shades * torch.tensor([0.0, 1.0, 0.0]).view(1, 3, 1, 1) + torch.zeros(1, 1, 128, 1)
    layer = before_a_ground(with_square(ground, RED, 44, 84), standing())
    covered = layer[0, 3]
    assert covered[48:80, 48:80].amin() > 0.95
    assert covered[:34].amax() < 0.05
    roughly = torch.nn.functional.interpolate(standing(), (128, 128), mode="bilinear")[0, 0]
    exact = torch.zeros(128, 128)
    exact[44:84, 44:84] = 1
    assert (covered - exact).abs().mean() < (roughly - exact).abs().mean() / 2


@pytest.mark.parametrize("size", [(96, 160), (128, 128), (256, 80)])
def test_a_layer_is_placed_in_pictures_of_any_size(size: tuple[int, int]) -> None:
    layer = torch.cat([RED, torch.ones(1, 1, 1, 1)], 1).expand(-1, -1, 64, 64)
    laid = placed(layer, torch.tensor([[0.5, 0.5, 0.5]]), *size)
    assert laid.shape == (1, 4, *size)
    side = min(size) * 0.5 * 8 / 7
    assert laid[0, 3].sum().sqrt().item() == pytest.approx(side, rel=0.05)
    assert torch.allclose(laid[0, :3, size[0] // 2, size[1] // 2], RED.flatten())
