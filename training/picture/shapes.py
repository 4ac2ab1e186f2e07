"""Does the picture model draw shapes as asked? Judged by `training.oracle` on prompts of scenes never trained on.

Every prompt names everything (colour, shape, size and place of each thing, the background), so that everything can be
checked. Things asked for and things seen are paired so that most agrees; what is missing counts as wrong. An edit is
right when background and every thing, changed or not, are as they should be, and nothing else is there.
"""

from __future__ import annotations

import itertools
from collections.abc import Iterable
from dataclasses import dataclass, fields
from pathlib import Path
from typing import Any, Final

import numpy as np
import torch
from diffusers import AutoPipelineForText2Image, FluxKontextPipeline
from PIL import Image

import models.image.painter  # noqa: F401  # diffusers takes what an index names from modules that are there
from training.captions import LANGUAGES, Language, full_caption
from training.edits import KINDS, Edit, EditKind, instruction, random_edit
from training.evaluate import MODELS, Row, fresh_scenes
from training.oracle import Seen, Sighting, look
from training.picture.judging import DEFAULTS
from training.world import Scene, Thing, render

FOLDER: Final = MODELS / "image"
BATCH: Final = 20
_BARS: Final = {"background colour": 0.98, "object colour": 0.96, "shape": 0.88}
_PROMPTS: Final = 200
_PROMPTS_PER_LANGUAGE: Final = 40
_EDITS: Final = 200
_EDITS_PER_KIND: Final = 60
_EDIT_BAR: Final = 0.9
_ASKED_KINDS: Final[tuple[EditKind, ...]] = ("recolour", "background", "remove")
"""The kinds that the bar is about; the others only inform."""


@dataclass(frozen=True)
class Score:
    """How much of one picture is right: shares of its things, 0-1."""

    background: float
    colour: float
    shape: float
    size: float
    place: float
    nothing_more: float

    @staticmethod
    def of(seen: Seen, scene: Scene) -> Score:
        """Compare a picture with what was asked for."""
        pairs = _matched(seen, scene)
        return Score(
            background=float(seen.background == scene.background),
            colour=_share(found is not None and found.colour == thing.colour for thing, found in pairs),
            shape=_share(found is not None and found.shape == thing.shape for thing, found in pairs),
            size=_share(found is not None and found.size == thing.size for thing, found in pairs),
            place=_share(found is not None and found.place == thing.place for thing, found in pairs),
            nothing_more=float(len(seen.things) <= len(scene.things)),
        )


def _share(verdicts: Iterable[bool]) -> float:
    return float(np.mean(list(verdicts)))


def _matched(seen: Seen, scene: Scene) -> list[tuple[Thing, Sighting | None]]:
    """Each thing asked for with the thing seen that is taken for it, so that the most agrees."""
    asked = scene.things
    candidates: list[Sighting | None] = [*seen.things[:6], *([None] * len(asked))]
    best = max(
        itertools.permutations(candidates, len(asked)),
        key=lambda order: sum(map(_agreement, asked, order)),
    )
    return list(zip(asked, best, strict=True))


def _agreement(thing: Thing, found: Sighting | None) -> float:
    if found is None:
        return 0.0
    return 1.0 * (found.place == thing.place) + 1.1 * (found.colour == thing.colour) + (found.shape == thing.shape)


def draw(pipeline: Any, prompts: list[str], **settings: Any) -> list[Image.Image]:
    """Pictures for prompts at the model card's settings, in batches, each prompt with a seed of its own."""
    pictures: list[Image.Image] = []
    for first in range(0, len(prompts), BATCH):
        batch = prompts[first : first + BATCH]
        blank = [""] * len(batch)
        generators = [torch.Generator().manual_seed(1000 + first + i) for i in range(len(batch))]
        pictures += pipeline(batch, negative_prompt=blank, generator=generators, **DEFAULTS | settings).images
    return pictures


def load_pipeline(folder: Path = FOLDER) -> Any:
    """The checkpoint as a newcomer loads it."""
    pipeline = AutoPipelineForText2Image.from_pretrained(folder, local_files_only=True)
    pipeline.set_progress_bar_config(disable=True)
    return pipeline


