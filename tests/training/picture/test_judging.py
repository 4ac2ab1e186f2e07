"""What judges the picture model, and what is said of what it can do."""

from __future__ import annotations

import subprocess
import sys
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch

from bench.showcase import SCENES, THINGS
from training.art.subjects import subjects
from training.composer.scene import Ground, Mix, random_scene
from training.evaluate import MODELS, Row
from training.picture.card import write_card
from training.picture.judging import judge, say
from training.picture.recogniser import Recogniser, discriminant, places, window
from training.picture.wishes import classes
from training.picture.world import World


def test_the_card_says_what_is_claimed_and_measured(tmp_path: Path) -> None:
    for stage in ("autoencoder", "text", "flow"):
        (tmp_path / stage).mkdir()
        (tmp_path / stage / "log.jsonl").write_text('{"step": 50, "loss": 0.25, "seconds": 600}\n')
    rows = [Row("picture", "ground", 0.99, 0.97, 400)]
    parts = {"transformer": 3_000_000, "vae": 1_000_000}
    write_card(tmp_path, tmp_path, parts, {"vocabulary": 2560, "shift": 3.0}, ("cat", "dog"), rows)
    card = (tmp_path / "README.md").read_text()
    assert "533 things, of which 2, listed below, are recognised" in card
    assert "Claimed: cat, dog." in card
    assert "| Transformer | 50 | 10 | 0.250 |" in card
    assert "| picture | ground | 99.0% | 97.0% | 400 | pass |" in card


def test_the_discriminant_tells_classes_apart_by_what_differs_most_beside_their_scatter() -> None:
    torch.manual_seed(0)
    right = torch.arange(3).repeat(200)
    seen = torch.randn(600, 6)
    seen[:, 0] *= 50  # noise that hides whatever is measured along with it
    seen[:, 1] += 5 * right
    weights, biases = discriminant(seen, right, 4)
    named = (seen @ weights.T + biases).argmax(1)
    assert float((named == right).float().mean()) > 0.95
    assert not (named == 3).any(), "a class that was never seen"


def test_a_prompt_that_is_judged_names_its_ground(world: World) -> None:
    mix = Mix(figures=(0.0, 1.0, 0.0, 0.0), painted=0.0)
    scenes = [random_scene(np.random.default_rng((9, i)), world.stock, mix) for i in range(80)]
    grounds: tuple[Ground, ...] = ("black", "blue", "red", "green", "yellow")
    asked = [replace(scene, ground=grounds[i % 5]) for i, scene in enumerate(scenes)]
    for scene, said in zip(asked, say(asked, "en"), strict=True):
        assert any(word in said.lower() for word in (scene.ground, "dark", "crimson", "navy")), said


def test_what_the_readme_shows_are_things_of_this_world() -> None:
    names = {name for subject in subjects().values() for name in subject.names["en"]}
    assert set(THINGS) <= names
    assert len(THINGS) == 60
    assert len(SCENES) == 10


def test_the_recogniser_looks_where_the_figure_is_and_judges_by_rank(world: World) -> None:
    scenes = [
        random_scene(np.random.default_rng((5, i)), world.stock, Mix(figures=(0.0, 1.0, 0.0, 0.0))) for i in range(6)
    ]
    pictures_of = [world.composer.compose(scene) for scene in scenes]
    for scene, pixels in zip(scenes, pictures_of, strict=True):
        (figure,) = scene.figures
        assert abs(window(pixels, figure).width - min(128, 1.25 * figure.side)) <= 1
    model = Recogniser()
    right = classes()[scenes[0].figures[0].name]
    with torch.no_grad():
        model.things.weight.zero_()
        model.things.bias.zero_()
        model.things.bias[right] = 1
    assert places(model, pictures_of[:1], [scenes[0].figures[0]]) == [0]
    verdict = judge(model, pictures_of, scenes)
    same = sum(scene.figures[0].name == scenes[0].figures[0].name for scene in scenes)
    assert verdict.first == pytest.approx(same / len(scenes))


@pytest.mark.parametrize("module", ["training.picture.measuring", "training.picture.shapes"])
def test_what_measures_the_shipped_model_can_load_it(module: str) -> None:
    code = (
        f"import {module}; from diffusers import FluxPipeline; FluxPipeline.from_pretrained({str(MODELS / 'image')!r})"
    )
    subprocess.run([sys.executable, "-c", code], check=True)
