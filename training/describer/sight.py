"""Teaching what finds the things, the ground and the letters in a drawing, before any word is learnt.

A language model's loss reaches what it sees slowly. Here each cell names the thing that covers it; each place looks for
the cells of what stands there, and names that with its colour; all cells together tell the ground and how the things
stand. Letters are learnt by themselves, from what is seen earlier and of pictures with words.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, Final

import numpy as np
import torch
from torch import Tensor
from torch.nn import functional

from models.sight import Found, Reader, Shown
from models.spelling import spelt
from training.composer.scene import GROUNDS
from training.describer.labels import ARRANGEMENTS, COLOURS, LETTERS, THINGS, Labels, alphabet
from training.describer.naming import words
from training.describer.pool import Pool
from training.describer.views import Views
from training.loop import Check, Schedule, fit
from training.world import PLACES, SHAPES, Place

WIDTH: Final = 256
TOLD: Final = ("said.", "tokens", "guess.")
"""Of the reader, what words teach; the rest finds, but for the gate."""
SPELLS: Final = "speller."
_NOTHING: Final = 0.15
"""How much cells count that no thing covers."""
_BLANK: Final = 10
"""One of so many pictures has no word, where letters are learnt."""
_BARE: Final = 10
"""One of so many pictures has no thing, where things are learnt."""
_SMOOTHED: Final = 0.05
"""Of what is right is spread over all things: similar ones are hard to tell."""


_MIRRORED: Final[dict[Place, Place]] = {"left": "right", "right": "left"}


def sizes() -> dict[str, Any]:
    """Of the reader."""
    return {
        "things": THINGS, "shapes": len(SHAPES), "colours": len(COLOURS), "grounds": len(GROUNDS),
        "places": len(PLACES), "mirrored": [PLACES.index(_MIRRORED.get(place, place)) for place in PLACES],
        "arrangements": [[PLACES.index(at) for at in places] for places, _ in ARRANGEMENTS],
        "alphabet": 1 + len(alphabet(words())), "letters": LETTERS, "depth": 2, "heads": 8,
    }  # fmt: skip


def new_reader() -> Reader:
    """One that knows nothing yet."""
    return Reader(WIDTH, **sizes())


def sight_loss(found: Found, right: Labels) -> Tensor:
    """How badly it is found what is there."""
    loss = _of_cells(found, right) + _of_places(found, right.shown)
    loss = loss + functional.cross_entropy(found.grounds.float(), right.shown.grounds)
    total: Tensor = loss + functional.cross_entropy(found.arrangements.float(), right.shown.arrangements)
    return total


def _of_cells(found: Found, right: Labels) -> Tensor:
    cells = right.cells.flatten()
    each = functional.cross_entropy(
        found.cells.flatten(0, 1).float(), cells, reduction="none", label_smoothing=_SMOOTHED
    )
    weights = torch.where(cells == 0, _NOTHING, 1.0)
    # Each place is to look at the cells of what stands there.
    shares = found.looks.float().softmax(1)
    own = functional.one_hot(right.owners + 1, shares.shape[-1] + 1)[..., 1:]
    seen = (own.sum(1) > 0).float()
    looked = ((shares * own).sum(1) + 1e-6).log() * seen
    return (each * weights).sum() / weights.sum() - 0.3 * looked.sum() / seen.sum().clamp(min=1)


def _of_places(found: Found, right: Shown) -> Tensor:
    taken = right.things > 0
    if not taken.any():
        return found.things.sum() * 0
    loss = functional.cross_entropy(found.things[taken].float(), right.things[taken], label_smoothing=_SMOOTHED)
    loss = loss + 0.3 * functional.cross_entropy(found.colours[taken].float(), right.colours[taken])
    several = taken.sum(1) > 1
    if several.any():
        sizes = found.sizes.float().masked_fill(~taken, -1e4)[several]
        loss = loss + 0.2 * functional.cross_entropy(sizes, right.largest[several].int().argmax(1))
    return loss


def spelling_loss(letters: Tensor, right: Tensor) -> Tensor:
    """How badly words are spelt; `letters` from a `Speller`, `right`: int64 [n, letters of a word], 0 after the end."""
    count, columns, _ = letters.shape
    lengths = torch.full((count,), columns, device=letters.device)
    loss: Tensor = functional.ctc_loss(
        letters.float().log_softmax(-1).transpose(0, 1), right, lengths, (right > 0).sum(1), zero_infinity=True
    )
    return loss


def learn_sight(
    reader: Reader, pool: Pool, unseen: Pool | None, schedule: Schedule, batch: int, name: str = "describer/sight"
) -> None:
    """Train what finds things, where the pool is (log: `.runs/{name}`); `unseen` is looked at now and then."""
    views = Views(pool.pixels.device)
    for part, weight in reader.named_parameters():
        weight.requires_grad_(not part.startswith((*TOLD, "kinds.", SPELLS)))

    has_things = (pool.labels.shown.things > 0).any(1).cpu().numpy()
    full, bare = np.flatnonzero(has_things), np.flatnonzero(~has_things)

    def loss_of(step: int, rng: np.random.Generator) -> Tensor:  # noqa: ARG001
        rows = _mostly(full, bare, batch, _BARE, rng).to(pool.pixels.device)
        found = reader.found(views.cells(pool.pixels[rows], vary=True))
        return sight_loss(found, pool.labels.of(rows))

    fit(name, reader, loss_of, schedule, _check(reader, views, unseen, accuracy))


def learn_spelling(
    reader: Reader, pool: Pool, unseen: Pool | None, schedule: Schedule, batch: int, name: str = "describer/spelling"
) -> None:
    """Train what reads letters alike, mostly of pictures with words."""
    device = pool.pixels.device
    views = Views(device)
    for part, weight in reader.named_parameters():
        weight.requires_grad_(part.startswith(SPELLS))
    is_written = pool.labels.shown.letters.any(1).cpu().numpy()
    written, blank = np.flatnonzero(is_written), np.flatnonzero(~is_written)

    def loss_of(step: int, rng: np.random.Generator) -> Tensor:  # noqa: ARG001
        rows = _mostly(written, blank, batch, _BLANK, rng).to(device)
        letters = reader.speller(views.strokes(pool.pixels[rows], vary=True))
        return spelling_loss(letters, pool.labels.shown.letters[rows])

    fit(name, reader, loss_of, schedule, _check(reader, views, unseen, spelling_accuracy))


def _mostly(full: np.ndarray, empty: np.ndarray, count: int, one_of: int, rng: np.random.Generator) -> Tensor:
    """So many rows, one in `one_of` from `empty`, the others from `full`; all from one where there is no other."""
    few = count if not len(full) else 0 if not len(empty) else max(1, count // one_of)
    groups = ((full, count - few), (empty, few))
    return torch.from_numpy(np.concatenate([rng.choice(group, some) for group, some in groups if some]))


def _check(
    reader: Reader, views: Views, unseen: Pool | None, accuracy: Callable[[Reader, Views, Pool], dict[str, float]]
) -> Check | None:
    return Check(500, lambda step: print(step, accuracy(reader, views, unseen))) if unseen is not None else None


@torch.no_grad()
def accuracy(reader: Reader, views: Views, pool: Pool) -> dict[str, float]:
    """How much of what is shown is right in designs that it never saw."""
    parts: dict[str, list[Tensor]] = {}
    for rows in _by_fifty(pool):
        right, cells = pool.labels.of(rows).shown, views.cells(pool.pixels[rows], vary=False)
        shown = reader.decided(reader.found(cells), spelt(reader.speller(cells.strokes), reader.longest))
        taken = right.things > 0
        told = {
            "things": (shown.things == right.things)[taken],
            "colours": (shown.colours == right.colours)[taken],
            "largest": (shown.largest == right.largest).all(1)[taken.sum(1) > 1],
            "arrangements": shown.arrangements == right.arrangements,
            "grounds": shown.grounds == right.grounds,
        }
        for name, each in told.items():
            parts.setdefault(name, []).append(each)
    return {name: _share(part) for name, part in parts.items()}


@torch.no_grad()
def spelling_accuracy(reader: Reader, views: Views, pool: Pool) -> dict[str, float]:
    """How many words are read in letterings that it never saw, and how many blank pictures are left blank."""
    words, blank = [], []
    for rows in _by_fifty(pool):
        right = pool.labels.of(rows).shown.letters
        letters = spelt(reader.speller(views.strokes(pool.pixels[rows], vary=False)), right.shape[1])
        is_right, written = (letters == right).all(1), right.any(1)
        words.append(is_right[written])
        blank.append(is_right[~written])
    return {"words": _share(words), "no word": _share(blank)}


def _by_fifty(pool: Pool) -> tuple[Tensor, ...]:
    return torch.split(torch.arange(len(pool.scenes), device=pool.pixels.device), 50)


def _share(right: list[Tensor]) -> float:
    return round(float(torch.cat(right).float().mean()), 3)
