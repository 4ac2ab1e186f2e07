"""What is right about a scene: what the reader has to find before any word is learnt."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from functools import cache
from typing import Final

import numpy as np
import torch
from torch import Tensor
from torch.nn import functional

from models.cells import CELL
from models.sight import SIDE, Shown
from training.art.subjects import subjects
from training.composer.composing import Composer
from training.composer.scene import GROUNDS, Relation, Scene
from training.describer.naming import DRAWN_COLOURS, colour_of, in_order, largest
from training.world import PLACES, SHAPES, Place

THINGS: Final = 1 + len(subjects()) + len(SHAPES)
"""What may stand at a place, with 0 for nothing."""
COLOURS: Final = (*DRAWN_COLOURS, None)
"""Of a thing; the last is of several."""
ARRANGEMENTS: Final[tuple[tuple[tuple[Place, ...], Relation | None], ...]] = (
    ((), None), (("centre",), None), (("left",), None), (("right",), None), (("top",), None), (("bottom",), None),
    (("left", "right"), None), (("left", "right", "centre"), None), (("top", "bottom"), "above"),
    (("top", "bottom"), "on"), (("bottom", "centre"), "in front of"),
)  # fmt: skip
"""Where things stand together, and how one stands to the other if not beside it."""
LETTERS: Final = 7
"""Of the longest word."""
GRID: Final = SIDE // CELL
"""Cells a side."""
_FINER: Final = 64
_COVERED: Final = 0.3
"""Of a cell belongs to the thing that it then names."""


@dataclass(frozen=True)
class Labels:
    """What is right about n scenes.

    Attributes:
        shown: what they show.
        cells: int64 [n, 49], 0 for nothing, else the thing's or shape's number from 1.
        owners: int64 [n, 49], the place of what a cell is part of; -1 for nothing.
    """

    shown: Shown
    cells: Tensor
    owners: Tensor

    def of(self, rows: Tensor) -> Labels:
        """Of some of them."""
        shown = Shown(*(each[rows] for each in vars(self.shown).values()))
        return Labels(shown, self.cells[rows], self.owners[rows])

    def to(self, device: torch.device) -> Labels:
        """The same on another device."""
        return Labels(self.shown.to(device), self.cells.to(device), self.owners.to(device))


@cache
def alphabet(words: tuple[str, ...]) -> dict[str, int]:
    """A number for each character of some words, from 1."""
    return {letter: 1 + i for i, letter in enumerate(sorted({letter for word in words for letter in word}))}


@cache
def numbers() -> dict[str, int]:
    """The number of each thing and shape, from 1."""
    return {name: 1 + i for i, name in enumerate((*subjects(), *SHAPES))}


@cache
def _arrangements() -> dict[tuple[frozenset[Place], Relation | None], int]:
    return {(frozenset(places), relation): i for i, (places, relation) in enumerate(ARRANGEMENTS)}


def shown_in(scenes: Sequence[Scene], words: tuple[str, ...]) -> Shown:
    """What scenes show. `words`: every word of the lettering, by its number."""
    rows = [_shown(scene, words) for scene in scenes]
    return Shown(*(torch.from_numpy(np.stack(part)) for part in zip(*rows, strict=True)))


def _shown(scene: Scene, words: tuple[str, ...]) -> tuple[np.ndarray, ...]:
    things, colours = np.zeros(len(PLACES), np.int64), np.zeros(len(PLACES), np.int64)
    is_largest = np.zeros(len(PLACES), np.bool_)
    for figure in scene.figures:
        place = PLACES.index(figure.place)
        things[place] = numbers()[figure.name]
        colours[place] = COLOURS.index(figure.colour or colour_of(figure.name, scene.design))
    if scene.figures:
        is_largest[PLACES.index(largest(in_order(scene)).place)] = True
    relation = None if scene.relation == "beside" else scene.relation
    arrangement = _arrangements()[frozenset(figure.place for figure in scene.figures), relation]
    letters = np.zeros(LETTERS, np.int64)
    for i, letter in enumerate("" if scene.word is None else words[scene.word]):
        letters[i] = alphabet(words)[letter]
    return things, colours, is_largest, np.array(arrangement), np.array(GROUNDS.index(scene.ground)), letters


def cells_of(scenes: Sequence[Scene], composer: Composer) -> tuple[np.ndarray, np.ndarray]:
    """`cells` and `owners` of `Labels`."""
    rows = [_cells(scene, composer) for scene in scenes]
    cells, owners = (np.stack(part) for part in zip(*rows, strict=True))
    return cells, owners


def _cells(scene: Scene, composer: Composer) -> tuple[np.ndarray, np.ndarray]:
    cells, owners = np.zeros(GRID * GRID, np.int64), np.full(GRID * GRID, -1, np.int64)
    if scene.figures:
        fine = torch.from_numpy(composer.covers(scene, _FINER))
        covers = functional.adaptive_avg_pool2d(fine, GRID).flatten(1).numpy()
        best = covers.argmax(0)
        for cell in np.flatnonzero(covers.max(0) > _COVERED):
            figure = scene.figures[best[cell]]
            cells[cell] = numbers()[figure.name]
            owners[cell] = PLACES.index(figure.place)
    return cells, owners
