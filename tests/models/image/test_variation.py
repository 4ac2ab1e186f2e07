"""Variations of pictures, by layers that lie over their ground."""

from __future__ import annotations

import pytest
import torch

from models.image.layers import LATENTS, of_latents, of_tokens
from models.image.variation import ground_of, varied
from tests.models.image.wishes import (
    BLUE,
    PAINTED,
    RED,
    ids,
    of_picture,
    painter,
    plain,
    told,
    velocity,
)

STILL = torch.tensor([0.0, 0.0, 0.0, 1.0])
MIRRORED = torch.tensor([0.0, 0.0, 0.0, -1.0])


def standing(*columns: slice) -> torch.Tensor:
    stands = torch.zeros(1, 16, 16)
    for each in columns:
        stands[:, 4:12, each] = 1
    return stands


def on_blue(first: int, last: int) -> torch.Tensor:
    picture = plain(BLUE)[0]
    picture[:, 40:88, first:last] = RED.view(3, 1, 1)
    return picture


def uneven() -> torch.Tensor:
    torch.manual_seed(0)
    return torch.rand(3, 128, 128) * 2 - 1


def where(layer: torch.Tensor) -> torch.Tensor:
    """The middle of what is red, x and y in pixels."""
    is_red = (layer[:3] - RED.view(3, 1, 1)).abs().amax(0) < 0.3
    rows, columns = is_red.nonzero().unbind(1)
    return torch.stack([columns.float().mean(), rows.float().mean()]) + 0.5


def test_on_one_colour_things_go_elsewhere_and_the_ground_stays() -> None:
    picture, stands = on_blue(40, 72), standing(slice(5, 9))
    same = varied(picture, stands, STILL, is_familiar=False)
    assert torch.allclose(same[:3], picture, atol=0.6)
    assert (same[3] > 0.999).all()
    assert torch.allclose(where(same), torch.tensor([56.0, 64.0]), atol=0.5)
    moved = varied(picture, stands, torch.tensor([1.0, -1.0, 0.0, 1.0]), is_familiar=True)
    assert torch.allclose(where(moved), torch.tensor([62.4, 57.6]), atol=0.5)
    assert torch.allclose(moved[:3, 2, 2], BLUE.flatten(), atol=1e-4)
    mirrored = varied(picture, stands, MIRRORED, is_familiar=True)
    assert torch.allclose(where(mirrored), torch.tensor([72.0, 64.0]), atol=0.5)
    larger = varied(picture, stands, torch.tensor([0.0, 0.0, 2.0, 1.0]), is_familiar=True)
    areas = [((each[:3] - RED.view(3, 1, 1)).abs().amax(0) < 0.3).sum() for each in (same, larger)]
    assert (areas[1] / areas[0]).item() == pytest.approx(1.49, rel=0.1)


@pytest.mark.parametrize("seed", range(8))
def test_what_is_whole_stays_whole(seed: int) -> None:
    by = 4 * torch.randn(4, generator=torch.Generator().manual_seed(seed))
    layer = varied(on_blue(4, 100), standing(slice(0, 13)), by, is_familiar=False)
    is_red = (layer[:3] - RED.view(3, 1, 1)).abs().amax(0) < 0.3
    assert not is_red[:, [0, -1]].any()
    assert not is_red[[0, -1]].any()
    assert is_red.sum() > 0.5 * 96 * 48


def test_of_a_painted_ground_nothing_is_kept_but_what_stands_before_it() -> None:
    picture = uneven() * 0.1 + BLUE[0] * 0.5
    picture[:, 40:88, 40:88] = RED.view(3, 1, 1)
    picture[2] += torch.linspace(-0.5, 0.5, 128)[:, None]
    layer = varied(picture, standing(slice(5, 11)), STILL, is_familiar=True)
    assert layer[3, 56:72, 56:72].amin() > 0.9
    assert layer[3, :20].amax() < 0.1
    cut = picture.clone()
    cut[:, 40:88, :88] = RED.view(3, 1, 1)
    stands = standing(slice(0, 11))
    still, mirrored = (varied(cut, stands, by, is_familiar=True) for by in (STILL, MIRRORED))
    assert torch.equal(still.flip(2), mirrored), "what the edge cuts does not come away from it"


def test_what_is_known_by_nothing_is_seen_a_little_closer() -> None:
    picture = uneven()
    layer = varied(picture, standing(), STILL, is_familiar=False)
    assert (layer[3] > 0.999).all()
    mirrored = varied(picture, standing(), MIRRORED, is_familiar=False)
    assert torch.allclose(mirrored, layer.flip(2), atol=1e-5)
    nothing = varied(plain(BLUE)[0], standing(), torch.tensor([2.0, 2.0, 2.0, 1.0]), is_familiar=False)
    assert torch.allclose(nothing[:3], plain(BLUE)[0], atol=1e-5)


def test_a_ground_is_told_by_what_of_it_is_seen() -> None:
    torch.manual_seed(0)
    grounds = torch.randn(5, 8, 16, 16)
    latents = grounds[3] + 0.2 * torch.randn(8, 16, 16)
    assert ground_of(latents, standing(), grounds) == 3
    latents[:, 4:12, 4:12] = 5
    assert ground_of(latents, standing(slice(4, 12)), grounds) == 3
    assert ground_of(latents, torch.ones(1, 16, 16), grounds) == 0, "nothing of it is seen"
    assert ground_of(torch.randn(8, 16, 16), standing(), grounds) == 0, "it is another"


@pytest.mark.parametrize("is_familiar", [True, False])
def test_a_change_that_says_nothing_is_a_variation_and_guidance_leads_away_from_no_ground(is_familiar: bool) -> None:
    model, pixels = painter(), plain(BLUE)
    pixels[..., 64:, :] += 0.5
    reference = of_picture(pixels)
    with torch.no_grad():
        model.draft.grounds.weight.normal_(std=30)  # so that no ground looks like another, and nothing stands
        model.proj_out.weight.mul_(5)
        if is_familiar:
            model.draft.grounds.weight[3] = of_tokens(reference[..., :PAINTED], 8, 8).flatten()
    positions = torch.cat([ids(8, 8), ids(8, 8, of_reference=True)])
    tokens = torch.cat([torch.randn(1, 64, 4 * LATENTS), reference], 1)
    asked, away = (velocity(model, told(), tokens, positions) for _ in range(2))
    assert torch.equal(asked[..., PAINTED:], away[..., PAINTED:])
    assert torch.equal(asked[..., :PAINTED], away[..., :PAINTED]) is not is_familiar
    layer = of_latents(of_tokens((tokens[:, :64] - asked)[..., PAINTED:], 8, 8))
    assert bool((layer[:, 3] > 0.99).all()) is not is_familiar, "what cannot be painted is covered"
