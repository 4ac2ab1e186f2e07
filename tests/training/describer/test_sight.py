"""What cells are part of, styles that are mixed, and cells that are kept."""

from __future__ import annotations

from typing import Any

import pytest
import torch

from models.cells import cells_of, load_trunk
from models.sight import SIDE, Reader, Shown
from tests.training.describer.scenes import scene, shape, thing
from training.art.subjects import subjects
from training.composer.scene import GROUNDS, Scene
from training.describer.labels import ARRANGEMENTS, COLOURS, alphabet, shown_in
from training.describer.labels import cells_of as label_cells
from training.describer.naming import words
from training.describer.pool import Pool, make_pool, picture_of, pixels, scene_of, world
from training.describer.sight import (
    SPELLS,
    TOLD,
    accuracy,
    learn_sight,
    learn_spelling,
    new_reader,
    sight_loss,
    spelling_accuracy,
    spelling_loss,
)
from training.describer.views import Views, in_other_styles, inked, stretched, varied
from training.loop import Schedule
from training.world import PLACES, SHAPES

_ORDER = {name: 1 + i for i, name in enumerate((*subjects(), *SHAPES))}


def shown(*scenes: Scene) -> Shown:
    return shown_in(scenes, words())


def test_a_scene_shows_what_stands_where() -> None:
    told = shown(
        scene(thing("cat", "left"), shape("circle", "red", "right"), ground="sea", relation="beside"),
        scene(thing("car", "top", side=90), thing("chair", "bottom", side=110), relation="on"),
        scene(thing("apple")),
        scene(ground="beach"),
    )
    left, right, top, bottom, centre = range(5)
    assert PLACES == ("left", "right", "top", "bottom", "centre")
    assert told.things[0].tolist() == [_ORDER["cat"], _ORDER["circle"], 0, 0, 0]
    assert told.things[1, [top, bottom]].tolist() == [_ORDER["car"], _ORDER["chair"]]
    assert told.things[2, centre] == _ORDER["apple"]
    assert not told.things[3].any()
    assert told.largest.int().argmax(1)[:3].tolist() == [left, bottom, centre], "the first of things of one size"
    assert told.largest.sum(1).tolist() == [1, 1, 1, 0]
    assert told.colours[0, right] == COLOURS.index("red")
    assert told.colours[1, top] == COLOURS.index("black")
    assert [ARRANGEMENTS[number] for number in told.arrangements.tolist()] == [
        (("left", "right"), None), (("top", "bottom"), "on"), (("centre",), None), ((), None),
    ]  # fmt: skip
    assert [GROUNDS[number] for number in told.grounds.tolist()] == ["sea", "white", "white", "beach"]


def test_every_way_in_which_things_stand_has_a_number() -> None:
    scenes = [scene_of(number, unseen=False) for number in range(400)]
    assert set(shown(*scenes).arrangements.tolist()) == set(range(len(ARRANGEMENTS)))


def test_a_cell_names_what_covers_it() -> None:
    about = scene(thing("cat", "left"), shape("circle", "red", "right"), ground="sea")
    cells, owners = (part[0].reshape(7, 7) for part in label_cells([about], world(unseen=False)[1]))
    assert cells[3, 1] == cells[3, 2] == _ORDER["cat"]
    assert cells[3, 5] == _ORDER["circle"]
    assert cells[0, 0] == cells[6, 6] == 0
    assert set(cells.flatten()) == {0, _ORDER["cat"], _ORDER["circle"]}
    assert set(owners[cells == _ORDER["circle"]]) == {PLACES.index("right")}
    assert set(owners[cells == 0]) == {-1}


def test_a_cell_names_what_is_in_front() -> None:
    front, behind = thing("apple", "bottom", side=50), thing("car", "centre", side=110)
    cells, owners = label_cells([scene(front, behind, relation="in front of")], world(unseen=False)[1])
    assert cells.reshape(7, 7)[5, 3] == _ORDER["apple"]
    assert cells.reshape(7, 7)[1, 3] == cells.reshape(7, 7)[3, 1] == _ORDER["car"]
    assert owners.reshape(7, 7)[5, 3] == PLACES.index("bottom")


def test_letters_are_those_of_the_word() -> None:
    letters = shown(scene(word="HELLO"), scene(thing("cat"))).letters
    assert letters[0].tolist() == [*(alphabet(words())[letter] for letter in "HELLO"), 0, 0]
    assert letters[1].tolist() == [0] * 7
    assert len(set(alphabet(words()).values()) | {0}) == len(alphabet(words())) + 1


def test_half_of_the_pictures_take_on_the_style_of_another() -> None:
    torch.manual_seed(2)
    seen = torch.randn(400, 5, 3, 3) * 2 + 1
    mixed = in_other_styles(seen)
    assert mixed.shape == seen.shape
    alone = torch.isclose(mixed, seen, atol=1e-4).flatten(1).all(1)
    assert 0.4 < float(alone.float().mean()) < 0.65


def test_a_style_is_a_mean_and_a_spread_and_what_stands_where_is_kept() -> None:
    torch.manual_seed(3)
    seen = torch.randn(64, 3, 4, 4)
    mixed = in_other_styles(seen)

    def bare(of: torch.Tensor) -> torch.Tensor:
        return (of - of.mean((2, 3), keepdim=True)) / of.std((2, 3), keepdim=True)

    assert torch.allclose(bare(seen), bare(mixed), atol=1e-3)


