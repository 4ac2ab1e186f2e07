"""What was made once and can be made again, remembered for a while: in memory, or in a Redis that others may share.

A cache fails no request and hardly delays one: what it does not have in time counts as absent.
"""

from __future__ import annotations

import asyncio
import logging
import time
from abc import ABC, abstractmethod
from collections.abc import Callable, Coroutine, Iterable, Mapping
from typing import TYPE_CHECKING, Any, Final, TypeVar

from cachetools import TTLCache
from pydantic import BaseModel, ValidationError

from stores.errors import CacheUnavailable

if TYPE_CHECKING:
    from redis.asyncio import Redis

logger = logging.getLogger(__name__)

V = TypeVar("V", bound=BaseModel)
T = TypeVar("T")

PICTURE: Final = "v2:img:"
COLLECTION: Final = "v2:collection:"
_OURS: Final = (PICTURE, COLLECTION)
"""How every key begins. In a Redis that others use too, nothing else is touched."""
WAIT_SECONDS: Final = 0.05
"""A request asks twice, to find and to keep, and may lose 0.1 s in all."""
_PAUSE_SECONDS: Final = 3.0
_REPLY_SECONDS: Final = 1.0
_CLEAR_SECONDS: Final = 30.0
_SCAN_KEYS: Final = 1000


class Cache(ABC):
    """Values by key, as JSON, each for so many seconds. To be used from one event loop."""

    async def find(self, keys: Iterable[str], kind: type[V]) -> dict[str, V]:
        """The values that are there, by key. What does not validate as `kind` was not written by us and is absent."""
        found = {}
        for key, text in (await self._read(list(dict.fromkeys(keys)))).items():
            try:
                found[key] = kind.model_validate_json(text)
            except ValidationError:
                logger.warning("what the cache has under %s was not written by this server, and is replaced", key)
        return found

    async def keep(self, values: Mapping[str, BaseModel]) -> None:
        """Remember the values, in place of older ones of the same keys."""
        await self._write({key: value.model_dump_json().encode() for key, value in values.items()})

    @abstractmethod
    async def clear(self) -> None:
        """Forget everything that is ours.

        Raises:
            CacheUnavailable: something may still be there.
        """

    async def close(self) -> None:
        """Close the connections, if there are any."""
        return

    @abstractmethod
    async def _read(self, keys: list[str]) -> Mapping[str, str | bytes]: ...

    @abstractmethod
    async def _write(self, texts: Mapping[str, bytes]) -> None: ...


class MemoryCache(Cache):
    """A cache of this process: of more than `max_entries`, or `max_bytes` of JSON, the least recently used leave."""

    def __init__(self, *, seconds: float, max_entries: int, max_bytes: int) -> None:
        self._max_entries = max_entries
        self._max_bytes = max_bytes
        self._texts: TTLCache[str, bytes] = TTLCache(max_bytes, seconds, getsizeof=len)

    async def clear(self) -> None:
        """Forget everything. Never fails."""
        self._texts.clear()

    async def _read(self, keys: list[str]) -> Mapping[str, str | bytes]:
        found = {key: self._texts.get(key) for key in keys}
        return {key: text for key, text in found.items() if text is not None}

    async def _write(self, texts: Mapping[str, bytes]) -> None:
        for key, text in texts.items():
            if len(text) <= self._max_bytes:  # else there is no room for it, however empty the cache is
                self._texts[key] = text
            else:
                self._texts.pop(key, None)
        while len(self._texts) > self._max_entries:
            self._texts.popitem()


