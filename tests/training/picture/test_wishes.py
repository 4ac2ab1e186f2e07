"""Scenes and changes as wishes, and which drawing shows what."""

from __future__ import annotations

import numpy as np
import pytest

from models.image.wishes import FIELDS, FIGURES
from tests.training.picture.conftest import THINGS
from training import edits as of_shapes
from training import world as shapes
from training.composer.edits import KINDS, random_edit
from training.composer.scene import GROUNDS, SIDE, Mix, random_scene
from training.composer.words import PLAIN_STYLE
from training.picture.bank import change_of, compose_chunk
from training.picture.wishes import classes, drawing_table, where_of, wish_config, wish_of
from training.picture.world import SHARES, World
from training.world import COLOURS, PLACES


def test_a_wish_says_what_is_where_on_which_ground_and_what_changes(world: World) -> None:
    rng = np.random.default_rng(2)
    stock = world.stock
    scene = random_scene(rng, stock, Mix(figures=(0.0, 0.0, 1.0, 0.0), same=0.0, painted=1.0))
    said = dict(zip(FIELDS, wish_of(scene), strict=True))
    assert said["kind"] == 0
    assert GROUNDS[said["ground"] - 1] == scene.ground
    assert [said["what 0"], said["what 1"], said["what 2"]] == [*(classes()[f.name] for f in scene.figures), 0]
    assert PLACES[said["place 0"] - 1] == scene.figures[0].place
    assert list(SHARES)[said["design"] - 1] == scene.design
    sized = [random_scene(rng, stock, Mix(figures=(0.0, 1.0, 0.0, 0.0))) for _ in range(40)]
    sizes = {None: 0, "big": 1, "small": 2}
    assert all(dict(zip(FIELDS, wish_of(s), strict=True))["size 0"] == sizes[s.figures[0].size] for s in sized)
    shaped = next(s for s in sized if s.figures[0].is_shape)
    said = dict(zip(FIELDS, wish_of(shaped), strict=True))
    assert said["design"] == 0
    assert COLOURS[said["colour 0"] - 1] == shaped.figures[0].colour
    for kind in KINDS:
        edit = random_edit(rng, stock, kind)
        said = dict(zip(FIELDS, wish_of(edit), strict=True))
        assert said["kind"] == 1 + list(KINDS).index(kind)
        assert said["what 0"] == (classes()[edit.target.name] if edit.target else 0)
        assert said["what 1"] == (classes()[edit.result.name] if edit.result else 0)
        assert (said["ground"] > 0) == (kind == "ground")
        assert (said["place 1"] > 0) == (kind == "add")
        if kind in ("add", "resize"):
            assert edit.result is not None
            assert said["size 1"] == sizes[edit.result.size]
        values = wish_config(1).values
        assert all(0 <= value < values[field] for field, value in said.items())


def test_shapes_stand_where_they_like_and_what_is_changed_is_told_by_what_its_words_say() -> None:
    scene = shapes.random_scene(np.random.default_rng(1), things=(0.0, 0.0, 0.0, 1.0))
    said = dict(zip(FIELDS, wish_of(scene), strict=True))
    assert GROUNDS[said["ground"] - 1] == scene.background
    for number, thing in enumerate(scene.things):
        assert said[f"what {number}"] == classes()[thing.shape]
        assert COLOURS[said[f"colour {number}"] - 1] == thing.colour
        assert PLACES[said[f"place {number}"] - 1] == thing.place
        assert ("big", "small")[said[f"size {number}"] - 1] == thing.size
    seen = set()
    for number in range(200):
        edit = of_shapes.random_edit(np.random.default_rng((6, number)))
        said = dict(zip(FIELDS, wish_of(edit), strict=True))
        seen.add((edit.kind, edit.told_by))
        if edit.target is not None:
            assert (said["what 0"] > 0) == (edit.told_by in ("shape", "looks"))
            assert (said["colour 0"] > 0) == (edit.told_by == "looks")
            assert (said["place 0"] > 0) == (edit.told_by == "place")
        if edit.kind == "recolour":
            assert edit.result is not None
            assert COLOURS[said["colour 1"] - 1] == edit.result.colour
        if edit.kind == "reshape":
            assert edit.result is not None
            assert (said["what 1"], said["colour 1"]) == (classes()[edit.result.shape], 0)
    assert {told_by for kind, told_by in seen if kind == "recolour"} == {"shape", "looks", "place", "nothing"}


