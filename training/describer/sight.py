"""Teaching cells to become tokens that say what they are part of, before any word is learnt.

A language model's loss reaches what it sees slowly. Here each token names the thing, shape and colour that covers its
cell, all of them together the ground and how many things there are, and six questions to them spell the word. The heads
that ask for this are thrown away.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import cache
from typing import Final

import numpy as np
import torch
from rich.progress import track
from torch import Tensor, nn
from torch.nn import functional

from models.sight import Reader
from training.art.subjects import subjects
from training.composer.scene import GROUNDS, Scene
from training.describer.pool import FOLDER, Pool, words, world
from training.loop import Check, Schedule, fit
from training.world import COLOURS, SHAPES

WIDTH: Final = 256
THINGS: Final = 1 + len(subjects()) + len(SHAPES)
_GRID: Final = 7
_FINER: Final = 64
_COVERED: Final = 0.3
"""Of a cell belongs to the thing that it then names."""
_LETTERS: Final = 6
_NOTHING: Final = 0.15
"""How much cells count that no thing covers."""
_SPELLING: Final = 0.6


@dataclass(frozen=True)
class Labels:
    """What is right about each scene of a pool.

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


@cache
def alphabet() -> dict[str, int]:
    """A number for each character of the lettering, from 1."""
    return {letter: 1 + i for i, letter in enumerate(sorted({letter for word in words() for letter in word}))}


def labels_of(pool: Pool, *, unseen: bool) -> Labels:
    """Computed once, then kept beside the pool."""
    kept = FOLDER / f"labels-{'unseen' if unseen else 'seen'}.pt"
    if not kept.exists():
        rows = [_labelled(scene, unseen=unseen) for scene in track(pool.scenes, "labelling")]
        torch.save([torch.from_numpy(np.stack(part)) for part in zip(*rows, strict=True)], kept)
    return Labels(*torch.load(kept, weights_only=True))


def _labelled(scene: Scene, *, unseen: bool) -> tuple[np.ndarray, ...]:
    order = {name: 1 + i for i, name in enumerate((*subjects(), *SHAPES))}
    cells = np.zeros(_GRID * _GRID, np.int64)
    colours = np.full(_GRID * _GRID, -100, np.int64)
    if scene.figures:
        fine = torch.from_numpy(world(unseen=unseen)[1].covers(scene, _FINER))
        covers = functional.adaptive_avg_pool2d(fine, _GRID).flatten(1).numpy()
        best = covers.argmax(0)
        for cell in np.flatnonzero(covers.max(0) > _COVERED):
            figure = scene.figures[best[cell]]
            cells[cell] = order[figure.name]
            if figure.colour is not None:
                colours[cell] = COLOURS.index(figure.colour)
    letters = np.zeros(_LETTERS, np.int64)
    for i, letter in enumerate("" if scene.word is None else words()[scene.word][:_LETTERS]):
        letters[i] = alphabet()[letter]
    return cells, colours, np.array(GROUNDS.index(scene.ground)), np.array(len(scene.figures)), letters


class Heads(nn.Module):
    """What asks the tokens."""

    def __init__(self, width: int = WIDTH) -> None:
        super().__init__()
        self.colours = nn.Linear(width, len(COLOURS))
        self.grounds = nn.Linear(width, len(GROUNDS))
        self.counts = nn.Linear(width, 4)
        self.places = nn.Parameter(torch.randn(_LETTERS, width) * 0.02)
        self.ask = nn.MultiheadAttention(width, 8, batch_first=True)
        self.letters = nn.Linear(width, 1 + len(alphabet()))

    def spelt(self, tokens: Tensor) -> Tensor:
        """Scores of the letters, [n, 6, alphabet]."""
        asked = self.places.expand(len(tokens), -1, -1).to(tokens.dtype)
        found: Tensor = self.letters(self.ask(asked, tokens, tokens, need_weights=False)[0] + asked)
        return found

    def loss(self, reader: Reader, tokens: Tensor, right: Labels, rows: Tensor) -> Tensor:
        """Of tokens [n, 49, width], as the reader has seen these rows."""
        cells = right.cells[rows].flatten()
        scores = reader.things(tokens).flatten(0, 1).float()
        each = functional.cross_entropy(scores, cells, reduction="none", label_smoothing=0.05)
        weights = torch.where(cells == 0, _NOTHING, 1.0)
        loss = (each * weights).sum() / weights.sum()
        colours = right.colours[rows].flatten()
        if (colours >= 0).any():
            loss = loss + 0.3 * functional.cross_entropy(self.colours(tokens).flatten(0, 1).float(), colours)
        middle = tokens.mean(1)
        loss = loss + functional.cross_entropy(self.grounds(middle).float(), right.grounds[rows])
        loss = loss + 0.5 * functional.cross_entropy(self.counts(middle).float(), right.counts[rows])
        spelt = functional.cross_entropy(self.spelt(tokens).flatten(0, 1).float(), right.letters[rows].flatten())
        total: Tensor = loss + _SPELLING * spelt
        return total


