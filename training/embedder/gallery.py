"""Features of drawings, computed once by the frozen tower and kept under `.runs/embedder`: one file a design."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Final

import numpy as np
import torch
from PIL import Image
from rich.progress import track
from torch import nn

from training.art.shelf import Shelf
from training.art.subjects import subjects
from training.composer.composing import Composer
from training.composer.scene import Mix, Scene, Stock, random_scene
from training.loop import RUNS
from training.tower import features

FOLDER: Final = RUNS / "embedder" / "features"
SCENES: Final = 500
"""Scenes of each design."""
_MIX: Final = Mix(figures=(0.05, 0.6, 0.3, 0.05), painted=0.6)
_SEED: Final = 81


@dataclass(frozen=True)
class Gallery:
    """Drawings of one design and scenes of them, as features.

    Attributes:
        things: int64 [n], which thing each drawing on white is of.
        drawn: float32 [n, 1280].
        scenes: what the scenes are.
        seen: float32 [scenes, 1280].
    """

    things: torch.Tensor
    drawn: torch.Tensor
    scenes: list[Scene]
    seen: torch.Tensor


def open_gallery(design: str, tower: nn.Module, folder: Path = FOLDER, scenes: int = SCENES) -> Gallery:
    """The gallery of a design, computed unless it was before."""
    shelf = Shelf([design])
    order = list(subjects())
    drawings = [drawing for drawing in shelf.drawings if drawing.view == 0]
    stock = Stock.of(shelf.usual(), {design: 1.0})
    composed = [random_scene(np.random.default_rng((_SEED, i)), stock, _MIX) for i in range(scenes)]
    kept = folder / f"{design}-{scenes}.pt"
    if not kept.exists():
        folder.mkdir(parents=True, exist_ok=True)
        composer = Composer(shelf)
        pictures = [Image.fromarray(shelf[drawing]) for drawing in drawings]
        pictures += [Image.fromarray(composer.compose(scene)) for scene in composed]
        parts = [pictures[first : first + 32] for first in range(0, len(pictures), 32)]
        found = torch.cat([features(tower, part) for part in track(parts, f"features of {design}")])
        torch.save(found, kept)
    held = torch.load(kept, weights_only=True)
    things = torch.tensor([order.index(drawing.subject) for drawing in drawings])
    return Gallery(things, held[: len(drawings)], composed, held[len(drawings) :])
