"""Captions that several ingress replicas are asked for at once: one makes them, the others wait for the cache."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Sequence
from typing import Final, Protocol, TypeVar

from pydantic import BaseModel

from stores.cache import Cache
from stores.claims import Held
from stores.errors import SharedStateUnavailable
from stores.shared_claims import SharedClaim, SharedClaims
from stores.shared_redis import SharedRedis

V = TypeVar("V", bound=BaseModel)

_LOOK_AGAIN_SECONDS: Final = 0.1


class MakeOnce(Protocol):
    """Makes what the cache has not."""

    async def __call__(
        self, names: Sequence[str], kind: type[V], make: Callable[[Sequence[str]], Awaitable[list[V]]]
    ) -> dict[str, V]:
        """The value of each name, which the cache has from then on."""


class MadeHere:
    """Of one replica, which knows by itself what it makes."""

    def __init__(self, cache: Cache) -> None:
        self._cache = cache

    async def __call__(
        self, names: Sequence[str], kind: type[V], make: Callable[[Sequence[str]], Awaitable[list[V]]]
    ) -> dict[str, V]:
        """See `MakeOnce`."""
        del kind
        made = dict(zip(names, await make(names), strict=True))
        await self._cache.keep(made)
        return made


class MadeByOne:
    """Of several replicas: what another has claimed is waited for, unless that dies, fails or its caller leaves.

    A Redis that is away fails no request; then every replica makes its own.
    """

    def __init__(self, cache: Cache, shared: SharedRedis) -> None:
        self._here = MadeHere(cache)
        self._cache = cache
        self._claims = SharedClaims(shared, "caption")

    async def __call__(
        self, names: Sequence[str], kind: type[V], make: Callable[[Sequence[str]], Awaitable[list[V]]]
    ) -> dict[str, V]:
        """See `MakeOnce`."""
        values: dict[str, V] = {}
        left = list(names)
        while left:
            claims = await self._take(left)
            try:
                if claims:
                    # since it was looked for, the last holder may have made it
                    values |= await self._cache.find(claims, kind)
                    if missing := [name for name in claims if name not in values]:
                        values |= await self._here(missing, kind, make)
            finally:
                for claim in claims.values():
                    if claim is not None:
                        claim.release()
            left = [name for name in left if name not in values]
            if left:
                await asyncio.sleep(_LOOK_AGAIN_SECONDS)
                values |= await self._cache.find(left, kind)
                left = [name for name in left if name not in values]
        return values

    async def _take(self, names: Sequence[str]) -> dict[str, SharedClaim | None]:
        """The names that nobody else makes, with their claims; None while nothing can be claimed."""
        taken: dict[str, SharedClaim | None] = {}
        try:
            for name in names:
                claim = await self._claims.take(name)
                if not isinstance(claim, Held):
                    taken[name] = claim
        except SharedStateUnavailable:
            taken |= {name: None for name in names if name not in taken}
        except BaseException:
            for held in taken.values():
                if held is not None:
                    held.release()
            raise
        return taken
