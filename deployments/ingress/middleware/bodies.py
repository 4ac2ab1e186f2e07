"""How much of request bodies there may be in the ingress at once.

A body that is not small waits for its room before any of it is read, and keeps that until its request is answered: what
is made of it lives as long. Half of the room is for what models work on and half for what goes into stores, so a bucket
or a database that says nothing fills the half of those who need it.

A refusal is answered at once. The HTTP server reads the rest of its body and drops it, so a client that sends all of it
before it reads the answer gets one too.
"""

from __future__ import annotations

import asyncio
import time
from typing import Final

import psutil
from starlette.datastructures import Headers
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from deployments.ingress.admission.admission import Admission
from deployments.ingress.errors import ApiError
from deployments.ingress.policy import policy_of

FREE: Final = 64 * 2**10
"""Bytes for which no body needs room."""
MAX_BYTES: Final = 192 * 2**20
"""Room for all bodies where the machine has as much to spare."""
_STEP: Final = 2**20
"""By how much a body grows whose length its head does not tell."""
_LONGEST_QUEUE: Final = 512
_PATIENCE_SECONDS: Final = 20.0
_LOOK_SECONDS: Final = 1.0
_SLOW_AFTER_SECONDS: Final = 10.0
_SLOW_BYTES_PER_SECOND: Final = 32 * 2**10


def room_of_this_machine() -> int:
    """Bytes for all bodies: 192 MiB, or a sixteenth of the memory where that is less."""
    return min(MAX_BYTES, int(psutil.virtual_memory().total) // 16)


class Room:
    """`most` bytes, which those who wait get in turn, fairly between callers. To be used from one event loop.

    Who has waited a second has bodies given up that come too slowly. A body that is larger than all there is may have
    all of it.
    """

    def __init__(self, most: int, patience: float = _PATIENCE_SECONDS) -> None:
        self.most, self.free = most, most
        self._patience = patience
        self._freed = asyncio.Event()
        self._is_one_growing = False
        self._queue = Admission("the memory for request bodies", at_once=1, longest=_LONGEST_QUEUE, patience=patience)
        self._read: set[Body] = set()

    async def take(self, size: int) -> None:
        """Return once there is room for `size` bytes, which are the caller's until `give`.

        Raises:
            ApiError: 429 when too many wait, 503 when the room did not come in time.
        """
        async with self._queue.turn(until=lambda: self._has(size)):
            self.free -= size

    async def take_more(self, size: int) -> None:
        """As `take`, for who holds some already: before all others, and one at a time, or each waited for the other.

        Raises:
            ApiError: 503.
        """
        if self.free < size:
            if self._is_one_growing:
                raise _no_room()
            self._is_one_growing = True
            try:
                async with asyncio.timeout(self._patience):
                    await self._has(size, is_growing=True)
            except TimeoutError:
                raise _no_room() from None
            finally:
                self._is_one_growing = False
        self.free -= size

    def give(self, size: int) -> None:
        """Give bytes back."""
        self.free += size
        self._freed.set()

    def begin(self, body: Body) -> None:
        """Know of a body that is being read."""
        self._read.add(body)

    def end(self, body: Body) -> None:
        """Know that it has been read, or never will be."""
        self._read.discard(body)

    async def _has(self, size: int, *, is_growing: bool = False) -> None:
        while self.free < size or (self._is_one_growing and not is_growing):
            self._freed.clear()
            try:
                async with asyncio.timeout(_LOOK_SECONDS):
                    await self._freed.wait()
            except TimeoutError:
                for body in [each for each in self._read if each.is_slow]:
                    body.give_up()


class Body:
    """The body of one request on its way in."""

    def __init__(self, room: Room, receive: Receive, declared: int | None, limit: int) -> None:
        """`declared` bytes by its head, None when that does not tell; routes hold no more than `limit` of them."""
        self._room, self._inner, self._declared, self._limit = room, receive, declared, limit
        self._held = self._received = 0
        self._begun = time.monotonic()
        self._is_open = self._is_whole = False
        self._timeout: asyncio.Timeout | None = None

    @property
    def is_slow(self) -> bool:
        """Whether it has come so slowly that others need not wait for it."""
        seconds = time.monotonic() - self._begun
        return seconds > _SLOW_AFTER_SECONDS and self._received < seconds * _SLOW_BYTES_PER_SECOND

    def give_up(self) -> None:
        """Wait no longer for its next piece."""
        if self._timeout is not None and not self._timeout.expired():
            self._timeout.reschedule(asyncio.get_running_loop().time())

    async def receive(self) -> Message:
        """The next message of the request. Raises ApiError, as `Room.take`, and 408 when the body came too slowly."""
        if self._is_whole:
            return await self._inner()
        try:
            if not self._is_open:
                await self._open()
            message = await self._next()
            self._received += len(message.get("body", b""))
            if self._declared is None and self._received - FREE > self._held < self._limit:
                more = min(_STEP, self._room.most - self._held)
                if more > 0:
                    await self._room.take_more(more)
                    self._held += more
        except ApiError:
            self.close()
            raise
        if message["type"] == "http.disconnect" or not message.get("more_body", False):
            self._is_whole = True
            self._room.end(self)
        return message

    def close(self) -> None:
        """Give the room back."""
        self._room.end(self)
        self._room.give(self._held)
        self._held = 0

    async def _open(self) -> None:
        if self._declared is not None:
            size = min(self._declared, self._limit, self._room.most)
            await self._room.take(size)
            self._held = size
        self._is_open, self._begun = True, time.monotonic()
        self._room.begin(self)

    async def _next(self) -> Message:
        try:
            async with asyncio.timeout(None) as self._timeout:
                return await self._inner()
        except TimeoutError:
            message = "the body of this request came so slowly that others would have waited for its memory"
            raise ApiError(408, message, code="request_timeout", headers={"Retry-After": "5"}) from None
        finally:
            self._timeout = None


class Bodies:
    """Gives bodies their room. Stands inside `CallerLimits`, whose callers it is fair to."""

    def __init__(self, app: ASGIApp, most_bytes: int, max_body: int) -> None:
        self.app = app
        self._max_body = max_body
        self._rooms = {keeps: Room(most_bytes // 2) for keeps in (False, True)}

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Serve one connection."""
        declared = _declared(scope) if scope["type"] == "http" else 0
        if declared is not None and declared <= FREE:
            await self.app(scope, receive, send)
            return
        body = Body(self._rooms[policy_of(scope).stores], receive, declared, self._max_body)
        try:
            await self.app(scope, body.receive, send)
        finally:
            body.close()


def _declared(scope: Scope) -> int | None:
    """How long a request's body is; None where its head does not tell."""
    headers = Headers(scope=scope)
    if "transfer-encoding" in headers:
        return None
    length = headers.get("content-length", "0")
    return int(length) if length.isascii() and length.isdecimal() else None


def _no_room() -> ApiError:
    message = "there is no memory for the rest of this request's body now; send its length with it, or try again"
    return ApiError(503, message, code="busy", headers={"Retry-After": "5"})
