"""How much each caller may ask: requests in a time, and requests under way at once.

A caller is a key; while the server is open it is an address, since anybody may then send any key. Each ingress replica
counts for itself; there is one by default.
"""

from __future__ import annotations

import math
import time
from collections import Counter
from typing import Final

from limits import parse
from limits.aio.storage import MemoryStorage
from limits.aio.strategies import FixedWindowRateLimiter
from starlette.datastructures import MutableHeaders
from starlette.requests import HTTPConnection
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from deployments.ingress.admission.turns import current_caller
from deployments.ingress.errors import ApiError, response
from deployments.ingress.middleware.access import caller_of
from deployments.ingress.middleware.authentication import is_always_open
from deployments.ingress.middleware.peers import Networks, origin
from deployments.ingress.policy import policy_of

RATE_HEADERS: Final = (
    "x-ratelimit-limit-requests",
    "x-ratelimit-remaining-requests",
    "x-ratelimit-reset-requests",
)
_LONGEST_WAIT: Final = 60
"""Seconds. The OpenAI SDK of Node obeys no longer `Retry-After`, that of Python none above 120."""


class CallerLimits:
    """Refuses with 429 what is too much. Stands inside `Keys`, so every request here has been let in."""

    def __init__(self, app: ASGIApp, trusted_proxies: Networks) -> None:
        self.app = app
        self._trusted_proxies = trusted_proxies
        # A window begins with a caller's first request: so its end, which `Retry-After` tells, is known from then on,
        # and a caller takes the memory of one number.
        self._rates = FixedWindowRateLimiter(MemoryStorage())
        self._under_way: Counter[str] = Counter()

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

        takes_place = not policy_of(scope).only_looks
        most = caller.limits.concurrency if takes_place else None
        if most is not None and self._under_way[who] >= most:
            message = f"{most} of your requests are under way, as many as may be at once; wait until one has ended"
            await response(_too_many(message, 1), scope)(scope, receive, send)
            return
        self._under_way[who] += takes_place
        try:
            refusal = await self._count(who, caller.limits.rate, headers) if caller.limits.rate else None
            answer = response(refusal, scope) if refusal else self.app
            await answer(scope, receive, send_with_headers)  # until the last byte is sent, or the caller has left
        finally:
            self._under_way[who] -= takes_place
            if not self._under_way[who]:
                del self._under_way[who]

    async def _count(self, who: str, rate: str, headers: dict[str, str]) -> ApiError | None:
        """Count a request and put into `headers` what is left; the refusal when it is one too many."""
        limit = parse(rate)
        has_room = await self._rates.hit(limit, who)
        ends_at, left = await self._rates.get_window_stats(limit, who)
        seconds = max(1, math.ceil(ends_at - time.time()))
        headers.update(zip(RATE_HEADERS, (str(limit.amount), str(left), _duration(seconds)), strict=True))
        if has_room:
            return None
        message = f"you may send {rate} requests, and have; more are taken in {_duration(seconds)}"
        return _too_many(message, min(seconds, _LONGEST_WAIT))


def _too_many(message: str, seconds: int) -> ApiError:
    return ApiError(429, message, code="rate_limit_exceeded", headers={"Retry-After": str(seconds)})


def _duration(seconds: int) -> str:
    """As OpenAI writes it: `1s`, `6m0s`, `2h0m0s`."""
    minutes, seconds = divmod(seconds, 60)
    hours, minutes = divmod(minutes, 60)
    if hours:
        return f"{hours}h{minutes}m{seconds}s"
    return f"{minutes}m{seconds}s" if minutes else f"{seconds}s"
