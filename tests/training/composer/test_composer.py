"""Scenes of things: drawn the same each time, described in three languages, changed in one respect."""

from __future__ import annotations

from collections import Counter
from dataclasses import replace
from itertools import pairwise

import numpy as np
import pytest

from tests.training.art.packages import pictures
from training.art.shelf import Shelf, render_design
from training.art.subjects import subjects
from training.captions import LANGUAGES, Language
from training.composer.composing import Composer
from training.composer.edits import KINDS, EditKind, instruction, random_edit, undone
from training.composer.grounds import PAINTED, paint_ground
from training.composer.prompts import plural, prompt
from training.composer.scene import Mix, Scene, Stock, named, random_scene, stacked
from training.composer.words import GROUND_NAMES, IN_GROUND, STYLES
from training.world import COLOURS

_THINGS = {"cat": "red", "chair": "blue", "apple": "lime", "car": "black", "doctor": "white", "rocket": "yellow"}


@pytest.fixture(scope="module")
def shelf(tmp_path_factory: pytest.TempPathFactory) -> Shelf:
    folder = tmp_path_factory.mktemp("art")
    names = ["noto", "fluent-3d"]
    for name in names:
        render_design(pictures(folder, name, _THINGS), folder)
    return Shelf(names, folder)


@pytest.fixture(scope="module")
def stock(shelf: Shelf) -> Stock:
    return Stock.of(shelf.usual(), {"noto": 0.6, "fluent-3d": 0.4})


def scenes(stock: Stock, count: int, mix: Mix = Mix()) -> list[Scene]:  # noqa: B008 - frozen
    return [random_scene(np.random.default_rng((3, i)), stock, mix) for i in range(count)]


def test_the_same_seed_gives_the_same_scene_and_the_same_pixels(shelf: Shelf, stock: Stock) -> None:
    first, again = scenes(stock, 20), scenes(stock, 20)
    assert first == again
    one, other = Composer(shelf), Composer(shelf)
    for scene in first:
        assert np.array_equal(one.compose(scene), other.compose(scene))


def test_a_composer_that_bends_draws_each_figure_otherwise_but_always_the_same(shelf: Shelf, stock: Stock) -> None:
    straight, one, other = Composer(shelf), Composer(shelf, bends=True), Composer(shelf, bends=True)
    for scene in scenes(stock, 40, Mix(figures=(0, 1, 0, 0))):
        bent = one.compose(scene)
        assert np.array_equal(bent, other.compose(scene))
        is_drawn = not scene.figures[0].is_shape
        assert np.array_equal(bent, straight.compose(scene)) != is_drawn
        covers, whole = one.covers(scene, 8)[0], straight.covers(scene, 8)[0]
        assert 0.5 * whole.sum() < covers.sum() < 1.05 * whole.sum()
        assert middle(covers) == pytest.approx(middle(whole), abs=0.6)


def middle(covers: np.ndarray) -> tuple[float, float]:
    """Row and column, in cells, of the middle of what is covered."""
    rows, columns = np.indices(covers.shape)
    return (rows * covers).sum() / covers.sum(), (columns * covers).sum() / covers.sum()


def test_each_drawing_is_drawn_as_often_as_another_unless_designs_have_shares(shelf: Shelf) -> None:
    views = shelf.usual()
    few = {name: seen if name == "cat" else seen[:1] for name, seen in views.items()}
    stock = Stock.of(few)
    assert stock.drawings == {"noto": tuple(views), "fluent-3d": ("cat",)}
    assert stock.shares == {"noto": len(views) / (len(views) + 1), "fluent-3d": 1 / (len(views) + 1)}


def test_a_design_without_anything_to_stand_on_puts_things_beside_each_other() -> None:
    few = Stock({"noto": ("cat", "apple", "doctor")}, {"noto": 1.0})
    drawn = scenes(few, 200)
    assert {scene.relation for scene in drawn} == {None, "beside", "above", "in front of"}


def test_every_kind_of_scene_comes_up(stock: Stock) -> None:
    drawn = scenes(stock, 600)
    assert {len(scene.figures) for scene in drawn} == {0, 1, 2, 3}
    assert {scene.relation for scene in drawn} == {None, "beside", "above", "on", "in front of"}
    assert {scene.ground for scene in drawn} == {*COLOURS, *PAINTED}
    assert {scene.count for scene in drawn} == {0, 2, 3}
    assert all(scene.is_painted for scene in drawn if not scene.figures)
    assert all(figure.colour != scene.ground for scene in drawn for figure in scene.figures)


