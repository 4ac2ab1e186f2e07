"""The two layers of the built-in picture model's pictures: what is known to the pixel, over what is painted."""

from __future__ import annotations

from pathlib import Path
from types import SimpleNamespace

import pytest
import torch

from models.image.autoencoder import LayeredAutoencoder, PackedAutoencoder
from models.image.draft import CHANNELS
from models.image.layers import LATENTS, as_latents, as_tokens, of_latents, of_tokens, over
from models.image.loading import alike_in_any_batch
from models.image.painter import PaintingTransformer
from models.image.upper_layer import Layers, Reference, kept
from models.image.wishes import DRAWING, KINDS, RELATIONS, SHAPE, Conditioning
from tests.models.image.wishes import (
    BLUE,
    PAINTED,
    RED,
    YELLOW,
    autoencoder,
    grey,
    ids,
    of_picture,
    painter,
    placed,
    plain,
    told,
    velocity,
    with_square,
)


def test_a_layer_travels_as_latents_and_as_tokens_and_noise_is_cut_to_what_a_layer_can_be() -> None:
    covered = torch.rand(2, 1, 96, 160) * 0.98
    layer = torch.cat([(torch.rand(2, 3, 96, 160) * 2 - 1) * covered, covered], 1)
    latents = as_latents(layer)
    assert latents.shape == (2, LATENTS - CHANNELS, 12, 20)
    assert torch.equal(of_latents(of_tokens(as_tokens(latents), 6, 10)), layer)
    noise = of_latents(3 * torch.randn(1, LATENTS - CHANNELS, 4, 4))
    assert noise[:, 3].amin() == 0
    assert noise[:, 3].amax() == 1
    assert (noise[:, :3].abs() <= noise[:, 3:]).all()


def test_a_layer_covers_a_picture_as_much_as_it_says() -> None:
    half = torch.cat([RED * 0.5, torch.full((1, 1, 1, 1), 0.5)], 1).expand(-1, -1, 8, 8)
    assert torch.allclose(over(half, plain(BLUE, 8)), (RED + BLUE) / 2 * torch.ones(8, 8))
    twice = over(half, half)
    assert (twice[:, 3] == 0.75).all()
    assert torch.equal(over(torch.zeros(1, 4, 8, 8), plain(BLUE, 8)), plain(BLUE, 8))


def test_in_half_precision_a_picture_comes_back_to_a_level() -> None:
    vae = LayeredAutoencoder.of(autoencoder().to(torch.bfloat16))
    pixels = torch.rand(1, 3, 64, 64) * 2 - 1
    pixels[:, :, :32] = 1
    with torch.no_grad():
        back = vae.decode(vae.encode(pixels.bfloat16()).latent_dist.mean).sample.float()
    assert (back.clamp(-1, 1) - pixels).abs().amax() < 2.1 / 255


@pytest.mark.parametrize("way", ["whole", "slices", "tiles"])
def test_a_picture_comes_back_from_the_layered_autoencoder_exactly(way: str) -> None:
    vae = LayeredAutoencoder.of(autoencoder())
    if way == "slices":
        vae.enable_slicing()
    if way == "tiles":
        vae.enable_tiling()
    pixels = torch.rand(2, 3, 64, 96) * 2 - 1
    with torch.no_grad():
        given = vae.encode(pixels).latent_dist
        assert given.mean.shape == (2, LATENTS, 8, 12)
        assert torch.allclose(vae.decode(given.mean).sample, pixels, atol=1e-5)
        assert torch.allclose(vae.decode(given.sample(), return_dict=False)[0], pixels, atol=1e-4)
    assert vae.config.latent_channels == LATENTS


def test_an_autoencoder_is_loaded_with_its_layers_or_without(tmp_path: Path) -> None:
    whole = autoencoder()
    whole.widen_decoder(1.5)
    LayeredAutoencoder.of(whole).save_pretrained(tmp_path)
    layered, without = LayeredAutoencoder.from_pretrained(tmp_path), PackedAutoencoder.from_pretrained(tmp_path)
    latents = torch.randn(1, CHANNELS, 4, 4)
    empty = as_latents(torch.zeros(1, 4, 32, 32)) / layered.config.scaling_factor + layered.config.shift_factor
    with torch.no_grad():
        painted = without.decode(latents).sample
        assert torch.equal(painted, whole.decode(latents).sample)
        assert torch.allclose(layered.decode(torch.cat([latents, empty], 1)).sample, painted, atol=1e-6)