class Sight(nn.Module):
    """The reader and its heads."""

    def __init__(self) -> None:
        super().__init__()
        self.reader = Reader(WIDTH, THINGS)
        self.heads = Heads()


def learn_sight(sight: Sight, pool: Pool, unseen: Pool, schedule: Schedule, batch: int) -> None:
    """Train in place (log: `.runs/describer/sight`)."""
    right, right_unseen = labels_of(pool, unseen=False), labels_of(unseen, unseen=True)

    def loss_of(step: int, rng: np.random.Generator) -> Tensor:  # noqa: ARG001
        rows = rng.integers(len(pool.scenes), size=batch)
        coarse, fine = (in_other_styles(cells, rng) for cells in pool.cells(rows))
        return sight.heads.loss(sight.reader, sight.reader.seen(coarse, fine), right, torch.from_numpy(rows))

    fit(
        "describer/sight",
        sight,
        loss_of,
        schedule,
        Check(250, lambda step: print(step, accuracy(sight, unseen, right_unseen))),
    )


def in_other_styles(cells: Tensor, rng: np.random.Generator) -> Tensor:
    """Cells [n, rows, columns, channels] with the style of half of the pictures moved towards that of others.

    A design shows in the mean and spread that each channel has over a picture. Mixed between pictures they make designs
    that there are not (MixStyle, Zhou et al. 2021), and the network learns to look past them.
    """
    middle, spread = cells.mean((1, 2), keepdim=True), cells.std((1, 2), keepdim=True) + 1e-4
    other = torch.from_numpy(rng.permutation(len(cells)))
    kept = torch.from_numpy(rng.beta(0.3, 0.3, (len(cells), 1, 1, 1)).astype(np.float32))
    kept = torch.where(torch.from_numpy(rng.random((len(cells), 1, 1, 1)) < 0.5), kept, torch.ones(()))
    wanted = kept * spread + (1 - kept) * spread[other], kept * middle + (1 - kept) * middle[other]
    mixed: Tensor = (cells - middle) / spread * wanted[0] + wanted[1]
    return mixed


@torch.no_grad()
def accuracy(sight: Sight, pool: Pool, right: Labels) -> dict[str, float]:
    """How much is right in designs and letterings that it never saw."""
    named, grounds, counts, spelt, blank = [], [], [], [], []
    for first in range(0, len(pool.scenes), 50):
        rows = np.arange(first, min(first + 50, len(pool.scenes)))
        tokens = sight.reader.seen(*pool.cells(rows))
        scores = sight.reader.things(tokens).log_softmax(-1)
        for row, each in zip(rows, scores, strict=True):
            for thing in set(right.cells[row].tolist()):
                if thing:
                    own = each[right.cells[row] == thing].mean(0)
                    named.append(int(own[1:].argmax()) + 1 == thing)
        found = torch.from_numpy(rows)
        grounds.append(sight.heads.grounds(tokens.mean(1)).argmax(-1) == right.grounds[found])
        counts.append(sight.heads.counts(tokens.mean(1)).argmax(-1) == right.counts[found])
        same = (sight.heads.spelt(tokens).argmax(-1) == right.letters[found]).all(1)
        written = right.letters[found].any(1)
        spelt.append(same[written])
        blank.append(same[~written])
    parts = {"grounds": grounds, "counts": counts, "words": spelt, "no word": blank}
    told = {name: round(float(torch.cat(part).float().mean()), 3) for name, part in parts.items()}
    return {"things": round(float(np.mean(named)), 3), **told}
