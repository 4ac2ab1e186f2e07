"""What jobs that outlive their requests have given, to be asked for later: within ten minutes and so many bytes."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncGenerator, Sequence

from cachetools import TTLCache

from deployments.imaging import FinishedImage, Partial
from deployments.ingress.errors import ApiError
from deployments.ingress.services.image_answers import AskedPictures, PictureAnswer

KEPT_SECONDS = 600.0
MOST_FOLLOWERS = 16
_OVERHEAD = 4096


class Outcome:
    """What one job has given so far. To be used from one event loop."""

    def __init__(self, asked: AskedPictures) -> None:
        self.asked = asked
        self.answer: PictureAnswer | None = None
        self.error: ApiError | None = None
        self._partials: dict[int, Partial] = {}
        self._finished: list[FinishedImage] = []
        self._has_ended = False
        self._changed = asyncio.Event()
        self._changes = 0
        self._followers = 0

    @property
    def size(self) -> int:
        """Bytes of what is kept of it, roughly."""
        return sum(len(each.data) for each in self._finished) + len(self.asked.job.prompt.encode()) + _OVERHEAD

    @property
    def finished(self) -> Sequence[FinishedImage]:
        """The pictures that are whole, in order."""
        return self._finished

    @property
    def partials(self) -> Sequence[Partial]:
        """The latest partial picture of each that is not."""
        return list(self._partials.values())

    @property
    def has_ended(self) -> bool:
        """Whether nothing follows."""
        return self._has_ended

    @property
    def changes(self) -> int:
        """How often it has changed."""
        return self._changes

    async def change_after(self, changes: int) -> None:
        """Return once it has changed more often than that, or has ended."""
        while self._changes <= changes and not self._has_ended:
            await self._changed.wait()

    async def end_of_it(self) -> None:
        """Return once it has ended."""
        while not self._has_ended:
            await self._changed.wait()

    def add(self, piece: Partial | FinishedImage) -> None:
        """Take what the model has given; of each picture's partial ones the latest is kept, until it is whole."""
        if isinstance(piece, Partial):
            self._partials[piece.picture] = piece
        else:
            self._partials.pop(piece.seed - self.asked.job.seed, None)
            self._finished.append(piece)
        self._tell()

    def end(self, *, answer: PictureAnswer | None = None, error: ApiError | None = None) -> None:
        """Note how it ended; what was noted first stays."""
        if self._has_ended:
            return
        self.answer, self.error = answer, error
        self._has_ended = True
        self.asked = self.asked.without_pictures()
        self._partials.clear()
        self._tell()

    def refuse_more_followers(self) -> None:
        """Raises ApiError 429 when so many follow it already as may."""
        if self._followers >= MOST_FOLLOWERS:
            message = f"{MOST_FOLLOWERS} streams of this job's events are open, as many as may be at once"
            raise ApiError(429, message, code="rate_limit_exceeded", headers={"Retry-After": "1"})

    async def follow(self) -> AsyncGenerator[Partial | FinishedImage, None]:
        """The finished pictures, the latest partial ones, and what follows until the end.

        Raises:
            ApiError: how it ended, where it did not end well.
        """
        self._followers += 1
        try:
            seen: dict[int, Partial] = {}
            told = 0
            while True:
                changed = self._changed
                for piece in self._finished[told:]:
                    told += 1
                    yield piece
                for number, partial in list(self._partials.items()):
                    if seen.get(number) is not partial:
                        seen[number] = partial
                        yield partial
                if changed is not self._changed:
                    continue  # more has come while that was sent
                if self._has_ended:
                    break
                await changed.wait()
        finally:
            self._followers -= 1
        if self.error is not None:
            raise self.error.again()

    def _tell(self) -> None:
        self._changes += 1
        changed, self._changed = self._changed, asyncio.Event()
        changed.set()


class Outcomes:
    """The outcomes of jobs that have ended, by their keys: the least recently asked for leave when room is wanted."""

    def __init__(self, most_bytes: int) -> None:
        self._kept: TTLCache[tuple[str, str], Outcome] = TTLCache(
            most_bytes, KEPT_SECONDS, getsizeof=lambda outcome: outcome.size
        )

    def keep(self, key: tuple[str, str], outcome: Outcome) -> None:
        """Keep one, unless it alone is larger than all there may be."""
        if outcome.size <= self._kept.maxsize:
            self._kept[key] = outcome
            asyncio.get_running_loop().call_later(KEPT_SECONDS + 1, self._kept.expire)  # nobody may come by again

    def get(self, key: tuple[str, str]) -> Outcome | None:
        """One that is still there."""
        return self._kept.get(key)

    def drop(self, key: tuple[str, str]) -> None:
        """Forget one, if it is there."""
        self._kept.pop(key, None)
