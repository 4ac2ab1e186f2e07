"""What training needs, made by other processes: all of it, or step by step before it is asked for."""

from __future__ import annotations

import multiprocessing
import os
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ProcessPoolExecutor
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


def in_processes(work: Callable[..., Made], arguments: Sequence[tuple[object, ...]], workers: int) -> Iterator[Made]:
    """What `work` makes of each tuple of arguments, in order, by so many processes; by this one for 0.

    `work` must not use a GPU.
    """
    if not workers:
        yield from (work(*each) for each in arguments)
        return
    # Forked, so that they have what is in memory here.
    with ProcessPoolExecutor(workers, multiprocessing.get_context("fork"), _step_back) as pool:
        yield from pool.map(work, *zip(*arguments, strict=True))


def _step_back() -> None:
    """For those that wait for nobody. The threads of the process that was forked are not there: torch would wait for
    them."""
    os.nice(5)
    torch.set_num_threads(1)