def changed(latents: torch.Tensor, *cells: slice) -> torch.Tensor:
    result = latents.clone()
    result[:, :, cells[0], cells[1]] += 2
    return result


def test_a_picture_keeps_the_pixels_of_what_its_latents_leave_as_it_was() -> None:
    pixels, latents = torch.rand(1, 3, 128, 128) * 2 - 1, torch.randn(1, CHANNELS, 16, 16)
    reference = Reference(latents, pixels)
    all_of_it = kept(reference, latents + 0.1)
    assert torch.equal(all_of_it, torch.cat([pixels, torch.ones(1, 1, 128, 128)], 1))
    part = kept(reference, changed(latents, slice(0, 16), slice(0, 6)))
    assert part[:, 3, :, :48].amax() == 0, "what has changed, and the latents next to it"
    assert torch.equal(part[:, :3, :, 72:], pixels[..., 72:])


def wish_for(kind: str, **fields: int) -> Conditioning:
    return placed(told(kind=KINDS.index(kind), **fields), (0.5, 0.5, 0.4), (0.5, 0.5, 0.4))


def layer_of(wish: Conditioning, pixels: torch.Tensor, found: tuple[float, float, float]) -> torch.Tensor:
    """Of things that are all of one colour, whatever an untrained autoencoder makes of them: red."""
    model = painter()
    vae = autoencoder()
    vae.picture_of = lambda latents: with_square(grey(), RED, 8, 120).expand(len(latents), -1, -1, -1)  # type: ignore[method-assign]
    layers = Layers(vae)
    reference = Reference(torch.zeros(1, CHANNELS, 16, 16), pixels)
    return layers.of_things(model.draft, wish, torch.tensor([found]), reference, 8, 8)


def test_a_thing_of_another_colour_keeps_its_outline_and_the_rest_of_the_picture_its_pixels() -> None:
    pixels = with_square(plain(YELLOW), BLUE)
    pixels[..., 40:50, 40:88] = YELLOW
    pixels[..., 4:12, 4:12] = RED
    wish = wish_for("recolour", what_0=SHAPE, colour_1=3)
    layer = layer_of(wish, pixels, (0.52, 0.54, 0.35))
    expected = torch.where((pixels == BLUE).all(1, keepdim=True), RED, pixels)
    assert (layer[:, 3] == 1).all(), "nothing is left to be painted"
    assert torch.allclose(layer[:, :3], expected, atol=1e-6)
    uneven = with_square(torch.rand(1, 3, 128, 128) * 2 - 1, BLUE)
    assert not layer_of(wish, uneven, (0.5, 0.5, 0.4)).any(), "a shape without a name on an uneven ground is painted"


def test_what_touches_a_thing_is_not_changed_with_it() -> None:
    pixels = with_square(plain(YELLOW), BLUE)
    pixels[..., 60:70, 88:128] = BLUE
    layer = layer_of(wish_for("remove", what_0=SHAPE), pixels, (0.5, 0.5, 0.4))
    assert not layer.any(), "it is painted"
    apart = with_square(plain(YELLOW), BLUE)
    apart[..., 60:70, 92:128] = BLUE
    layer = layer_of(wish_for("remove", what_0=SHAPE), apart, (0.5, 0.5, 0.4))
    expected = plain(YELLOW)
    expected[..., 60:70, 92:128] = BLUE
    assert torch.allclose(layer[:, :3], expected)


@pytest.mark.parametrize(("size", "scale"), [(1, 1.5), (2, 1 / 1.5)])
def test_what_is_not_named_is_made_bigger_or_smaller_as_it_is(size: int, scale: float) -> None:
    pixels = with_square(plain(YELLOW), BLUE)
    layer = layer_of(wish_for("resize", size_1=size), pixels, (0.5, 0.5, 0.4))
    assert (layer[:, 3] > 0.999).all()
    areas = [((each[:, :3] - BLUE).abs().amax(1) < 0.3).sum().item() for each in (layer, pixels)]
    assert areas[0] / areas[1] == pytest.approx(scale**2, rel=0.1)


def test_on_an_uneven_ground_what_stands_is_made_bigger_as_it_is() -> None:
    torch.manual_seed(0)
    noise, pixels = torch.randn(1, 64, 4 * LATENTS), torch.rand(1, 3, 128, 128) * 2 - 1
    _, nothing = changing(told(kind=KINDS.index("remove"), what_0=SHAPE), pixels, noise)
    _, bigger = changing(told(kind=KINDS.index("resize"), size_1=1), pixels, noise)
    removed, grown = (of_latents(of_tokens((noise - each)[..., PAINTED:], 8, 8)) for each in (nothing, bigger))
    assert grown[:, 3].sum() > removed[:, 3].sum() + 1000, "all that comes out alike on any ground stands"


