"""Who calls: the one place that knows all keys, those of the configuration and those that commands make."""

from __future__ import annotations

import asyncio
import hmac
import logging
import time
from collections.abc import Iterable
from dataclasses import dataclass
from typing import Final, Literal

from pydantic import SecretStr
from starlette.datastructures import Headers
from starlette.requests import HTTPConnection
from starlette.types import Scope

from deployments.executors import KEYS, ExecutorFull
from deployments.storage import open_api_keys
from settings import Settings
from stores.api_keys import ApiKey, Limits, digest_of
from stores.errors import StoreError

logger = logging.getLogger("ray.serve")

KeyScope = Literal["latest", "user", "admin"]
_LOOK_SECONDS: Final = 1.0
"""A key that was added or revoked is noticed so late at most."""
_DATABASE_SECONDS: Final = 0.25
"""For which a request waits, once a second, for a look at keys in a database; then it goes by those known before."""


@dataclass(frozen=True)
class Caller:
    """Who sends a request."""

    digest: str
    """SHA-256 of the key they send, valid or not, in hexadecimal digits; of no characters when they send none."""
    has_key: bool
    """Whether they send any."""
    scope: KeyScope | None
    """What the key opens; None when it is none of the server's."""
    owner: str
    """Under whom what they make is kept; empty, which is everybody, while the server is open."""
    limits: Limits

    @property
    def is_admin(self) -> bool:
        """Whether what others made is theirs too."""
        return self.scope == "admin"

    def may_use(self, owner: str) -> bool:
        """Whether what `owner` made is theirs to use: their own, everybody's (empty), or any where they are admin."""
        return owner in ("", self.owner) or self.is_admin


@dataclass(frozen=True)
class _KnownKeys:
    digest: str
    scope: KeyScope
    limits: Limits


class Access:
    """The keys of the server.

    It is open to all while there are neither keys of user or admin scope nor a file of keys. A file closes it even
    with no keys in it, and for as long as this process lives even when it is removed: a server that opens when its
    last key is revoked would do the opposite of what is meant. So does a database that has ever had a key.

    Raises:
        StoreUnusable: the file is there and cannot be used; or its keys are to be moved to the database.
        SharedStateUnavailable: the database does not answer.
    """

    def __init__(self, settings: Settings) -> None:
        self._limits = settings.limits
        latest = [settings.bearer_token] if settings.bearer_token else []
        self._configured = (
            *self._of(latest, "latest"),
            *self._of(settings.api_keys, "user"),
            *self._of(settings.admin_keys, "admin"),
        )
        self._has_key_of_latest = bool(latest)
        self._keys = open_api_keys(settings)
        self._are_far = settings.keys_database_url is not None
        self._looking: asyncio.Task[None] | None = None
        self._looked_at, self._state = time.monotonic(), self._keys.state()
        keys = self._keys.read()
        self.is_closed = bool(settings.api_keys or settings.admin_keys or settings.keys_file) or keys is not None
        self._made = self._of_made(keys or ())

    @property
    def latest_is_closed(self) -> bool:
        """Whether `/latest` asks for a key, which it does as soon as there is one of any kind."""
        return self.is_closed or self._has_key_of_latest

    def close(self) -> None:
        """Close the connection to the keys, where they are in a database."""
        self._keys.close()

    async def refresh(self) -> None:
        """Take note of changed keys. Looks once a second at most; what cannot be read leaves the last good state."""
        now = time.monotonic()
        if now - self._looked_at < _LOOK_SECONDS:
            return
        self._looked_at = now
        if not self._are_far:
            state = self._keys.state()
            if state != self._state:
                await self._read(state)
        elif self._looking is None or self._looking.done():
            self._looking = asyncio.create_task(self._look())
            await asyncio.wait([self._looking], timeout=_DATABASE_SECONDS)

    async def _look(self) -> None:
        try:
            state = await KEYS.run(self._keys.state)
        except (StoreError, ExecutorFull) as error:
            logger.warning("the API keys cannot be looked at (%s); until then those known last are valid", error)
            return
        if state != self._state:
            await self._read(state)

    async def _read(self, state: object) -> None:
        before, self._state = self._state, state
        try:
            keys = await KEYS.run(self._keys.read)
        except StoreError as error:
            if self._are_far:
                self._state = before  # it is back when it is back; a damaged file is read again once it has changed
            logger.error("%s; until then the keys that were known last are valid", error)
            return
        place = self._keys.place
        if keys is None:
            logger.warning("the file of API keys %s is gone: none of its keys is valid any more", place)
        else:
            logger.info("%s has %d API keys now", place, len(keys))
            self.is_closed = True
        self._made = self._of_made(keys or ())

    def caller(self, headers: Headers) -> Caller:
        """Who sends these headers."""
        given = _given_key(headers)
        digest = digest_of(given)
        found = None
        for known in (*self._configured, *self._made):  # all are compared, so that the time tells nothing
            if hmac.compare_digest(known.digest, digest):
                found = known
        return Caller(
            digest=digest,
            has_key=given != "",
            scope=found.scope if found else None,
            owner=digest[:32] if self.is_closed else "",
            limits=found.limits if found else self._limits,
        )

    def _of(self, keys: Iterable[SecretStr], scope: KeyScope) -> list[_KnownKeys]:
        return [_KnownKeys(digest_of(key.get_secret_value()), scope, self._limits) for key in keys]

    def _of_made(self, keys: Iterable[ApiKey]) -> list[_KnownKeys]:
        return [_KnownKeys(key.sha256, "admin" if key.admin else "user", key.limits.over(self._limits)) for key in keys]


def caller_of(connection: HTTPConnection | Scope) -> Caller:
    """Who sends a request, as `Keys` has found out."""
    caller: Caller = connection["state"]["caller"]
    return caller


def _given_key(headers: Headers) -> str:
    """The API key that a request brings, valid or not; empty when it brings none."""
    scheme, _, bearer = headers.get("authorization", "").partition(" ")
    return bearer.strip() if scheme.lower() == "bearer" and bearer else headers.get("x-api-key", "")