def test_a_varied_picture_is_still_like_itself(pool: Pool) -> None:
    torch.manual_seed(4)
    pictures = pool.pixels.permute(0, 3, 1, 2).float() / 127.5 - 1
    other = varied(pictures)
    assert other.shape == pictures.shape
    assert other.abs().max() <= 1
    assert not torch.isclose(other, pictures).flatten(1).all(1).all()
    apart = torch.cdist(other.flatten(1), pictures.flatten(1))
    assert apart.argmin(1).tolist() == list(range(len(pictures)))


@pytest.mark.parametrize("look_of", [inked, stretched])
def test_pictures_that_are_drawn_otherwise_are_still_pictures(look_of: Any, pool: Pool) -> None:
    torch.manual_seed(6)
    pictures = pool.pixels.permute(0, 3, 1, 2).float() / 127.5 - 1
    other = look_of(pictures)
    assert other.shape == pictures.shape
    assert other.abs().max() <= 1
    assert not torch.isclose(other, pictures).flatten(1).all(1).all()


def test_what_stands_at_the_edge_of_a_stretched_picture_stays_in_it() -> None:
    torch.manual_seed(8)
    pictures = torch.full((60, 3, 128, 128), -1.0)
    pictures[..., 106:118, 20:108] = 1.0
    kept = (stretched(pictures) + 1).sum((1, 2, 3)) / (pictures + 1).sum((1, 2, 3))
    assert kept.min() > 0.55, "smaller by 1.3 both ways at most, and never cut off"


def test_a_picture_in_ink_has_black_lines_where_colours_meet() -> None:
    torch.manual_seed(7)
    halves = torch.full((80, 3, 16, 16), -0.2)
    halves[..., 8:] = 0.9
    drawn = inked(halves)
    changed = ~torch.isclose(drawn, halves).flatten(1).all(1)
    assert 0.1 < float(changed.float().mean()) < 0.4
    assert (drawn[changed][..., 8] < -0.8).all()
    assert (drawn[changed][..., 14] > 0.4).all()


def test_steps_of_sight_learn_the_cells_of_a_small_pool(pool: Pool) -> None:
    reader, before, kept = untaught(pool)
    learn_sight(reader, pool, pool, schedule(12), 24)
    after = losses_of(reader, pool)
    assert after[0] < 0.8 * before[0]
    assert after[1] == before[1]
    beside = [name for name in kept if name.startswith((*TOLD, SPELLS, "kinds."))]
    assert all(torch.equal(reader.state_dict()[name], kept[name]) for name in beside)
    told = accuracy(reader, Views(torch.device("cpu")), pool)
    assert set(told) == {"things", "colours", "largest", "arrangements", "grounds"}
    assert all(0 <= share <= 1 for share in told.values())


def test_steps_of_spelling_learn_the_words_of_a_small_pool_and_nothing_else(pool: Pool) -> None:
    reader, before, kept = untaught(pool)
    learn_spelling(reader, pool, None, schedule(12), 16)
    after = losses_of(reader, pool)
    assert after[1] < 0.8 * before[1]
    changed = {name for name, weight in reader.state_dict().items() if not torch.equal(weight, kept[name])}
    assert changed == {name for name in kept if name.startswith(SPELLS)}
    assert set(spelling_accuracy(reader, Views(torch.device("cpu")), pool)) == {"words", "no word"}


def untaught(pool: Pool) -> tuple[Reader, tuple[float, float], dict[str, torch.Tensor]]:
    """A reader, its losses, and its weights as they are now."""
    torch.manual_seed(0)
    reader = new_reader()
    return reader, losses_of(reader, pool), {name: weight.clone() for name, weight in reader.state_dict().items()}


def schedule(steps: int) -> Schedule:
    return Schedule(steps=steps, lr=1e-3, warmup=1, hold=steps, ema=0.3, bf16=False)


@torch.no_grad()
def losses_of(reader: Reader, pool: Pool) -> tuple[float, float]:
    """Of sight and of spelling."""
    cells, right = Views(torch.device("cpu")).cells(pool.pixels, vary=False), pool.labels
    letters = reader.speller(cells.strokes)
    return float(sight_loss(reader.found(cells), right)), float(spelling_loss(letters, right.shown.letters))


def test_a_pool_is_the_same_by_however_many_processes_it_is_composed(
    pool: Pool, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("training.describer.pool._PART", 10)
    again = make_pool(24, workers=2)
    assert again.scenes == pool.scenes
    assert torch.equal(again.pixels, pool.pixels)
    for one, other in ((again.labels.shown, pool.labels.shown), (again.labels, pool.labels)):
        parts = [(getattr(one, name), part) for name, part in vars(other).items() if isinstance(part, torch.Tensor)]
        assert parts
        assert all(torch.equal(*pair) for pair in parts)


def test_the_network_sees_in_training_what_it_sees_in_serving(pool: Pool) -> None:
    picture = picture_of(1, scene_of(1, unseen=False), unseen=False)
    assert pixels(picture).shape == (3, SIDE, SIDE)
    with torch.inference_mode():
        wanted = cells_of(load_trunk(), pixels(picture)[None])
    seen = Views(torch.device("cpu")).cells(pool.pixels[:2], vary=False)
    for part in ("coarse", "fine", "strokes"):
        served, learnt = getattr(wanted, part), getattr(seen, part)
        likeness = torch.nn.functional.cosine_similarity(served.flatten(1), learnt.flatten(1))
        assert likeness[1] > 0.99  # it is computed in bfloat16
        assert likeness[1] > likeness[0]


def test_designs_and_words_that_measure_are_not_those_that_train() -> None:
    seen = [scene_of(number, unseen=False) for number in range(60)]
    unseen = [scene_of(number, unseen=True) for number in range(60)]
    for attribute in ("design", "word"):
        one, other = ({getattr(each, attribute) for each in told} - {None} for told in (seen, unseen))
        assert one
        assert other
        assert not one & other