def test_a_change_that_brings_nothing_takes_nothing_away() -> None:
    pixels = with_square(plain(YELLOW), BLUE)
    assert not layer_of(wish_for("replace", what_0=SHAPE), pixels, (0.5, 0.5, 0.4)).any(), "it is painted"


def test_another_shape_for_one_has_its_colour_where_none_is_named() -> None:
    pixels = with_square(plain(YELLOW), BLUE)
    of_its_colour = layer_of(wish_for("replace", what_0=SHAPE, what_1=SHAPE), pixels, (0.5, 0.5, 0.4))
    assert torch.allclose(of_its_colour[:, :3, 64, 64], BLUE.flatten())
    named = layer_of(wish_for("replace", what_0=SHAPE, what_1=SHAPE, colour_1=2), pixels, (0.5, 0.5, 0.4))
    assert torch.allclose(named[:, :3, 64, 64], RED.flatten())


def drawn(model: PaintingTransformer, wish: Conditioning, start: torch.Tensor, *times: float) -> torch.Tensor:
    """The upper layer that steps at these times lead to, from tokens [n, 64, 1056]."""
    tokens, positions = start, ids(8, 8)
    for time, later in zip(times, (*times[1:], 0.0), strict=True):
        tokens = tokens + (later - time) * velocity(model, wish, tokens, positions, time)
    return of_latents(of_tokens(tokens[..., PAINTED:], 8, 8))


def test_things_come_out_the_same_of_any_noise_and_of_any_number_of_steps() -> None:
    model, wish = painter(), placed(told(what_0=DRAWING), (0.5, 0.5, 0.5))
    one, other = torch.randn(2, 1, 64, 4 * LATENTS)
    few = drawn(model, wish, one, 1.0)
    assert few[:, 3].sum() > 0
    assert few[:, 3, :12].sum() == 0, "nothing stands there"
    assert torch.allclose(drawn(model, wish, one, 1.0, 0.7, 0.2), few, atol=1e-4)
    other[:, 0] = one[:, 0]
    assert torch.allclose(drawn(model, wish, other, 1.0, 0.7, 0.2), few, atol=1e-4)


@pytest.mark.parametrize(("height", "width"), [(8, 8), (8, 12), (12, 6)])
def test_another_seed_puts_things_elsewhere_all_of_them_alike_and_never_out_of_the_picture(
    height: int, width: int
) -> None:
    wish = placed(told(500, what_0=DRAWING, what_1=DRAWING), (0.3, 0.5, 0.2), (0.8, 0.5, 0.3))
    shaken = wish.shaken(torch.randn(500, 4), height, width)
    extent = torch.tensor([width, height]) / min(width, height)
    moved = (shaken.where[..., :2] - wish.where[..., :2]) * extent
    assert torch.allclose(moved[:, 0], moved[:, 1], atol=1e-6)
    assert (moved[:, 2] == 0).all(), "what is nowhere"
    assert moved[:, 0, 1].std() == pytest.approx(0.02, rel=0.2)
    middle, half = shaken.where[:, :2, :2] * extent, shaken.where[:, :2, 2:] / 2
    assert (middle - half).amin() >= -1e-6
    assert (middle + half - extent).amax() <= 1e-6
    assert (shaken.where[:, 0, 2] / shaken.where[:, 1, 2]).std() == pytest.approx(0, abs=1e-6)
    assert shaken.where[:, 0, 2].std() > 0.005
    change = wish_for("replace", what_0=SHAPE, what_1=DRAWING)
    assert torch.equal(change.shaken(torch.ones(1, 4), height, width).where, change.where)


def test_what_stands_in_front_of_something_is_to_its_left_or_right_and_hides_it_by_no_seed() -> None:
    in_front = 1 + RELATIONS.index("in front of")
    fields = {"relation": in_front, "what_0": DRAWING, "what_1": DRAWING}
    wish = placed(told(200, **fields), (0.5, 0.75, 0.3), (0.52, 0.45, 0.6))
    away = wish.shaken(torch.randn(200, 4), 8, 8).where
    away = (away[:, 0, 0] - away[:, 1, 0]).abs()
    assert torch.allclose(away, torch.full((200,), 0.125), atol=1e-5)
    sides = wish.shaken(torch.randn(200, 4), 8, 8).where[:, 0, 0] > 0.5
    assert 60 < sides.sum() < 140
    beside = placed(told(1, **fields), (0.2, 0.75, 0.3), (0.52, 0.45, 0.6))
    assert torch.allclose(beside.shaken(torch.zeros(1, 4), 8, 8).where, beside.where), "it hides nothing there"


