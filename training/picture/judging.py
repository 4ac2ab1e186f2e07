"""Does the picture model draw what is asked for? Judged by the recogniser, on scenes and wordings never trained on."""

from __future__ import annotations

import itertools
from collections.abc import Collection
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, Final

import numpy as np
import torch
from PIL import Image

from training.art.sheet import sheet
from training.art.subjects import subjects
from training.captions import LANGUAGES, Language
from training.composer.edits import Edit
from training.composer.scene import SIDE, Figure, Mix, Scene, Stock, random_scene
from training.evaluate import Row
from training.picture.bank import change_of
from training.picture.recogniser import Recogniser, grounds_of, places, visible
from training.picture.text import wish_to_words
from training.picture.wishes import classes
from training.picture.world import ALONE, drawn_world
from training.world import SHAPES

DEFAULTS: Final[dict[str, Any]] = {
    "height": SIDE,
    "width": SIDE,
    "num_inference_steps": 12,
    "true_cfg_scale": 2.0,
    "max_sequence_length": 40,
}
"""How pictures are asked for when they are judged, and what the model card recommends."""
PAIRS: Final = Mix(figures=(0.0, 0.0, 1.0, 0.0), same=0.0)
_BATCH: Final = 32
_USUAL, _SMALL = 78.0, 44.0
"""Pixels a side of a thing drawn alone."""
_SEED: Final = 900_000_100
PROMPTS: Final = (
    "a cat in space", "a cute cat sitting on a chair, illustration", "고양이", "고양이 그림 그려줘",
    "A beautiful sunrise over mountains", "우주에 있는 고양이", "宇宙にいる猫", "かわいい犬の絵を描いて",
    "a red car on the beach", "a penguin in the snow, 3d render", "two apples on a white background",
    "a rocket and a planet in space", "an owl in the forest at night", "바닷가에 있는 강아지", "a big blue star",
    "a robot in a room, flat design", "a dinosaur in front of mountains", "의자에 앉아 있는 곰", "桜",
    "a majestic lion", "a whale under the sea", "눈사람", "a birthday cake", "a dragon on a car",
)  # fmt: skip
"""What the contact sheet shows beside random scenes: things that people type first."""


@dataclass(frozen=True)
class Verdict:
    """How much of what was asked for is there, 0-1: of `things` things, grounds and wholes of the pictures."""

    first: float
    in_five: float
    ground: float
    whole: float
    things: int


def stock_of(claimed: Collection[str] = ()) -> Stock:
    """Those of the drawn world's things that are claimed; all of them if none is."""
    stock = drawn_world().stock
    if not claimed:
        return stock
    return Stock({d: tuple(n for n in names if n in claimed) for d, names in stock.drawings.items()}, stock.shares)


def fresh_scenes(count: int, mix: Mix, offset: int = 0, claimed: Collection[str] = ()) -> list[Scene]:
    """Scenes of seeds that no training uses, the same ones at every call; of the claimed things alone, if any are."""
    stock = stock_of(claimed)
    return [random_scene(np.random.default_rng((_SEED, offset + i)), stock, mix) for i in range(count)]


def draw(pipeline: Any, prompts: list[str], **settings: Any) -> list[np.ndarray]:
    """Pictures for prompts, each with a seed of its own: uint8 [height, width, 3]."""
    pictures: list[np.ndarray] = []
    for first in range(0, len(prompts), _BATCH):
        batch = prompts[first : first + _BATCH]
        generators = [torch.Generator().manual_seed(1000 + first + i) for i in range(len(batch))]
        drawn = pipeline(batch, negative_prompt=[""] * len(batch), generator=generators, **DEFAULTS | settings)
        pictures += [np.asarray(picture) for picture in drawn.images]
    return pictures