def test_where_things_are_is_said_in_shares_of_the_picture_whatever_world_they_are_of(world: World) -> None:
    scene = random_scene(np.random.default_rng(3), world.stock, Mix(figures=(0.0, 1.0, 0.0, 0.0)))
    (figure,) = scene.figures
    x, y, side = where_of(scene)[0]
    assert (x * SIDE, y * SIDE, side * SIDE) == pytest.approx((*figure.centre, figure.side))
    assert where_of(scene)[1:] == [[0.0] * 3] * (FIGURES - 1)
    of_shape = shapes.random_scene(np.random.default_rng(4), things=(0.0, 1.0))
    x, y, side = where_of(of_shape)[0]
    covered = shapes.coverage(of_shape, SIDE)[0] > 0.5
    rows, columns = np.nonzero(covered)
    assert (columns.mean() + 0.5) / SIDE == pytest.approx(x, abs=0.05)
    assert (rows.mean() + 0.5) / SIDE == pytest.approx(y, abs=0.05)
    assert 0.6 * side < (np.ptp(columns) + 1) / SIDE < 1.1 * side
    edit = random_edit(np.random.default_rng(5), world.stock, "add")
    assert [each[2] > 0 for each in where_of(edit)] == [False, True, False]


def test_a_shard_of_shapes_holds_their_scenes_and_changes_to_them() -> None:
    chunk = compose_chunk(shard=4, chunk=0)
    changes = len(chunk.asked)
    assert chunk.pixels.shape == (len(chunk.wishes), 128, 128, 3)
    scenes = chunk.wishes[: len(chunk.wishes) - 2 * changes]
    alone = scenes[:, FIELDS.index("what 1")] == 0
    assert 0.1 < alone.mean() < 0.5
    before, after = chunk.wishes[len(scenes) :: 2], chunk.wishes[len(scenes) + 1 :: 2]
    ground, kind = FIELDS.index("ground"), FIELDS.index("kind")
    moved = chunk.asked[:, 0, kind] == 1 + list(KINDS).index("ground")
    assert moved.any()
    assert (chunk.asked[moved, 0, ground] == after[moved, ground]).all()
    assert (chunk.asked[moved, 1, ground] == before[moved, ground]).all()
    assert (chunk.asked[:, :, FIELDS.index("kind")] > 0).all()
    there = chunk.where[: len(scenes), :, 2] > 0
    assert (there == (scenes[:, 4::4] > 0)).all(), "where each thing is"
    for way in (0, 1):
        kinds, moved = chunk.asked[:, way, kind], chunk.moved[:, way, :2, 2] > 0
        for number, name in enumerate(KINDS, 1):
            target, result = moved[kinds == number].T
            assert target.all() if name in ("replace", "remove", "recolour") else not target.any()
            assert result.all() if name in ("replace", "add", "recolour") else not result.any()


def test_a_thing_is_drawn_in_the_design_that_is_asked_for_and_a_shape_in_its_colour(world: World) -> None:
    table, shown = drawing_table(world.stock.drawings)
    for name in THINGS:
        for number, design in enumerate(SHARES, 1):
            assert shown[int(table[classes()[name], number])] == (name, design)
        assert shown[int(table[classes()[name], 0])] == (name, next(iter(SHARES)))
    for number, colour in enumerate(COLOURS, 1):
        assert shown[int(table[classes()["circle"], number])] == ("circle", colour)
    lacking = drawing_table(dict(world.stock.drawings) | {"fluent-3d": ()})[0]
    assert lacking[classes()["cat"], list(SHARES).index("fluent-3d") + 1] == lacking[classes()["cat"], 0]
    assert int(table[0, 0]) == 0, "nothing is drawn as nothing"
    nameless = [shown[int(row)] for row in table[0, 1:]]
    assert nameless == [("circle", colour) for colour in COLOURS], "what has a colour alone"


def test_what_a_change_brings_in_is_plain_and_as_it_is_and_the_rest_stays_as_it_was(world: World) -> None:
    rng = np.random.default_rng(8)
    for _ in range(60):
        edit = change_of(rng, world.stock)
        if edit.kind in ("add", "remove", "replace", "resize"):
            assert edit.before.design == edit.after.design == PLAIN_STYLE
            same = set(edit.before.figures) & set(edit.after.figures)
            brought = (set(edit.before.figures) | set(edit.after.figures)) - same
            assert brought
            assert not any(figure.mirrored for figure in brought)
