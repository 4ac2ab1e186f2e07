"""What a replica does by itself, again and again."""

from __future__ import annotations

import asyncio
import logging
import weakref
from collections.abc import Awaitable, Callable
from typing import Final, TypeVar

logger = logging.getLogger("ray.serve")

O = TypeVar("O", bound=object)  # noqa: E741 - the owner

_FIRST_SECONDS: Final = 60.0
"""How soon after a start every duty is done once, at most: a server may never run for half an hour."""
_LONGEST_PAUSE_SECONDS: Final = 300.0


async def repeat(
    owner: weakref.ref[O], duty: Callable[[O], Awaitable[None]], pause: float, is_expected: Callable[[O], bool]
) -> None:
    """Do a duty until its owner is gone, with a pause before each time.

    After a failure it is tried again, each time after twice as long, up to 5 minutes. The first failure is logged with
    its traceback and those that follow with one line; where failures are expected, since their cause was logged, none.
    """
    next_pause = min(pause, _FIRST_SECONDS)
    failures = 0
    while True:
        await asyncio.sleep(next_pause)
        its_owner = owner()
        if its_owner is None:
            return
        try:
            await duty(its_owner)
            failures, next_pause = 0, pause
        except Exception as error:
            failures += 1
            next_pause = max(pause, min(pause * 2.0**failures, _LONGEST_PAUSE_SECONDS))
            if not is_expected(its_owner):
                logger.error(
                    "%s failed and is tried again in %.0f s: %s: %s",
                    duty.__name__.strip("_").replace("_", " "),
                    next_pause,
                    type(error).__name__,
                    error,
                    exc_info=error if failures == 1 else None,
                )
        del its_owner
