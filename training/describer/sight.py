"""Teaching cells to become tokens that say what they are part of, before any word is learnt.

A language model's loss reaches what it sees slowly. Here each token names the thing, shape and colour that covers its
cell, all of them together the ground and how many things there are, and six questions to them spell the word. The heads
that ask for this are thrown away.
"""

from __future__ import annotations

from typing import Final

import numpy as np
import torch
from torch import Tensor, nn
from torch.nn import functional

from models.sight import Reader
from training.composer.scene import GROUNDS
from training.describer.labels import LETTERS, THINGS, Labels, alphabet
from training.describer.pool import Pool, words
from training.describer.views import Views
from training.loop import Check, Schedule, fit
from training.world import COLOURS

WIDTH: Final = 256
_NOTHING: Final = 0.15
"""How much cells count that no thing covers."""
_SPELLING: Final = 0.6


class Heads(nn.Module):
    """What asks the tokens."""

    def __init__(self, width: int = WIDTH) -> None:
        super().__init__()
        self.colours = nn.Linear(width, len(COLOURS))
        self.grounds = nn.Linear(width, len(GROUNDS))
        self.counts = nn.Linear(width, 4)
        self.places = nn.Parameter(torch.randn(LETTERS, width) * 0.02)
        self.ask = nn.MultiheadAttention(width, 8, batch_first=True)
        self.letters = nn.Linear(width, 1 + len(alphabet(words())))

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
        wrong = functional.cross_entropy(self.colours(tokens).flatten(0, 1).float(), colours, reduction="sum")
        loss = loss + 0.3 * wrong / (colours >= 0).sum().clamp(min=1)
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


def learn_sight(sight: Sight, pool: Pool, unseen: Pool | None, schedule: Schedule, batch: int) -> None:
    """Train in place, where the pool is (log: `.runs/describer/sight`); `unseen` is looked at now and then."""
    device = pool.pixels.device
    views = Views(device)

    def loss_of(step: int, rng: np.random.Generator) -> Tensor:  # noqa: ARG001
        rows = torch.from_numpy(rng.integers(len(pool.scenes), size=batch)).to(device)
        seen = sight.reader.seen(*views.cells(pool.pixels[rows], vary=True))
        return sight.heads.loss(sight.reader, seen, pool.labels, rows)

    def look(step: int) -> None:
        if unseen is not None:
            print(step, accuracy(sight, views, unseen))

    fit("describer/sight", sight, loss_of, schedule, Check(500, look))


@torch.no_grad()
def accuracy(sight: Sight, views: Views, pool: Pool) -> dict[str, float]:
    """How much is right in designs and letterings that it never saw."""
    named, grounds, counts, spelt, blank = [], [], [], [], []
    right = pool.labels
    for rows in torch.split(torch.arange(len(pool.scenes), device=pool.pixels.device), 50):
        tokens = sight.reader.seen(*views.cells(pool.pixels[rows], vary=False))
        scores = sight.reader.things(tokens).float().log_softmax(-1)
        for cells, each in zip(right.cells[rows], scores, strict=True):
            for thing in set(cells.tolist()) - {0}:
                own = each[cells == thing].mean(0)
                named.append(int(own[1:].argmax()) + 1 == thing)
        grounds.append(sight.heads.grounds(tokens.mean(1)).argmax(-1) == right.grounds[rows])
        counts.append(sight.heads.counts(tokens.mean(1)).argmax(-1) == right.counts[rows])
        same = (sight.heads.spelt(tokens).argmax(-1) == right.letters[rows]).all(1)
        written = right.letters[rows].any(1)
        spelt.append(same[written])
        blank.append(same[~written])
    parts = {"grounds": grounds, "counts": counts, "words": spelt, "no word": blank}
    told = {name: round(float(torch.cat(part).float().mean()), 3) for name, part in parts.items()}
    return {"things": round(float(np.mean(named)), 3), **told}