def judge(recogniser: Recogniser, pictures: list[np.ndarray], scenes: list[Scene]) -> Verdict:
    """Compare pictures with the scenes that they should show, thing by thing, where each should be.

    A thing that another one hides is not asked for; what stands in front of something may do so to its left or right,
    since no prompt says which. `whole` is the share of the pictures in which every thing is
    recognised at once and the ground is right.
    """
    seen = [(n, figure) for n, scene in enumerate(scenes) for figure in visible(scene)]
    shown = [pictures[n] for n, _ in seen]
    ranks = np.array(places(recogniser, shown, [figure for _, figure in seen]))
    ranks = np.minimum(ranks, places(recogniser, shown, [_otherwise(figure, scenes[n]) for n, figure in seen]))
    grounds = np.array([g == s.ground for g, s in zip(grounds_of(recogniser, pictures), scenes, strict=True)])
    right = grounds.copy()
    for (number, _), rank in zip(seen, ranks, strict=True):
        right[number] &= rank == 0
    return Verdict(
        float((ranks < 1).mean()), float((ranks < 5).mean()), float(grounds.mean()), float(right.mean()), len(ranks)
    )


def _otherwise(figure: Figure, scene: Scene) -> Figure:
    """Where else it may stand: to the other side of what it is in front of."""
    if scene.relation != "in front of":
        return figure
    behind, (x, y) = scene.figures[1], figure.centre
    return replace(figure, centre=(2 * behind.centre[0] - x, y))


def say(scenes: list[Scene], language: Language | None = None) -> list[str]:
    """One prompt for each scene; without a language half of them are English, a quarter each Korean and Japanese.

    Each names the scene's ground: prompts that leave it open are answered with a white one, rightly.
    """
    order: tuple[Language, ...] = (language,) if language else ("en", "ko", "en", "ja")
    return [_said(scene, number, order[number % len(order)]) for number, scene in enumerate(scenes)]


def _said(scene: Scene, number: int, language: Language) -> str:
    other = replace(scene, ground="black" if scene.ground != "black" else "red")
    for attempt in itertools.count():
        seed = (_SEED, number, attempt)
        said, of_other = (wish_to_words(each, np.random.default_rng(seed), language) for each in (scene, other))
        if scene.ground == "white" or said != of_other:  # words of another ground are the same if none is named
            return said
    raise AssertionError  # which the type checker cannot know to be never reached


def claims(pipeline: Any, recogniser: Recogniser, times: int = 3) -> tuple[str, ...]:
    """The things that are recognised at once each time that they are drawn, in the table's order.

    Each is drawn alone on a white ground, from noise of its own: in the design of a prompt that names none so many
    times, then small, then in 3D.
    """
    figure = Figure("", None, None, None, "centre", (SIDE / 2, SIDE / 2 + 2), _USUAL, mirrored=False)
    small = replace(figure, size="small", side=_SMALL)
    asked = [("{}", figure)] * times + [("a small {}", small), ("{}, 3d render", figure)]
    names = [name for name in classes() if name not in SHAPES]
    pictures = draw(pipeline, [said.format(subjects()[name].names["en"][0]) for name in names for said, _ in asked])
    expected = [replace(each, name=name) for name in names for _, each in asked]
    ranks = np.array(places(recogniser, pictures, expected)).reshape(-1, len(asked))
    return tuple(name for name, worst in zip(names, ranks.max(1).tolist(), strict=True) if worst == 0)


def ceiling(recogniser: Recogniser, count: int, claimed: Collection[str] = ()) -> Verdict:
    """The verdict on the exact pictures: the most that can be reached."""
    scenes = fresh_scenes(count, ALONE, claimed=claimed)
    return judge(recogniser, [drawn_world().composer.compose(scene) for scene in scenes], scenes)


def look(pipeline: Any, recogniser: Recogniser | None, path: Path, count: int = 48) -> str:
    """Draw what people type first and a few random scenes, keep the sheet, and say how much of it is recognised."""
    scenes = fresh_scenes(count, ALONE)
    prompts = say(scenes)
    pictures = draw(pipeline, [*PROMPTS, *prompts])
    path.parent.mkdir(parents=True, exist_ok=True)
    named = [(text, Image.fromarray(p)) for text, p in zip([*PROMPTS, *prompts], pictures, strict=True)]
    sheet(named, columns=12, side=SIDE).save(path)
    if recogniser is None:
        return "nothing judges yet"
    found = judge(recogniser, pictures[len(PROMPTS) :], scenes)
    return f"{found.first:.0%} of the things are recognised, {found.in_five:.0%} in five; ground {found.ground:.0%}"


