"""Teaching what finds the things, the ground and the letters in cells, before any word is learnt.

A language model's loss reaches what it sees slowly. Here each cell names the thing, shape and colour that covers it,
all of them together the ground and how many things there are, and six questions to them spell the word.
"""

from __future__ import annotations

from typing import Final

import numpy as np
import torch
from torch import Tensor
from torch.nn import functional

from models.sight import Found, Reader
from training.composer.scene import GROUNDS
from training.describer.labels import COUNTS, LETTERS, THINGS, Labels, alphabet
from training.describer.pool import Pool, words
from training.describer.views import Views
from training.loop import Check, Schedule, fit
from training.world import COLOURS, SHAPES

WIDTH: Final = 256
TOLD: Final = ("said.", "cells", "guess.")
"""Of the reader, what words teach; the rest finds."""
_NOTHING: Final = 0.15
"""How much cells count that no thing covers."""
_SPELLING: Final = 0.6


def sizes() -> dict[str, int]:
    """Of the reader."""
    return {
        "things": THINGS, "shapes": len(SHAPES), "colours": len(COLOURS), "grounds": len(GROUNDS), "counts": COUNTS,
        "alphabet": 1 + len(alphabet(words())), "letters": LETTERS, "depth": 2, "heads": 8,
    }  # fmt: skip


def new_reader() -> Reader:
    """One that knows nothing yet."""
    return Reader(WIDTH, **sizes())


def sight_loss(found: Found, right: Labels) -> Tensor:
    """How badly it is found what is there."""
    cells = right.cells.flatten()
    each = functional.cross_entropy(found.things.flatten(0, 1).float(), cells, reduction="none", label_smoothing=0.05)
    weights = torch.where(cells == 0, _NOTHING, 1.0)
    loss = (each * weights).sum() / weights.sum()
    colours = right.colours.flatten()
    wrong = functional.cross_entropy(found.colours.flatten(0, 1).float(), colours, reduction="sum")
    loss = loss + 0.3 * wrong / (colours >= 0).sum().clamp(min=1)
    loss = loss + functional.cross_entropy(found.grounds.float(), right.grounds)
    loss = loss + 0.5 * functional.cross_entropy(found.counts.float(), right.counts)
    spelt = functional.cross_entropy(found.letters.flatten(0, 1).float(), right.letters.flatten())
    total: Tensor = loss + _SPELLING * spelt
    return total


def learn_sight(
    reader: Reader, pool: Pool, unseen: Pool | None, schedule: Schedule, batch: int, name: str = "describer/sight"
) -> None:
    """Train what finds, where the pool is (log: `.runs/{name}`); `unseen` is looked at now and then."""
    device = pool.pixels.device
    views = Views(device)
    for part, weight in reader.named_parameters():
        weight.requires_grad_(not part.startswith((*TOLD, "kinds.")))

    def loss_of(step: int, rng: np.random.Generator) -> Tensor:  # noqa: ARG001
        rows = torch.from_numpy(rng.integers(len(pool.scenes), size=batch)).to(device)
        found = reader.found(reader.seen(*views.cells(pool.pixels[rows], vary=True)))
        return sight_loss(found, pool.labels.of(rows))

    def look(step: int) -> None:
        if unseen is not None:
            print(step, accuracy(reader, views, unseen))

    fit(name, reader, loss_of, schedule, Check(500, look))


@torch.no_grad()
def accuracy(reader: Reader, views: Views, pool: Pool) -> dict[str, float]:
    """How much is right in designs and letterings that it never saw."""
    named, grounds, counts, spelt, blank = [], [], [], [], []
    for rows in torch.split(torch.arange(len(pool.scenes), device=pool.pixels.device), 50):
        right = pool.labels.of(rows)
        found = reader.found(reader.seen(*views.cells(pool.pixels[rows], vary=False)))
        for cells, scores in zip(right.cells, found.things.float().log_softmax(-1), strict=True):
            there = set(cells.tolist()) - {0}
            named += [int(scores[cells == thing].mean(0)[1:].argmax()) + 1 == thing for thing in there]
        grounds.append(found.grounds.argmax(-1) == right.grounds)
        counts.append(found.counts.argmax(-1) == right.counts)
        same = (found.letters.argmax(-1) == right.letters).all(1)
        written = right.letters.any(1)
        spelt.append(same[written])
        blank.append(same[~written])
    parts = {"grounds": grounds, "counts": counts, "words": spelt, "no word": blank}
    told = {name: round(float(torch.cat(part).float().mean()), 3) for name, part in parts.items()}
    return {"things": round(float(np.mean(named)), 3), **told}
