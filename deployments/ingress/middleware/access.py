"""Who calls: the one place that knows all keys, those of the configuration and those of the file."""

from __future__ import annotations

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

from deployments.executors import KEYS
from settings import Settings
from stores.api_keys import ApiKey, ApiKeyFile, Limits, digest_of
from stores.errors import StoreUnusable

logger = logging.getLogger("ray.serve")

KeyScope = Literal["latest", "user", "admin"]
_LOOK_SECONDS: Final = 1.0
"""A key that was added or revoked is noticed so late at most."""


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
    last key is revoked would do the opposite of what is meant.

    Raises:
        StoreUnusable: the file is there and cannot be used.
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
        self._file = ApiKeyFile(settings.keys_path)
        self._looked_at, self._state = time.monotonic(), self._file.state()
        keys = self._file.read()
        self.is_closed = bool(settings.api_keys or settings.admin_keys or settings.keys_file) or keys is not None
        self._filed = self._of_file(keys or ())

    @property
    def latest_is_closed(self) -> bool:
        """Whether `/latest` asks for a key, which it does as soon as there is one of any kind."""
        return self.is_closed or self._has_key_of_latest

    async def refresh(self) -> None:
        """Take note of a changed file. Looks once a second at most; a damaged one leaves the last good state."""
        now = time.monotonic()
        if now - self._looked_at < _LOOK_SECONDS:
            return
        self._looked_at = now
        state = self._file.state()
        if state == self._state:
            return
        self._state = state
        try:
            keys = await KEYS.run(self._file.read)
        except StoreUnusable as error:
            logger.error("%s; until then the keys that it had last are valid", error)
            return
        if keys is None:
            logger.warning("the file of API keys %s is gone: none of its keys is valid any more", self._file.path)
        else:
            logger.info("the file of API keys %s has %d keys now", self._file.path, len(keys))
            self.is_closed = True
        self._filed = self._of_file(keys or ())

    def caller(self, headers: Headers) -> Caller:
        """Who sends these headers."""
        given = _given_key(headers)
        digest = digest_of(given)
        found = None
        for known in (*self._configured, *self._filed):  # all are compared, so that the time tells nothing
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

    def _of_file(self, keys: Iterable[ApiKey]) -> list[_KnownKeys]:
        return [_KnownKeys(key.sha256, "admin" if key.admin else "user", key.limits.over(self._limits)) for key in keys]


def caller_of(connection: HTTPConnection | Scope) -> Caller:
    """Who sends a request, as `Keys` has found out."""
    caller: Caller = connection["state"]["caller"]
    return caller


def _given_key(headers: Headers) -> str:
    """The API key that a request brings, valid or not; empty when it brings none."""
    scheme, _, bearer = headers.get("authorization", "").partition(" ")
    return bearer.strip() if scheme.lower() == "bearer" and bearer else headers.get("x-api-key", "")
