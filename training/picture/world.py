"""What the picture model learns from: which designs, how often, and what random scenes of them are like."""

from __future__ import annotations

from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import Final

import numpy as np
import torch

from models.image.cut_outs import GREY
from models.image.draft import MARGIN
from training.art.designs import designs_for
from training.art.lettering import open_lettering
from training.art.shelf import FOLDER, Shelf, are_rendered
from training.composer.composing import Composer
from training.composer.scene import SIDE, Figure, Mix, Scene, Stock
from training.world import COLOURS, SHAPES, paint

SHARES: Final = {"noto": 0.65, "fluent-3d": 0.35}
"""How often each design is drawn: the first where a prompt names no style."""
MIX: Final = Mix()
ALONE: Final = Mix(figures=(0.0, 1.0, 0.0, 0.0))
GREY_PAPER: Final = (GREY, GREY, GREY)
"""What a drawing alone is drawn on."""


@dataclass(frozen=True)
class World:
    """Scenes to draw from and what draws them."""

    stock: Stock
    composer: Composer


@cache
def drawn_world(folder: Path = FOLDER, *, words: bool = False) -> World:
    """The world that the picture model draws; with `words`, some scenes may have one."""
    return _world(SHARES, folder, words)


def has_lettering(folder: Path = FOLDER) -> bool:
    """Whether there are pictures of words."""
    return (folder / "lettering.npz").exists()


def has_unseen_world(folder: Path = FOLDER) -> bool:
    """Whether the designs that judge are here; a machine that only trains need not have them."""
    return are_rendered(designs_for("recognise", "judge"), folder)


@cache
def unseen_world(folder: Path = FOLDER) -> World:
    """The same world in designs that the picture model never sees."""
    shelf = Shelf(designs_for("recognise", "judge"), folder)
    return World(Stock.of(shelf.usual()), Composer(shelf))


def _world(shares: dict[str, float], folder: Path, words: bool) -> World:
    shelf = Shelf(shares, folder)
    lettering = open_lettering(folder) if words else None
    numbers = () if lettering is None else tuple(int(number) for number in lettering.training())
    return World(Stock.of(shelf.usual(), shares, numbers), Composer(shelf, lettering))


def drawing_alone(name: str, way: str, stock: Stock) -> Scene:
    """A drawing as large as can be: of a design, or a shape in a colour."""
    shaped = name in SHAPES
    colour = COLOURS[COLOURS.index(way)] if shaped else None
    rgb = None if colour is None else paint(colour, np.random.default_rng(0))
    figure = Figure(name, colour, rgb, None, "centre", (SIDE / 2, SIDE / 2), SIDE / MARGIN, mirrored=False)
    return Scene("white", 0, GREY_PAPER, next(iter(stock.drawings)) if shaped else way, (figure,))


def to_tensor(pixels: np.ndarray | torch.Tensor) -> torch.Tensor:
    """uint8 [n, height, width, 3] -> float32 [n, 3, height, width] in -1..1, where the pixels are."""
    return torch.as_tensor(pixels).permute(0, 3, 1, 2).float().div_(127.5).sub_(1)


def device_of(name: str | None = None) -> torch.device:
    """The named device, or the GPU where there is one, or the CPU."""
    return torch.device(name or ("cuda" if torch.cuda.is_available() else "cpu"))
