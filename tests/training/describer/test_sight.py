"""What cells are part of, styles that are mixed, and cells that are kept."""

from __future__ import annotations

import pytest
import torch

from models.sight import SIDE, Reader, cells_of, load_trunk
from tests.training.describer.scenes import scene, shape, thing
from training.art.subjects import subjects
from training.composer.scene import GROUNDS, Scene
from training.describer.labels import Labels, alphabet, label
from training.describer.pool import Pool, make_pool, picture_of, pixels, scene_of, words, world
from training.describer.sight import accuracy, learn_sight, new_reader, sight_loss
from training.describer.views import Views, in_other_styles, varied
from training.loop import Schedule
from training.world import COLOURS, SHAPES

_ORDER = {name: 1 + i for i, name in enumerate((*subjects(), *SHAPES))}


def labels(*scenes: Scene) -> Labels:
    made = label(list(scenes), world(unseen=False)[1], words())
    return Labels(*(torch.from_numpy(part) for part in made))


def test_a_cell_names_what_covers_it() -> None:
    right = labels(scene(thing("cat", "left"), shape("circle", "red", "right"), ground="sea"))
    cells, colours = right.cells.view(7, 7), right.colours.view(7, 7)
    assert cells[3, 1] == cells[3, 2] == _ORDER["cat"]
    assert cells[3, 5] == _ORDER["circle"]
    assert cells[0, 0] == cells[6, 6] == 0
    assert set(cells.flatten().tolist()) == {0, _ORDER["cat"], _ORDER["circle"]}
    assert set(colours[cells == _ORDER["circle"]].tolist()) == {COLOURS.index("red")}
    assert set(colours[cells != _ORDER["circle"]].tolist()) == {-100}
    assert right.grounds.tolist() == [GROUNDS.index("sea")]
    assert right.counts.tolist() == [2]


def test_a_cell_names_what_is_in_front() -> None:
    front, behind = thing("apple", "centre", side=50), thing("car", "centre", side=110)
    cells = labels(scene(front, behind, relation="in front of")).cells.view(7, 7)
    assert cells[3, 3] == _ORDER["apple"]
    assert cells[1, 3] == cells[3, 1] == _ORDER["car"]


def test_letters_are_those_of_the_word() -> None:
    right = labels(scene(word="HELLO"), scene(thing("cat")))
    assert right.letters[0].tolist() == [*(alphabet(words())[letter] for letter in "HELLO"), 0]
    assert right.letters[1].tolist() == [0] * 6
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


def test_steps_of_sight_learn_the_cells_of_a_small_pool(pool: Pool) -> None:
    torch.manual_seed(0)
    reader = new_reader()
    before = loss_of(reader, pool)
    learn_sight(reader, pool, pool, Schedule(steps=12, lr=1e-3, warmup=1, hold=12, ema=0.3, bf16=False), 24)
    assert loss_of(reader, pool) < 0.8 * before
    told = accuracy(reader, Views(torch.device("cpu")), pool)
    assert set(told) == {"things", "grounds", "counts", "words", "no word"}
    assert all(0 <= share <= 1 for share in told.values())


@torch.no_grad()
def loss_of(reader: Reader, pool: Pool) -> float:
    seen = reader.seen(*Views(torch.device("cpu")).cells(pool.pixels, vary=False))
    return float(sight_loss(reader.found(seen), pool.labels))


def test_a_pool_is_the_same_by_however_many_processes_it_is_composed(
    pool: Pool, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("training.describer.pool._PART", 10)
    again = make_pool(24, workers=2)
    assert again.scenes == pool.scenes
    assert torch.equal(again.pixels, pool.pixels)
    assert all(
        torch.equal(one, other)
        for one, other in zip(vars(again.labels).values(), vars(pool.labels).values(), strict=True)
    )


def test_the_network_sees_in_training_what_it_sees_in_serving(pool: Pool) -> None:
    picture = picture_of(1, scene_of(1, unseen=False), unseen=False)
    assert pixels(picture).shape == (3, SIDE, SIDE)
    with torch.inference_mode():
        wanted = cells_of(load_trunk(), pixels(picture)[None])
    seen = Views(torch.device("cpu")).cells(pool.pixels[:2], vary=False)
    for served, learnt in zip(wanted, seen, strict=True):
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
