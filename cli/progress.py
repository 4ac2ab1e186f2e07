"""How far a command is: a bar on a terminal, a line now and then elsewhere; and work that goes on side by side."""

from __future__ import annotations

import asyncio
import sys
import time
from collections.abc import Awaitable, Callable, Iterable, Iterator
from contextlib import contextmanager
from datetime import timedelta
from typing import Final, TypeVar

from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, ProgressColumn, Task, TextColumn, TimeRemainingColumn
from rich.text import Text

T = TypeVar("T")
Advance = Callable[[], None]

LINE_SECONDS: Final = 5.0
"""Between two lines, where there is no terminal."""


class _Speed(ProgressColumn):
    def render(self, task: Task) -> Text:
        return Text("" if task.speed is None else f"{task.speed:.1f} pictures/s")


@contextmanager
def progress(doing: str, total: int) -> Iterator[Advance]:
    """Show on stderr how many of `total` pictures are done; what is yielded is called after each of them."""
    console = Console(stderr=True)
    if not console.is_terminal:
        yield _lines(doing, total)
        return
    columns = (TextColumn("{task.description}"), BarColumn(), MofNCompleteColumn(), _Speed(), TimeRemainingColumn())
    with Progress(*columns, console=console) as bar:
        task = bar.add_task(doing, total=total)
        yield lambda: bar.advance(task)


def _lines(doing: str, total: int) -> Advance:
    began = said = time.monotonic()
    done = 0

    def advance() -> None:
        nonlocal said, done
        done += 1
        now = time.monotonic()
        if now - said >= LINE_SECONDS:
            said = now
            speed = done / (now - began)
            left = timedelta(seconds=round(max(total - done, 0) / speed))
            print(f"{doing}: {done} of {total}, {speed:.1f} pictures/s, {left} left", file=sys.stderr, flush=True)

    return advance


async def side_by_side(work: Callable[[T], Awaitable[None]], items: Iterable[T], jobs: int) -> None:
    """Do the work for every item, so many at a time; an item is taken when its turn comes.

    The first failure ends the others and is raised.
    """
    turns = iter(items)

    async def worker() -> None:
        for item in turns:
            await work(item)
            await asyncio.sleep(0)  # work that had nothing to wait for would keep Ctrl-C out

    try:
        async with asyncio.TaskGroup() as group:
            for _ in range(jobs):
                group.create_task(worker())
    except BaseExceptionGroup as failures:
        raise failures.exceptions[0] from None
