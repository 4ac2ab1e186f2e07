"""How much each caller may ask: requests in a time, and requests under way at once.

A caller is a key; while the server is open it is an address, since anybody may then send any key. One ingress replica
counts in memory, several count together in Redis. Who has limits is refused (503) where that does not answer.
"""

from __future__ import annotations

import asyncio
import math
import time
from collections import Counter
from collections.abc import Callable
from typing import Final, Protocol

from limits import RateLimitItem, parse
from limits.aio.storage import MemoryStorage, RedisStorage
from limits.aio.strategies import FixedWindowRateLimiter
from starlette.datastructures import MutableHeaders
from starlette.requests import HTTPConnection
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from deployments.ingress.admission.turns import current_caller
from deployments.ingress.errors import ApiError, from_exception, response
from deployments.ingress.middleware.access import caller_of
from deployments.ingress.middleware.authentication import is_always_open
from deployments.ingress.middleware.peers import Networks, origin
from deployments.ingress.policy import policy_of
from stores.errors import SharedStateUnavailable
from stores.shared_claims import SharedPlaces
from stores.shared_redis import PREFIX, SharedRedis

RATE_HEADERS: Final = (
    "x-ratelimit-limit-requests",
    "x-ratelimit-remaining-requests",
    "x-ratelimit-reset-requests",
)
_LOOKS: Final = 3
_LOOK_AGAIN_SECONDS: Final = 0.02
_LONGEST_WAIT: Final = 60
"""Seconds. The OpenAI SDK of Node obeys no longer `Retry-After`, that of Python none above 120."""


class Counts(Protocol):
    """How many requests callers have sent and have under way. Raises `SharedStateUnavailable`."""

    async def hit(self, limit: RateLimitItem, who: str) -> tuple[bool, float, int]:
        """Count a request; whether it may be, when the caller's time ends (epoch seconds), and how many are left."""

    async def take(self, who: str, most: int) -> Callable[[], None] | None:
        """Begin one of `most` requests at once; what is to be called at its end. None: there are as many already."""


class LocalCounts:
    """Counts of one ingress replica, in memory."""

    def __init__(self) -> None:
        self._rates = _Rates(MemoryStorage())
        self._under_way: Counter[str] = Counter()

    async def hit(self, limit: RateLimitItem, who: str) -> tuple[bool, float, int]:
        """See `Counts`."""
        return await self._rates.hit(limit, who)

    async def take(self, who: str, most: int) -> Callable[[], None] | None:
        """See `Counts`."""
        if self._under_way[who] >= most:
            return None
        self._under_way[who] += 1
        return lambda: self._give(who)

    def _give(self, who: str) -> None:
        self._under_way[who] -= 1
        if not self._under_way[who]:
            del self._under_way[who]


class SharedCounts:
    """Counts of all ingress replicas, in Redis. What a killed one had under way counts for some seconds more."""

    def __init__(self, shared: SharedRedis) -> None:
        self._shared = shared
        pool = shared.redis.connection_pool
        storage = RedisStorage(
            "redis://",
            implementation="redispy",
            key_prefix=f"{PREFIX}rates",
            connection_pool=pool,  # type: ignore[arg-type]
        )
        self._rates = _Rates(storage)
        self._places = SharedPlaces(shared, "under-way")

    async def hit(self, limit: RateLimitItem, who: str) -> tuple[bool, float, int]:
        """See `Counts`."""
        return await self._shared.ask(lambda _: self._rates.hit(limit, who))

    async def take(self, who: str, most: int) -> Callable[[], None] | None:
        """See `Counts`."""
        for _ in range(_LOOKS):
            place = await self._places.take(who, most)
            if place is not None:
                return place.release
            # that of an answer whose last byte the caller has may be free in a moment
            await asyncio.sleep(_LOOK_AGAIN_SECONDS)
        return None


class _Rates:
    """A window begins with a caller's first request: so its end, which `Retry-After` tells, is known from then on.

    A caller takes the memory of one number.
    """

    def __init__(self, storage: MemoryStorage | RedisStorage) -> None:
        self._windows = FixedWindowRateLimiter(storage)

    async def hit(self, limit: RateLimitItem, who: str) -> tuple[bool, float, int]:
        has_room = await self._windows.hit(limit, who)
        ends_at, left = await self._windows.get_window_stats(limit, who)
        return has_room, ends_at, left


class CallerLimits:
    """Refuses with 429 what is too much. Stands inside `Keys`, so every request here has been let in."""

    def __init__(self, app: ASGIApp, trusted_proxies: Networks, counts: Counts) -> None:
        self.app = app
        self._trusted_proxies = trusted_proxies
        self._counts = counts

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Serve one connection."""
        if scope["type"] != "http" or is_always_open(scope):
            await self.app(scope, receive, send)
            return
        caller = caller_of(scope)
        who = caller.digest if caller.scope else origin(HTTPConnection(scope), self._trusted_proxies)
        current_caller.set(who)
        headers: dict[str, str] = {}

        async def send_with_headers(message: Message) -> None:
            if message["type"] == "http.response.start":
                MutableHeaders(scope=message).update(headers)
            await send(message)

        try:
            most = None if policy_of(scope).only_looks else caller.limits.concurrency
            give = await self._counts.take(who, most) if most is not None else _nothing
        except SharedStateUnavailable as error:
            await response(from_exception(error), scope)(scope, receive, send)
            return
        if give is None:
            message = f"{most} of your requests are under way, as many as may be at once; wait until one has ended"
            await response(_too_many(message, 1), scope)(scope, receive, send)
            return
        try:
            refusal = await self._count(who, caller.limits.rate, headers) if caller.limits.rate else None
            answer = response(refusal, scope) if refusal else self.app
            await answer(scope, receive, send_with_headers)  # until the last byte is sent, or the caller has left
        finally:
            give()

    async def _count(self, who: str, rate: str, headers: dict[str, str]) -> ApiError | None:
        """Count a request and put into `headers` what is left; the refusal when it is one too many."""
        limit = parse(rate)
        try:
            has_room, ends_at, left = await self._counts.hit(limit, who)
        except SharedStateUnavailable as error:
            return from_exception(error)
        seconds = max(1, math.ceil(ends_at - time.time()))
        headers.update(zip(RATE_HEADERS, (str(limit.amount), str(left), _duration(seconds)), strict=True))
        if has_room:
            return None
        message = f"you may send {rate} requests, and have; more are taken in {_duration(seconds)}"
        return _too_many(message, min(seconds, _LONGEST_WAIT))


def _nothing() -> None:
    return


def _too_many(message: str, seconds: int) -> ApiError:
    return ApiError(429, message, code="rate_limit_exceeded", headers={"Retry-After": str(seconds)})


def _duration(seconds: int) -> str:
    """As OpenAI writes it: `1s`, `6m0s`, `2h0m0s`."""
    minutes, seconds = divmod(seconds, 60)
    hours, minutes = divmod(minutes, 60)
    if hours:
        return f"{hours}h{minutes}m{seconds}s"
    return f"{minutes}m{seconds}s" if minutes else f"{seconds}s"
