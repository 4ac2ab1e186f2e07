"""Objects under keys that clients choose: who may overwrite one, and who may have it read.

An object belongs to the API key that stored it. Admin keys reach all of them. One without a record of its owner, which
a backend has put into the store by itself, is for admin keys only, unless `voice_shared` lets every key speak in its
voice. While the server has no keys, everybody reaches what has no other owner.
"""

from __future__ import annotations

import asyncio
from weakref import WeakValueDictionary

from starlette.requests import Request

from deployments.executors import FILES
from deployments.ingress.errors import ApiError, invalid
from deployments.ingress.middleware.access import Caller, caller_of
from deployments.ingress.services.retention import Retention
from stores.errors import DownloadFailed, KeyNotFound, UploadFailed
from stores.objects import PublicStore
from stores.owners import Owners


class OwnedObjects:
    """Stores and reads such objects for callers. Keys have been checked (`object_keys.client_key`)."""

    def __init__(self, files: PublicStore, retention: Retention, *, are_foreign_shared: bool) -> None:
        self._files = files
        self._owners = Owners(files)
        self._retention = retention
        self._are_foreign_shared = are_foreign_shared
        self._locks: WeakValueDictionary[str, asyncio.Lock] = WeakValueDictionary()

    async def check_writable(self, request: Request, key: str) -> None:
        """Before an object is made: whether the caller may store it under this key.

        Raises:
            ApiError: 403 `forbidden`, another caller owns the object of this key.
            UploadFailed: the store does not say.
        """
        await self._writable(caller_of(request), key)

    async def write(self, request: Request, key: str, data: bytes) -> None:
        """Store an object for the caller, who owns it from now on if nobody did.

        Raises:
            ApiError: as `check_writable`.
            StoreError: it could not be stored.
        """
        caller = caller_of(request)
        lock = self._locks.setdefault(key, asyncio.Lock())
        async with lock:  # two callers who choose one free key at a time do not both get it
            owner = await self._writable(caller, key)
            await self._put(key, data, caller.owner if owner is None else owner)

    async def write_new(self, request: Request, key: str, data: bytes) -> None:
        """Store an object under a key that nobody else can have chosen. Raises `StoreError`."""
        await self._put(key, data, caller_of(request).owner)

    async def _put(self, key: str, data: bytes, owner: str) -> None:
        # The record is written each time, so that retention never finds it older than its object.
        await FILES.run(self._owners.record, key, owner)
        await FILES.run(self._files.put, key, data)
        self._retention.noticed(len(data))

    async def read(self, request: Request, key: str, param: str, max_bytes: int) -> bytes:
        """An object that the caller may have read; its size is looked at first.

        Raises:
            ApiError: 404 `R2_KEY_NOT_FOUND` when there is none, or none for this caller; both look alike,
                so that nobody finds out who has a recording, 400 `file_too_large`.
            DownloadFailed: the store did not give it.
        """
        caller = caller_of(request)
        owner = await FILES.run(self._owners.owner, key)
        is_readable = _is_foreign_reachable(caller) or self._are_foreign_shared
        if not (is_readable if owner is None else caller.may_use(owner)):
            raise self._not_found(caller, key, param)
        try:
            size = (await FILES.run(self._files.stat, key)).size
            if size > max_bytes:
                message = f"{param}: the object has {size} bytes; at most {max_bytes} are read"
                raise invalid(param, message, "file_too_large")
            return await FILES.run(self._files.get, key)
        except KeyNotFound:
            raise self._not_found(caller, key, param) from None

    async def _writable(self, caller: Caller, key: str) -> str | None:
        """The owner of the object of this key, whom the caller may overwrite; None where there is no record."""
        try:
            owner = await FILES.run(self._owners.owner, key)
            if owner is not None:
                is_writable = caller.may_use(owner)
            else:
                is_writable = _is_foreign_reachable(caller) or not await FILES.run(self._files.exists, key)
        except DownloadFailed as error:  # to the caller it is the upload that fails
            raise UploadFailed("the object store does not say whose object this is") from error
        if not is_writable:
            message = f"key: this API key may not overwrite {key!r}, which it has not stored; choose another"
            raise ApiError(403, message, code="forbidden", param="key")
        return owner

    def _not_found(self, caller: Caller, key: str, param: str) -> ApiError:
        message = f"{param}: there is no object {key!r} in the store"
        if not _is_foreign_reachable(caller):
            message += " that this API key has stored"
            if not self._are_foreign_shared:
                message += "; VOICE_SHARED=1 lets every key use recordings that were put there by others than clients"
        return ApiError(404, message, code="R2_KEY_NOT_FOUND", param=param)


def _is_foreign_reachable(caller: Caller) -> bool:
    """Whether objects without a record of their owner are the caller's to use: on an open server, or an admin's."""
    return caller.is_admin or not caller.owner
