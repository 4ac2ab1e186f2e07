"""What cells are part of, styles that are mixed, and cells that are kept."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import torch

from models.sight import SIDE, cells_of, load_trunk
from tests.training.describer.scenes import scene, shape, thing
from training.art.subjects import subjects
from training.composer.scene import GROUNDS, Scene
from training.describer.pool import Pool, open_pool, picture_of, pixels, scene_of
from training.describer.sight import Labels, Sight, accuracy, alphabet, in_other_styles, labels_of
from training.world import COLOURS, SHAPES

_ORDER = {name: 1 + i for i, name in enumerate((*subjects(), *SHAPES))}


def labels(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, *scenes: Scene) -> Labels:
    monkeypatch.setattr("training.describer.sight.FOLDER", tmp_path)
    nothing = np.zeros(0)
    return labels_of(Pool(scenes, nothing, nothing), unseen=False)


def test_a_cell_names_what_covers_it(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    right = labels(tmp_path, monkeypatch, scene(thing("cat", "left"), shape("circle", "red", "right"), ground="sea"))
    cells, colours = right.cells.view(7, 7), right.colours.view(7, 7)
    assert cells[3, 1] == cells[3, 2] == _ORDER["cat"]
    assert cells[3, 5] == _ORDER["circle"]
    assert cells[0, 0] == cells[6, 6] == 0
    assert set(cells.flatten().tolist()) == {0, _ORDER["cat"], _ORDER["circle"]}
    assert set(colours[cells == _ORDER["circle"]].tolist()) == {COLOURS.index("red")}
    assert set(colours[cells != _ORDER["circle"]].tolist()) == {-100}
    assert right.grounds.tolist() == [GROUNDS.index("sea")]
    assert right.counts.tolist() == [2]


def test_a_cell_names_what_is_in_front(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    front, behind = thing("apple", "centre", side=50), thing("car", "centre", side=110)
    cells = labels(tmp_path, monkeypatch, scene(front, behind, relation="in front of")).cells.view(7, 7)
    assert cells[3, 3] == _ORDER["apple"]
    assert cells[1, 3] == cells[3, 1] == _ORDER["car"]


def test_letters_are_those_of_the_word(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    right = labels(tmp_path, monkeypatch, scene(word="HELLO"), scene(thing("cat")))
    assert right.letters[0].tolist() == [*(alphabet()[letter] for letter in "HELLO"), 0]
    assert right.letters[1].tolist() == [0] * 6
    assert len(set(alphabet().values()) | {0}) == len(alphabet()) + 1


def test_labels_are_kept(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    first = labels(tmp_path, monkeypatch, scene(thing("cat")))
    again = labels(tmp_path, monkeypatch)
    assert torch.equal(first.cells, again.cells)


def test_half_of_the_pictures_take_on_the_style_of_another() -> None:
    cells = torch.randn(400, 3, 3, 5, generator=torch.Generator().manual_seed(1)) * 2 + 1
    mixed = in_other_styles(cells, np.random.default_rng(2))
    assert mixed.shape == cells.shape
    alone = torch.isclose(mixed, cells, atol=1e-4).flatten(1).all(1)
    assert 0.4 < float(alone.float().mean()) < 0.65


def test_a_style_is_a_mean_and_a_spread_and_what_stands_where_is_kept() -> None:
    cells = torch.randn(64, 4, 4, 3, generator=torch.Generator().manual_seed(1))
    mixed = in_other_styles(cells, np.random.default_rng(3))

    def bare(of: torch.Tensor) -> torch.Tensor:
        return (of - of.mean((1, 2), keepdim=True)) / of.std((1, 2), keepdim=True)

    assert torch.allclose(bare(cells), bare(mixed), atol=1e-3)


def test_steps_of_sight_learn_the_cells_of_a_small_pool(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, pool: Pool
) -> None:
    right = labels(tmp_path, monkeypatch, *pool.scenes)
    torch.manual_seed(0)
    sight, rows = Sight(), torch.arange(len(pool.scenes))
    steps = torch.optim.AdamW(sight.parameters(), lr=1e-3)
    losses = []
    for _ in range(8):
        loss = sight.heads.loss(sight.reader, sight.reader.seen(*pool.cells(rows.numpy())), right, rows)
        steps.zero_grad()
        loss.backward()  # type: ignore[no-untyped-call]
        steps.step()
        losses.append(loss.item())
    assert losses[-1] < 0.8 * losses[0]
    told = accuracy(sight.eval(), pool, right)
    assert set(told) == {"things", "grounds", "counts", "words", "no word"}
    assert all(0 <= share <= 1 for share in told.values())


def test_a_pool_is_computed_once_and_goes_on_where_it_was_ended(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("training.describer.pool.UNSEEN", 3)
    monkeypatch.setattr("training.describer.pool._BATCH", 2)
    first = open_pool(unseen=True, folder=tmp_path)
    assert (tmp_path / "unseen.done").read_text() == "3"
    before = np.array(first.coarse)
    assert np.abs(before).reshape(3, -1).max(1).min() > 0
    first.coarse[0] = 0
    first.coarse[2] = 0
    (tmp_path / "unseen.done").write_text("2")
    again = open_pool(unseen=True, folder=tmp_path)
    assert not again.coarse[0].any()
    assert np.array_equal(again.coarse[2], before[2])


def test_a_pool_holds_what_the_network_makes_of_its_pictures(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("training.describer.pool.UNSEEN", 2)
    pool = open_pool(unseen=True, folder=tmp_path)
    picture = picture_of(1, scene_of(1, unseen=True), unseen=True)
    assert pixels(picture).shape == (3, SIDE, SIDE)
    with torch.inference_mode():
        coarse, fine = cells_of(load_trunk(), pixels(picture)[None])
    found = pool.cells(np.array([1, 0, 1]))
    for made, kept in zip((coarse, fine), found, strict=True):
        assert torch.equal(kept[0], kept[2])
        likeness = torch.nn.functional.cosine_similarity(made.flatten(1), kept[:2].flatten(1))
        assert likeness[0] > 0.99  # it was computed in bfloat16
        assert likeness[0] > likeness[1]


def test_designs_and_words_that_measure_are_not_those_that_train() -> None:
    seen = [scene_of(number, unseen=False) for number in range(60)]
    unseen = [scene_of(number, unseen=True) for number in range(60)]
    for attribute in ("design", "word"):
        one, other = ({getattr(each, attribute) for each in told} - {None} for told in (seen, unseen))
        assert one
        assert other
        assert not one & other
