"""Claims and places that ingress replicas hold in their Redis, and lose with their lives (`stores.shared_redis`)."""

from __future__ import annotations

import secrets
from collections.abc import Callable
from typing import Any, Final, Generic, Protocol, TypeVar

from stores.claims import Held
from stores.shared_redis import ALIVE, PREFIX, SharedRedis


class _Releasable(Protocol):
    def release(self) -> None: ...


H = TypeVar("H", bound=_Releasable)

_LONGEST_MS: Final = 24 * 3600 * 1000
"""After so long what was held is forgotten in any case."""

_TAKE: Final = """
    redis.call('SET', KEYS[2], '', 'PX', ARGV[5])
    local holder = redis.call('HGET', KEYS[1], 'replica')
    if holder and redis.call('EXISTS', ARGV[1] .. holder) == 1 then return redis.call('HGET', KEYS[1], 'mark') end
    redis.call('HSET', KEYS[1], 'replica', ARGV[2], 'token', ARGV[3], 'mark', ARGV[4])
    redis.call('PEXPIRE', KEYS[1], ARGV[6])
    return false
"""
_RELEASE: Final = """
    if redis.call('HGET', KEYS[1], 'token') == ARGV[1] then redis.call('DEL', KEYS[1]) end
"""
_TAKE_PLACE: Final = """
    redis.call('SET', KEYS[2], '', 'PX', ARGV[5])
    local held, count = redis.call('HGETALL', KEYS[1]), 0
    for i = 1, #held, 2 do
        if redis.call('EXISTS', ARGV[1] .. held[i + 1]) == 1 then count = count + 1
        else redis.call('HDEL', KEYS[1], held[i]) end
    end
    if count >= tonumber(ARGV[4]) then return 0 end
    redis.call('HSET', KEYS[1], ARGV[3], ARGV[2])
    redis.call('PEXPIRE', KEYS[1], ARGV[6])
    return 1
"""


class SharedClaim:
    """A claim of this replica's, until it is released or the replica ends."""

    def __init__(self, shared: SharedRedis, key: str, token: str) -> None:
        self._shared, self._key, self._token = shared, key, token
        self._is_held = True

    def release(self) -> None:
        """Give it up, in a moment; a second time does nothing. What another replica has by now stays."""
        if self._is_held:
            self._is_held = False
            self._shared.sooner_or_later(lambda redis: redis.eval(_RELEASE, 1, self._key, self._token))


class SharedPlace:
    """A place that is taken, until it is released or its replica ends."""

    def __init__(self, shared: SharedRedis, key: str, token: str) -> None:
        self._shared, self._key, self._token = shared, key, token

    def release(self) -> None:
        """Give it up, in a moment."""
        self._shared.sooner_or_later(lambda redis: redis.hdel(self._key, self._token))


class SharedClaims:
    """Claims by name, of one kind of work, among all replicas. To be used from one event loop.

    Raises:
        SharedStateUnavailable: Redis does not answer.
    """

    def __init__(self, shared: SharedRedis, kind: str) -> None:
        self._taking = _Taking(shared, kind, _TAKE, SharedClaim)

    async def take(self, name: str, mark: bytes = b"") -> SharedClaim | Held:
        """The claim on a name, or who holds it, unless their replica is dead. `mark` is any bytes for others to see."""
        claim, mark_of_holder = await self._taking.try_to(name, mark)
        return claim if mark_of_holder is None else Held(mark_of_holder)


class SharedPlaces:
    """So many places for each name at once, among all replicas. To be used from one event loop.

    Raises:
        SharedStateUnavailable: Redis does not answer.
    """

    def __init__(self, shared: SharedRedis, kind: str) -> None:
        self._taking = _Taking(shared, kind, _TAKE_PLACE, SharedPlace)

    async def take(self, name: str, most: int) -> SharedPlace | None:
        """A place, where fewer than `most` are taken by replicas that live."""
        place, has_room = await self._taking.try_to(name, most)
        return place if has_room else None


class _Taking(Generic[H]):
    """A script that takes something by name if it can, and what that then is."""

    def __init__(self, shared: SharedRedis, kind: str, script: str, held: Callable[[SharedRedis, str, str], H]) -> None:
        self._shared, self._kind, self._held = shared, kind, held
        self._script = shared.redis.register_script(script)

    async def try_to(self, name: str, asked: bytes | int) -> tuple[H, Any]:
        """What is held if the script's answer, which comes with it, says so."""
        shared, key, token = self._shared, f"{PREFIX}{self._kind}:{name}", secrets.token_hex(8)
        shared.refuse_while_away()
        shared.live()
        arguments: list[str | bytes | int] = [ALIVE, shared.id, token, asked, shared.life_ms, _LONGEST_MS]
        held = self._held(shared, key, token)
        try:
            return held, await shared.ask(lambda _: self._script([key, shared.alive_key], arguments))
        except BaseException:
            held.release()  # it may have been taken all the same
            raise
