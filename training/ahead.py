"""What a step of training needs, made by other processes before it is asked for."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import Final, TypeVar

import torch
from torch.utils.data import DataLoader, Dataset

_WAITING: Final = 4
"""What each process has ready."""
_LAST: Final = 1 << 40
Made = TypeVar("Made")


class _Steps(Dataset[Made]):
    def __init__(self, make: Callable[[int], Made]) -> None:
        self._make = make

    def __getitem__(self, step: int) -> Made:
        return self._make(step)


def ahead(make: Callable[[int], Made], workers: int) -> Callable[[int], Made]:
    """A function that gives what `make` makes of a step; steps are asked for one after the other, from any first one.

    With `workers` so many processes make what comes next meanwhile; with none, this one makes it when it is asked for.
    `make` must not use a GPU.
    """
    if not workers:
        return make
    coming: Iterator[Made] | None = None

    def take(step: int) -> Made:
        nonlocal coming
        if coming is None:
            # Forked, so that `make` brings along what is in memory here. With its own generator, as steps have theirs.
            loader: DataLoader[Made] = DataLoader(
                _Steps(make), batch_size=None, sampler=range(step, _LAST), num_workers=workers,
                prefetch_factor=_WAITING, multiprocessing_context="fork", generator=torch.Generator(),
            )  # fmt: skip
            coming = iter(loader)
        return next(coming)

    return take
