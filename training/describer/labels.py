"""What is right about a scene, cell by cell: what the reader's tokens have to say before any word is learnt."""

from __future__ import annotations

from dataclasses import dataclass
from functools import cache
from typing import Final

import numpy as np
import torch
from torch import Tensor
from torch.nn import functional

from training.art.subjects import subjects
from training.composer.composing import Composer
from training.composer.scene import GROUNDS, Scene
from training.world import COLOURS, SHAPES

THINGS: Final = 1 + len(subjects()) + len(SHAPES)
"""What a cell may be part of, with 0 for nothing."""
COUNTS: Final = 4
"""How many things there may be, with none."""
LETTERS: Final = 6
GRID: Final = 7
"""Cells a side."""
_FINER: Final = 64
_COVERED: Final = 0.3
"""Of a cell belongs to the thing that it then names."""


@dataclass(frozen=True)
class Labels:
    """What is right about n scenes.

    Attributes:
        cells: int64 [n, 49], 0 for nothing, else the thing's or shape's number from 1.
        colours: int64 [n, 49], of shapes; -100 elsewhere.
        grounds: int64 [n].
        counts: int64 [n].
        letters: int64 [n, 6], 0 for none.
    """

    cells: Tensor
    colours: Tensor
    grounds: Tensor
    counts: Tensor
    letters: Tensor

    def of(self, rows: Tensor) -> Labels:
        """Of some of them."""
        return Labels(*(each[rows] for each in vars(self).values()))

    def to(self, device: torch.device) -> Labels:
        """The same on another device."""
        return Labels(*(each.to(device) for each in vars(self).values()))


@cache
def alphabet(words: tuple[str, ...]) -> dict[str, int]:
    """A number for each character of some words, from 1."""
    return {letter: 1 + i for i, letter in enumerate(sorted({letter for word in words for letter in word}))}


@cache
def _order() -> dict[str, int]:
    return {name: 1 + i for i, name in enumerate((*subjects(), *SHAPES))}


def label(scenes: list[Scene], composer: Composer, words: tuple[str, ...]) -> tuple[np.ndarray, ...]:
    """The fields of `Labels`. `words`: every word of the lettering, by its number."""
    rows = [_labelled(scene, composer, words) for scene in scenes]
    return tuple(np.stack(part) for part in zip(*rows, strict=True))


def _labelled(scene: Scene, composer: Composer, words: tuple[str, ...]) -> tuple[np.ndarray, ...]:
    cells = np.zeros(GRID * GRID, np.int64)
    colours = np.full(GRID * GRID, -100, np.int64)
    if scene.figures:
        fine = torch.from_numpy(composer.covers(scene, _FINER))
        covers = functional.adaptive_avg_pool2d(fine, GRID).flatten(1).numpy()
        best = covers.argmax(0)
        for cell in np.flatnonzero(covers.max(0) > _COVERED):
            figure = scene.figures[best[cell]]
            cells[cell] = _order()[figure.name]
            if figure.colour is not None:
                colours[cell] = COLOURS.index(figure.colour)
    letters = np.zeros(LETTERS, np.int64)
    for i, letter in enumerate("" if scene.word is None else words[scene.word][:LETTERS]):
        letters[i] = alphabet(words)[letter]
    return cells, colours, np.array(GROUNDS.index(scene.ground)), np.array(len(scene.figures)), letters