def test_figures_lie_within_the_picture(stock: Stock) -> None:
    for scene in scenes(stock, 400):
        for figure in scene.figures:
            assert all(c - figure.side / 2 >= -3 and c + figure.side / 2 <= 131 for c in figure.centre), figure


def test_what_is_in_front_covers_what_is_behind(shelf: Shelf) -> None:
    upper, lower = stacked(named("cat"), named("chair"), np.random.default_rng(0))
    scene = Scene("white", 0, (240, 240, 240), "noto", (upper, lower), "on")
    pixels = Composer(shelf).compose(scene)
    red = (pixels[..., 0] > 150) & (pixels[..., 1] < 120)
    blue = (pixels[..., 2] > 200) & (pixels[..., 0] < 50)
    assert red[round(upper.centre[1]), round(upper.centre[0])]
    assert blue[round(lower.centre[1] + 0.2 * lower.side), round(lower.centre[0])]
    on_cat, on_chair = Composer(shelf).covers(scene, 64)
    assert (on_cat + on_chair).max() <= 1.001
    assert abs(float(on_cat.sum()) * 4 - red.sum()) < 0.1 * red.sum()


def test_grounds_are_the_same_each_time_and_differ_from_each_other() -> None:
    assert np.array_equal(paint_ground("forest", 3), paint_ground("forest", 3))
    means = {ground: paint_ground(ground, 0).astype(int) for ground in PAINTED}
    for one, other in pairwise(PAINTED):
        assert np.abs(means[one] - means[other]).mean() > 10


@pytest.mark.parametrize("language", LANGUAGES)
def test_a_prompt_names_what_is_there(stock: Stock, language: Language) -> None:
    rng = np.random.default_rng(5)
    for scene in scenes(stock, 300):
        said = prompt(scene, rng, language).lower()
        for figure in scene.figures:
            if figure.is_shape:
                continue
            names = [name.lower() for name in subjects()[figure.name].names[language]]
            assert any(name in said or (language == "en" and plural(name) in said) for name in names), (said, figure)
        if scene.design != "noto" and any(not figure.is_shape for figure in scene.figures):
            assert any(style.lower() in said for style in STYLES[scene.design][language]), said


def test_every_ground_has_words_in_every_language() -> None:
    for language in LANGUAGES:
        assert set(IN_GROUND[language]) == set(GROUND_NAMES[language]) == set(PAINTED)
        names = Counter(name for words in GROUND_NAMES[language].values() for name in words)
        assert max(names.values()) == 1


def test_english_plurals() -> None:
    assert [plural(word) for word in ("cat", "cherry", "fox", "toy", "red bus", "mouse", "fish")] == [
        "cats", "cherries", "foxes", "toys", "red buses", "mice", "fish",
    ]  # fmt: skip


@pytest.mark.parametrize("kind", list(KINDS))
def test_an_edit_changes_what_it_says_and_nothing_else(stock: Stock, kind: EditKind) -> None:
    for i in range(40):
        edit = random_edit(np.random.default_rng((6, i)), stock, kind)
        before, after = edit.before, edit.after
        assert before != after
        if kind == "ground":
            assert (before.figures, before.design) == (after.figures, after.design)
            assert before.ground != after.ground
            continue
        assert (before.ground, before.ground_rgb, before.variant) == (after.ground, after.ground_rgb, after.variant)
        gone, come = set(before.figures) - set(after.figures), set(after.figures) - set(before.figures)
        assert gone == ({edit.target} if edit.target else set())
        assert come == ({edit.result} if edit.result else set())
        if kind == "replace":
            assert edit.target is not None
            assert edit.result is not None
            assert replace(edit.target, name=edit.result.name) == edit.result


def test_every_edit_can_be_undone_and_asked_for(stock: Stock) -> None:
    rng = np.random.default_rng(7)
    for i in range(200):
        edit = random_edit(np.random.default_rng((8, i)), stock)
        back = undone(edit)
        assert (back.before, back.after) == (edit.after, edit.before)
        for language in LANGUAGES:
            assert instruction(edit, rng, language)
            assert instruction(back, rng, language)