class RedisCache(Cache):
    """A cache in Redis. A server that is away or slow costs a request 0.1 s at most, and then is not asked for 3 s.

    What has not answered in time is not broken off: a connection that takes longer to make (over TLS, from afar) is
    there for the next request, and whatever Redis answers in the end says that it is back.
    """

    def __init__(self, url: str, *, seconds: int, wait_seconds: float = WAIT_SECONDS) -> None:
        from redis.asyncio import Redis
        from redis.asyncio.retry import Retry
        from redis.backoff import NoBackoff

        self._seconds = seconds
        self._wait_seconds = wait_seconds
        self._redis: Redis = Redis.from_url(
            url,
            protocol=2,  # the one that servers of every version speak
            socket_timeout=_REPLY_SECONDS,
            socket_connect_timeout=_REPLY_SECONDS,
            retry=Retry(
                NoBackoff(), 1
            ),  # after a restart of Redis, idle connections are known to be dead only when used
        )
        self._under_way: set[asyncio.Task[Any]] = set()
        self._is_away = self._refuses = False
        self._not_before = 0.0

    async def clear(self) -> None:
        """Forget what is ours, also while requests leave Redis out. Raises `CacheUnavailable`."""
        try:
            async with asyncio.timeout(_CLEAR_SECONDS):
                cursor = None
                while cursor != 0:
                    cursor, keys = await self._redis.scan(cursor or 0, match="v2:*", count=_SCAN_KEYS)
                    if ours := [key for key in keys if _text(key).startswith(_OURS)]:
                        await self._redis.unlink(*ours)
        except Exception as error:
            self._failed(error)
            raise CacheUnavailable("the cache could not be cleared, since Redis did not answer") from error
        self._answered()

    async def close(self) -> None:
        """Close the connections; what has not been written by now never is."""
        for task in self._under_way:
            task.cancel()
        await asyncio.gather(*self._under_way, return_exceptions=True)
        await self._redis.aclose()

    async def _read(self, keys: list[str]) -> Mapping[str, str | bytes]:
        async def read() -> dict[str, str | bytes]:
            values = await self._redis.mget(keys)
            return {key: value for key, value in zip(keys, values, strict=True) if value is not None}

        return await self._in_time(read, {}) if keys else {}

    async def _write(self, texts: Mapping[str, bytes]) -> None:
        async def write() -> None:
            async with self._redis.pipeline(transaction=False) as pipeline:
                for key, text in texts.items():
                    pipeline.set(key, text, ex=self._seconds)
                await pipeline.execute()

        if texts:
            await self._in_time(write, None)

    async def _in_time(self, ask: Callable[[], Coroutine[Any, Any, T]], otherwise: T) -> T:
        """What Redis answers, or `otherwise` when it does not, not soon enough, or did not a moment ago."""
        if self._is_away:
            if time.monotonic() < self._not_before:
                return otherwise
            self._not_before = time.monotonic() + _PAUSE_SECONDS  # one request tries, the others do not wait for it
        task = asyncio.ensure_future(ask())
        self._under_way.add(task)
        task.add_done_callback(self._ended)
        done, _ = await asyncio.wait([task], timeout=self._wait_seconds)
        if not done:
            self._failed(TimeoutError(f"no answer within {self._wait_seconds:g} s"))
            return otherwise
        return otherwise if task.cancelled() or task.exception() is not None else task.result()

    def _ended(self, task: asyncio.Task[Any]) -> None:
        self._under_way.discard(task)
        if task.cancelled():
            return
        error = task.exception()
        if error is None:
            self._answered()
        else:
            self._failed(error)

    def _failed(self, error: BaseException) -> None:
        from redis.exceptions import ResponseError

        if isinstance(error, ResponseError):  # it answers, though it is full or only to be read
            if not self._refuses:
                logger.warning("Redis refuses what it is asked: %s", error)
            self._refuses = True
            return
        self._not_before = time.monotonic() + _PAUSE_SECONDS
        if not self._is_away:
            self._is_away = True
            logger.warning("Redis is left out until it answers again: %s: %s", type(error).__name__, error)

    def _answered(self) -> None:
        if self._is_away:
            self._is_away = False
            logger.info("Redis answers again")


def _text(key: str | bytes) -> str:
    return key if isinstance(key, str) else key.decode(errors="replace")