def score(pipeline: Any, scenes: list[Scene], language: Language | None = None, **settings: Any) -> list[Score]:
    """Draw and judge; without a language, half of the prompts are English, a quarter each Korean and Japanese."""
    rng = np.random.default_rng(0)
    order: tuple[Language, ...] = (language,) if language else ("en", "ko", "en", "ja")
    prompts = [full_caption(scene, rng, order[i % len(order)]) for i, scene in enumerate(scenes)]
    pictures = draw(pipeline, prompts, **settings)
    return [Score.of(look(picture), scene) for picture, scene in zip(pictures, scenes, strict=True)]


def load_editor(folder: Path = FOLDER) -> Any:
    """The same weights as a pipeline that follows instructions."""
    editor = FluxKontextPipeline.from_pretrained(folder, local_files_only=True)
    editor.set_progress_bar_config(disable=True)
    return editor


def edit_pictures(editor: Any, edits: list[Edit], prompts: list[str], **settings: Any) -> list[Image.Image]:
    """The changed pictures, each with a seed of its own."""
    side = {"max_area": DEFAULTS["height"] * DEFAULTS["width"], "_auto_resize": False}
    pictures: list[Image.Image] = []
    for first in range(0, len(edits), BATCH):
        batch = prompts[first : first + BATCH]
        pictures += editor(
            image=[render(edit.before, DEFAULTS["height"]) for edit in edits[first : first + BATCH]],
            prompt=batch,
            negative_prompt=[""] * len(batch),
            generator=[torch.Generator().manual_seed(5000 + first + i) for i in range(len(batch))],
            **DEFAULTS | side | settings,
        ).images
    return pictures


def is_right(picture: Image.Image, edit: Edit) -> bool:
    """Whether the picture shows what should be there after the change, and nothing else."""
    seen = look(picture)
    return (
        seen.background == edit.after.background
        and len(seen.things) == len(edit.after.things)
        and all(
            found is not None
            and (found.colour, found.shape, found.place, found.size)
            == (thing.colour, thing.shape, thing.place, thing.size)
            for thing, found in _matched(seen, edit.after)
        )
    )


def fresh_edits(count: int, kind: EditKind | None = None, *, offset: int = 0) -> list[Edit]:
    """Edits of seeds that no training uses."""
    return [random_edit(np.random.default_rng((910_000_000, offset + i)), kind) for i in range(count)]


def _edit_rows(editor: Any) -> list[Row]:
    rng = np.random.default_rng(1)
    order: tuple[Language, ...] = ("en", "ko", "en", "ja")

    def share(edits: list[Edit]) -> float:
        prompts = [instruction(edit, rng, order[i % len(order)]) for i, edit in enumerate(edits)]
        pictures = edit_pictures(editor, edits, prompts)
        return _share(is_right(picture, edit) for picture, edit in zip(pictures, edits, strict=True))

    asked = [fresh_edits(1, _ASKED_KINDS[i % len(_ASKED_KINDS)], offset=i)[0] for i in range(_EDITS)]
    rows = [Row("image", f"edits right ({', '.join(_ASKED_KINDS)})", share(asked), _EDIT_BAR, len(asked))]
    for number, kind in enumerate(KINDS, 1):
        rows.append(
            Row("image", f"edits right: {kind}", share(fresh_edits(_EDITS_PER_KIND, kind, offset=1000 * number)),
                None, _EDITS_PER_KIND)
        )  # fmt: skip
    return rows


def evaluate(folder: Path = FOLDER) -> list[Row]:
    """The picture model's lines about shapes."""
    pipeline = load_pipeline(folder)
    rows = _rows(score(pipeline, fresh_scenes(_PROMPTS)), "")
    for number, language in enumerate(LANGUAGES, 1):
        scenes = fresh_scenes(_PROMPTS_PER_LANGUAGE, offset=1000 * number)
        rows += [row for row in _rows(score(pipeline, scenes, language), f", {language}") if row.bar is not None]
    return rows + _edit_rows(load_editor(folder))


def _rows(scores: list[Score], note: str) -> list[Row]:
    names = {"colour": "object colour", "background": "background colour", "nothing_more": "nothing more than asked"}
    rows = []
    for field in fields(Score):
        measure = names.get(field.name, field.name)
        value = float(np.mean([getattr(each, field.name) for each in scores]))
        rows.append(Row("image", measure + note, value, _BARS.get(measure), len(scores)))
    return rows