def test_what_is_added_goes_where_room_is() -> None:
    stands = torch.zeros(2, 1, 16, 16)
    stands[:, :, 4:12, 6:10] = 1
    wish = placed(told(2, kind=KINDS.index("add"), what_1=DRAWING), (0, 0, 0), (0.5, 0.5, 0.25))
    stands[1] = 0
    x = wish.beside(stands).where[:, 1, 0]
    assert abs(x[0] - 0.5) >= 0.25, "beside what is there"
    assert 0.125 <= x[0] <= 0.875, "in the picture"
    assert x[1] == 0.5, "where nothing stands it stays"
    scene = placed(told(what_0=DRAWING), (0.5, 0.5, 0.25))
    assert torch.equal(scene.beside(stands[:1]).where, scene.where)


def changing(wish: Conditioning, pixels: torch.Tensor, noise: torch.Tensor) -> tuple[PaintingTransformer, torch.Tensor]:
    """A transformer that knows nothing, and what it makes of a picture that is to be changed."""
    model = painter()
    positions = torch.cat([ids(8, 8), ids(8, 8, of_reference=True)])
    return model, velocity(model, wish, torch.cat([noise, of_picture(pixels)], 1), positions)


def test_a_scene_is_painted_as_if_no_picture_were_there() -> None:
    noise, pixels = torch.randn(1, 64, 4 * LATENTS), with_square(plain(BLUE), RED)
    wish = placed(told(what_0=DRAWING, ground=3), (0.5, 0.5, 0.5))
    _, drawn_over = changing(wish, pixels, noise)
    assert torch.allclose(drawn_over, velocity(painter(), wish, noise, ids(8, 8)), atol=1e-5)


def test_another_ground_is_painted_as_a_picture_of_it_alone() -> None:
    noise, pixels = torch.randn(1, 64, 4 * LATENTS), with_square(plain(BLUE), RED)
    model, changed = changing(told(kind=KINDS.index("ground"), ground=3), pixels, noise)
    alone = velocity(model, told(ground=3), noise, ids(8, 8))
    assert torch.allclose(changed[..., :PAINTED], alone[..., :PAINTED], atol=1e-5)
    _, other = changing(told(kind=KINDS.index("recolour"), ground=3), pixels, noise)
    assert not torch.allclose(other[..., :PAINTED], alone[..., :PAINTED], atol=1e-3)


def test_guidance_makes_no_difference_to_the_upper_layer() -> None:
    model, wish = painter(), placed(told(what_0=DRAWING), (0.5, 0.5, 0.5))
    noisy = torch.randn(1, 64, 4 * LATENTS)
    positions = ids(8, 8)
    with_prompt = velocity(model, wish, noisy, positions)
    without = velocity(model, told(), noisy, positions)
    assert torch.equal(with_prompt[..., PAINTED:], without[..., PAINTED:])
    assert not torch.equal(with_prompt[..., :PAINTED], without[..., :PAINTED])
    alone = velocity(model, told(), noisy.clone(), ids(8, 8))
    assert not torch.equal(with_prompt[..., PAINTED:], alone[..., PAINTED:])


def test_nothing_is_laid_over_a_picture_that_a_run_begins_with() -> None:
    model, wish = painter(), placed(told(what_0=DRAWING), (0.5, 0.5, 0.5))
    start = torch.randn(1, 64, 4 * LATENTS)
    assert drawn(model, wish, start, 1.0, 0.5)[:, 3].sum() > 0
    for time in (0.6, 0.9375, 0.95):
        assert drawn(model, wish, start, time, time / 2)[:, 3].sum() == 0


