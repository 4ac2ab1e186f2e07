"""The Redis that several ingress replicas share: what is asked of it, and who of them lives.

Each replica keeps a key there that expires unless it is renewed. What a replica holds (`stores.shared_claims`) names
it, and counts for as long as that key is there: so nothing that it holds has to be renewed by itself, and what a killed
one held is free after `LIFE_SECONDS`.
"""

from __future__ import annotations

import asyncio
import logging
import time
import uuid
from collections import deque
from collections.abc import Awaitable, Callable, Iterable
from contextlib import suppress
from typing import Any, Final, TypeVar

from redis.asyncio import Redis
from redis.asyncio.retry import Retry
from redis.backoff import NoBackoff
from redis.exceptions import RedisError

from stores.errors import SharedStateUnavailable

logger = logging.getLogger(__name__)

T = TypeVar("T")

PREFIX: Final = "atelier:"
"""How every key begins that is not the cache's. In a Redis that others use too, nothing else is touched."""
ALIVE: Final = f"{PREFIX}alive:"
LIFE_SECONDS: Final = 15.0
REPLY_SECONDS: Final = 1.0
_LONGEST_SECONDS: Final = 2.0
"""For a command with what may have to come before it: a new connection, after Redis was started again."""
PAUSE_SECONDS: Final = 1.0
"""How long Redis is not asked again after it did not answer: those who need it are refused at once meanwhile."""
_DOUBT_SECONDS: Final = 0.5
_SETTLE_SECONDS: Final = 0.1
_CONNECTIONS: Final = 1000


class SharedRedis:
    """One replica's side of it, known to the others by `id`. To be used from one event loop.

    Every method that asks raises `SharedStateUnavailable` where Redis has not answered within two seconds.
    """

    def __init__(self, url: str, *, life_seconds: float = LIFE_SECONDS) -> None:
        self.id: Final = uuid.uuid4().hex
        self.life_ms: Final = int(life_seconds * 1000)
        self.redis: Final = Redis.from_url(
            url,
            protocol=2,  # the one that servers of every version speak
            socket_timeout=REPLY_SECONDS,
            socket_connect_timeout=REPLY_SECONDS,
            max_connections=_CONNECTIONS,
            retry=Retry(NoBackoff(), 1),  # after a restart of Redis, idle connections are known to be dead only then
        )
        self._not_before = 0.0
        self._failing_since: float | None = None
        self._is_away = self._is_tried = False
        self._beating: asyncio.Task[None] | None = None
        self._paying: asyncio.Task[None] | None = None
        self._owed: deque[Callable[[Redis], Awaitable[Any]]] = deque()

    @property
    def alive_key(self) -> str:
        """The key that is there while this replica lives."""
        return f"{ALIVE}{self.id}"

    async def ask(self, work: Callable[[Redis], Awaitable[T]]) -> T:
        """What `work` makes of Redis, in two seconds at most."""
        self.refuse_while_away()
        self._is_tried = True
        try:
            async with asyncio.timeout(_LONGEST_SECONDS):
                answer = await work(self.redis)
        except (RedisError, OSError) as error:
            self._note_failure(error)
            raise SharedStateUnavailable(_SILENT) from error
        finally:
            self._is_tried = False
        self._failing_since = None
        if self._is_away:
            logger.info("the Redis of the ingress replicas answers again")
            self._is_away = False
        return answer

    def refuse_while_away(self) -> None:
        """Raise at once where Redis has just not answered; after a while one at a time may try whether it does."""
        if time.monotonic() < self._not_before or (self._is_away and self._is_tried):
            raise SharedStateUnavailable(_SILENT)

    def live(self) -> None:
        """Say from now on that this replica lives; to be called in the event loop, any number of times."""
        if self._beating is None or self._beating.done():
            self._beating = asyncio.create_task(self._beat())

    def sooner_or_later(self, work: Callable[[Redis], Awaitable[Any]]) -> None:
        """Have `work` done, which nobody waits for: now, or as soon as Redis answers again while this replica lives."""
        self._owed.append(work)
        if self._paying is None or self._paying.done():
            self._paying = asyncio.create_task(self._pay())

    async def settle(self) -> None:
        """Return once what was to be done sooner or later is done, or soon, where Redis does not answer."""
        if self._paying is not None:
            await asyncio.wait([self._paying], timeout=_SETTLE_SECONDS)

    async def close(self) -> None:
        """Hold nothing any more, as far as Redis answers, and close the connections."""
        if self._paying is not None:
            await asyncio.wait([self._paying], timeout=_LONGEST_SECONDS)
        await end_tasks([task for task in (self._paying, self._beating) if task is not None])
        with suppress(SharedStateUnavailable):
            await self.ask(lambda redis: redis.delete(self.alive_key))
        await self.redis.aclose()

    def _note_failure(self, error: Exception) -> None:
        """Redis is away once nothing was answered for a moment: all that fails at once may be this process's doing."""
        now = time.monotonic()
        if self._failing_since is None:
            self._failing_since = now
        if now - self._failing_since < _DOUBT_SECONDS:
            return
        self._not_before = now + PAUSE_SECONDS
        if not self._is_away:
            logger.warning("the Redis of the ingress replicas does not answer: %s: %s", type(error).__name__, error)
        self._is_away = True

    async def _beat(self) -> None:
        while True:
            with suppress(SharedStateUnavailable):
                await self.ask(lambda redis: redis.set(self.alive_key, "", px=self.life_ms))
            await asyncio.sleep(self.life_ms / 3000)

    async def _pay(self) -> None:
        while self._owed:
            try:
                await self.ask(self._owed[0])
            except SharedStateUnavailable:
                await asyncio.sleep(PAUSE_SECONDS)
            else:
                self._owed.popleft()


async def end_tasks(tasks: Iterable[asyncio.Task[None]]) -> None:
    """Cancel tasks, again where a library has waited for Redis and lost the cancellation, until all have ended."""
    running = set(tasks)
    while running:
        for task in running:
            task.cancel()
        _, running = await asyncio.wait(running, timeout=_CANCEL_SECONDS)


_CANCEL_SECONDS: Final = 0.5
_SILENT: Final = "the Redis that the ingress replicas share does not answer"
