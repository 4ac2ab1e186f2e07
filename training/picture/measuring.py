"""How well the picture model draws things, beside `training.picture.shapes`, which measures it on shapes."""

from __future__ import annotations

from pathlib import Path
from typing import Any, Final

from diffusers import FluxKontextPipeline, FluxPipeline

import models.image.painter  # noqa: F401  # diffusers takes what an index names from modules that are there
from training.art.designs import designs_for
from training.art.shelf import are_rendered
from training.evaluate import MODELS, Row
from training.picture.judging import evaluate as evaluate_things
from training.picture.judging import evaluate_edits
from training.picture.recogniser import KEPT, Recogniser, load_recogniser

CASES: Final = 400
"""Pictures of a line of the table; half as many for each language, for two things and for changes."""
CLAIMED: Final = "things.txt"
"""The file beside the pipeline that lists the things it is held to, one a line."""


def missing_command() -> str | None:
    """The command that makes what it is measured with, where that is not there."""
    if not are_rendered(designs_for("draw", "judge")):
        return "python -m training.art"
    return None if KEPT.exists() else "python -m training.picture.recogniser"


def evaluate(folder: Path = MODELS / "image") -> list[Row]:
    """The lines of the shipped model, about the things that it claims."""
    pipeline = FluxPipeline.from_pretrained(folder)
    pipeline.set_progress_bar_config(disable=True)
    return measured(pipeline, load_recogniser(), tuple((folder / CLAIMED).read_text("utf-8").splitlines()))


def measured(pipeline: Any, recogniser: Recogniser, claimed: tuple[str, ...], cases: int = CASES) -> list[Row]:
    """The lines of any pipeline: scenes of these things, and changes to them."""
    rows = evaluate_things(pipeline, recogniser, claimed, cases)
    editor = FluxKontextPipeline(**pipeline.components)
    editor.set_progress_bar_config(disable=True)
    return rows + evaluate_edits(editor, recogniser, claimed, cases // 2)
