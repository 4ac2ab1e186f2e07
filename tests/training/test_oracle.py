"""The pixel oracle, against scenes whose content is known."""

import numpy as np
import pytest
from PIL import Image, ImageFilter

from training.oracle import look
from training.world import SHAPES, Scene, Thing, random_scene, render


def scenes(count: int, seed: int, word: float = 0.0) -> list[Scene]:
    return [random_scene(np.random.default_rng((seed, i)), word=word) for i in range(count)]


def share_seen_rightly(drawn: list[Scene], blur: float = 0.0) -> float:
    right = [look(render(s).filter(ImageFilter.GaussianBlur(blur))).agrees_with(s) for s in drawn]
    return sum(right) / len(right)


def test_a_rendered_scene_is_seen_as_it_was_described() -> None:
    assert share_seen_rightly(scenes(200, seed=71)) >= 0.99


def test_a_slightly_blurred_scene_is_still_seen_rightly() -> None:
    assert share_seen_rightly(scenes(100, seed=72), blur=0.9) >= 0.97


def test_a_word_is_not_taken_for_a_thing() -> None:
    assert share_seen_rightly(scenes(60, seed=73, word=1.0)) >= 0.95


def test_an_empty_picture_has_only_a_background() -> None:
    seen = look(Image.new("RGB", (64, 64), (242, 216, 48)))
    assert seen.background == "yellow"
    assert seen.things == ()


def test_a_larger_picture_is_measured_like_the_small_one() -> None:
    (scene,) = scenes(1, seed=74)
    assert look(render(scene).resize((256, 256))).agrees_with(scene)


@pytest.mark.parametrize("shape", SHAPES)
def test_every_shape_is_told_apart_when_small(shape: str) -> None:
    thing = Thing(shape, "red", "small", "left", (215, 38, 40), (15.3, 31.6), 8.0, 3.0)  # type: ignore[arg-type]
    (seen,) = look(render(Scene("white", (243, 243, 243), (thing,)))).things
    assert (seen.shape, seen.colour, seen.size, seen.place) == (shape, "red", "small", "left")