def evaluate(pipeline: Any, recogniser: Recogniser, claimed: Collection[str], count: int = 400) -> list[Row]:
    """The picture model's lines of the table, about the things that it claims."""
    top = ceiling(recogniser, count, claimed)
    rows = [Row("picture", "exact pictures, things named first (the most that can be reached)", top.first, None, count)]
    for language in (None, *LANGUAGES):
        wanted, offset = (count, 0) if language is None else (count // 2, 10_000)  # the same scenes in every language
        scenes = fresh_scenes(wanted, ALONE, offset, claimed)
        found = judge(recogniser, draw(pipeline, say(scenes, language)), scenes)
        note = f", {language}" if language else ""
        rows.append(Row("picture", f"thing{note}", found.first, 0.85, found.things))
        rows.append(Row("picture", f"thing in five{note}", found.in_five, 0.95, found.things))
        if language is None:
            rows.append(Row("picture", "ground", found.ground, 0.97, len(scenes)))
    pairs = fresh_scenes(count // 2, PAIRS, 100_000, claimed)
    found = judge(recogniser, draw(pipeline, say(pairs)), pairs)
    return [*rows, Row("picture", "two things both there, ground right", found.whole, 0.7, len(pairs))]


def evaluate_edits(editor: Any, recogniser: Recogniser, claimed: Collection[str], count: int = 200) -> list[Row]:
    """The lines about changes: everything as it should be afterwards, and what was removed gone."""
    rng = np.random.default_rng(_SEED)
    stock = stock_of(claimed)
    edits = [change_of(np.random.default_rng((_SEED, 1 << 20, i)), stock) for i in range(count)]
    order: tuple[Language, ...] = ("en", "ko", "en", "ja")
    asked = [wish_to_words(edit, rng, order[i % 4]) for i, edit in enumerate(edits)]
    changed = change(editor, [drawn_world().composer.compose(edit.before) for edit in edits], asked)
    exact = [drawn_world().composer.compose(edit.after) for edit in edits]
    right, known = (
        np.array([_is_right(recogniser, picture, edit) for picture, edit in zip(pictures, edits, strict=True)])
        for pictures in (changed, exact)
    )
    kinds = np.array([edit.kind for edit in edits])
    rows = [
        Row("picture", "edits right", float(right.mean()), 0.9, count),
        Row("picture", "edits right, exact pictures", float(known.mean()), None, count),
        Row("picture", "edits right where exact pictures are", float(right[known].mean()), None, int(known.sum())),
    ]
    for kind in dict.fromkeys(kinds.tolist()):
        here = right[kinds == kind]
        rows.append(Row("picture", f"edits right: {kind}", float(here.mean()), None, len(here)))
    return rows


def change(editor: Any, pictures: list[np.ndarray], instructions: list[str], **settings: Any) -> list[np.ndarray]:
    """The pictures changed by instructions, each with a seed of its own."""
    kept = {"max_area": SIDE * SIDE, "_auto_resize": False}
    changed: list[np.ndarray] = []
    for first in range(0, len(pictures), _BATCH):
        asked = instructions[first : first + _BATCH]
        drawn = editor(
            image=[Image.fromarray(picture) for picture in pictures[first : first + _BATCH]],
            prompt=asked,
            negative_prompt=[""] * len(asked),
            generator=[torch.Generator().manual_seed(5000 + first + i) for i in range(len(asked))],
            **DEFAULTS | kept | settings,
        )
        changed += [np.asarray(picture) for picture in drawn.images]
    return changed


def _is_right(recogniser: Recogniser, picture: np.ndarray, edit: Edit) -> bool:
    if judge(recogniser, [picture], [edit.after]).whole < 1:
        return False
    if edit.kind != "remove":
        return True
    assert edit.target is not None
    return edit.target.name not in classes() or places(recogniser, [picture], [edit.target])[0] > 0