def test_runs_that_take_turns_draw_what_each_would_alone_and_nothing_is_kept_of_them() -> None:
    model = painter()
    wishes = [placed(told(what_0=DRAWING), (x, 0.5, 0.3)) for x in (0.2, 0.3, 0.4, 0.5, 0.6, 0.7)]
    starts = torch.randn(6, 1, 64, 4 * LATENTS)
    alone = [drawn(model, wish, start, 1.0, 0.5) for wish, start in zip(wishes, starts, strict=True)]
    tokens, positions = list(starts), [ids(8, 8) for _ in wishes]
    for time, later in ((1.0, 0.5), (0.5, 0.0)):
        for number, wish in enumerate(wishes):
            asked = velocity(model, wish, tokens[number], positions[number], time)
            velocity(model, told(), tokens[number], positions[number], time)
            tokens[number] = tokens[number] + (later - time) * asked
    for number, expected in enumerate(alone):
        assert torch.allclose(of_latents(of_tokens(tokens[number][..., PAINTED:], 8, 8)), expected, atol=1e-5)
    assert len(model._runs) == len(wishes)
    positions.clear()
    assert len(model._runs) == 0


def test_a_transformer_without_an_autoencoder_says_what_is_missing() -> None:
    model = painter()
    model._layers = None
    with pytest.raises(RuntimeError, match="see_through"):
        velocity(model, told(), torch.randn(1, 64, 4 * LATENTS), ids(8, 8))


@pytest.mark.parametrize("size", [(8, 8), (6, 10)])
def test_a_reference_of_any_size_changes_the_velocities_of_the_noisy_tokens_alone(size: tuple[int, int]) -> None:
    model, wish = painter(), told(kind=KINDS.index("remove"), what_0=SHAPE)
    noisy = torch.randn(1, 64, 4 * LATENTS)
    reference = of_picture(torch.rand(1, 3, 16 * size[0], 16 * size[1]) * 2 - 1)
    alone = velocity(model, wish, noisy, ids(8, 8))
    positions = torch.cat([ids(8, 8), ids(*size, of_reference=True)])
    both = velocity(model, wish, torch.cat([noisy, reference], 1), positions)
    assert alone.shape == both.shape == (1, 64, 4 * LATENTS)
    assert not torch.allclose(alone[..., :PAINTED], both[..., :PAINTED])


def test_a_larger_reference_is_seen_at_the_size_of_the_picture_and_of_a_wider_one_the_middle() -> None:
    layers = Layers(autoencoder())
    rising = torch.linspace(-1, 1, 128).view(1, 1, 1, 128) * torch.linspace(0, 1, 128).view(1, 1, 128, 1)
    seen = rising.expand(1, 3, 128, 128)

    def reference(pixels: torch.Tensor) -> Reference:
        grid = (pixels.shape[2] // 16, pixels.shape[3] // 16)
        return layers.reference(of_picture(pixels), grid, (8, 8))

    same, wider = reference(seen), reference(torch.nn.functional.pad(seen, (32, 32)))
    assert torch.allclose(same.pixels, seen, atol=1e-6)
    assert torch.allclose(wider.pixels, seen, atol=1e-6)
    assert torch.allclose(wider.latents, same.latents, atol=1e-4)
    larger = reference(torch.nn.functional.interpolate(seen, (256, 256), mode="bilinear"))
    assert (larger.pixels - seen).abs().amax() < 0.03


def test_pictures_come_out_the_same_alone_and_in_a_batch() -> None:
    model = painter()
    alike_in_any_batch(SimpleNamespace(transformer=model, vae=None))
    wishes = placed(told(3, kind=KINDS.index("replace"), what_0=SHAPE, what_1=DRAWING), (0.5, 0.5, 0.5))
    reference = of_picture(torch.rand(1, 3, 128, 128) * 2 - 1).expand(3, -1, -1)
    tokens = torch.cat([torch.randn(3, 64, 4 * LATENTS), reference], 1)
    positions = torch.cat([ids(8, 8), ids(8, 8, of_reference=True)])
    together = velocity(model, wishes, tokens, positions)
    for number in range(3):
        one = slice(number, number + 1)
        alone = Conditioning(wishes.fields[one], wishes.codes[one], wishes.where[one])
        assert torch.equal(velocity(model, alone, tokens[one], positions.clone())[0], together[number])


def test_a_wish_for_nothing_lays_nothing_over_the_picture() -> None:
    nothing = Layers(autoencoder()).of_things(painter().draft, told(), torch.zeros(1, 3), None, 6, 10)
    assert nothing.shape == (1, 4, 96, 160)
    assert not nothing.any()


def test_other_channels_than_those_of_a_layer_are_refused() -> None:
    with pytest.raises(ValueError, match="in_channels is 1056"):
        PaintingTransformer(in_channels=32)
