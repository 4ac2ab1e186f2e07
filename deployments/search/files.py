"""The objects of images, put, read and deleted by a bounded number of threads of their own."""

from __future__ import annotations

import asyncio
import hashlib
import logging
from collections.abc import Callable, Iterable, Mapping
from concurrent.futures import ThreadPoolExecutor
from typing import Final, TypeVar

from stores.errors import NotFound, StoreError
from stores.objects import ObjectStore

logger = logging.getLogger("ray.serve")

T = TypeVar("T")

_PROBE: Final = "probe"


class ImageFiles:
    """An object store. A bucket that does not answer holds up these threads, and only requests that need them."""

    def __init__(self, store: ObjectStore, threads: int, name: str) -> None:
        self._store = store
        self._threads = ThreadPoolExecutor(threads, thread_name_prefix=name)

    def close(self) -> None:
        """Wait for what has begun, and end."""
        self._threads.shutdown(cancel_futures=True)

    async def put(self, objects: Mapping[str, bytes]) -> None:
        """Put objects, in their order."""

        def put() -> None:
            for key, content in objects.items():
                self._store.put(key, content)

        await self._run(put)

    async def get(self, key: str) -> bytes:
        """The object of that key. Raises `KeyNotFound`."""
        return await self._run(lambda: self._store.get(key))

    async def find(self, key: str) -> bytes | None:
        """The object of that key, if there is one."""
        try:
            return await self.get(key)
        except NotFound:
            return None

    async def exists(self, key: str) -> bool:
        """Whether there is an object of that key."""
        return await self._run(lambda: self._store.exists(key))

    async def has(self, key: str, sha256: str) -> bool:
        """Whether there is an object of that key with that content."""

        def has() -> bool:
            try:
                return hashlib.sha256(self._store.get(key)).hexdigest() == sha256
            except NotFound:
                return False

        return await self._run(has)

    async def keys(self, prefix: str) -> list[str]:
        """The keys that begin with `prefix`."""
        return await self._run(lambda: list(self._store.keys(prefix)))

    async def missing(self, keys: Iterable[str]) -> set[str]:
        """Those of these keys of which there is no object."""
        return await self._run(lambda: {key for key in keys if not self._store.exists(key)})

    async def read(self, keys: Mapping[int, str], max_bytes: int) -> tuple[dict[int, bytes], dict[int, str]]:
        """The objects of some keys by their labels, and for those that cannot be read, why.

        Not of all keys when they have more than `max_bytes`; of one at least.

        Raises:
            StoreError: the store does not answer.
        """

        def read() -> tuple[dict[int, bytes], dict[int, str]]:
            found, failed, size = dict[int, bytes](), dict[int, str](), 0
            for label, key in keys.items():
                if size >= max_bytes:
                    break
                try:
                    found[label] = self._store.get(key)
                    size += len(found[label])
                except NotFound:
                    failed[label] = "its file is gone"
                except (StoreError, OSError) as error:
                    if not self._answers():
                        raise
                    failed[label] = str(error)
            return found, failed

        return await self._run(read)

    async def delete(self, keys: Iterable[str]) -> list[str]:
        """Delete objects; those that are gone now. One that cannot be deleted does not hold up the others."""

        def delete() -> list[str]:
            deleted = []
            for key in keys:
                try:
                    self._store.delete(key)
                except (StoreError, OSError) as error:
                    logger.warning("%s could not be removed yet: %s", key, error)
                    if not self._answers():
                        break
                else:
                    deleted.append(key)
            return deleted

        return await self._run(delete)

    async def answers(self) -> bool:
        """Whether the store answers at all: to be asked when it has failed with one object."""
        return await self._run(self._answers)

    def _answers(self) -> bool:
        try:
            self._store.exists(_PROBE)
        except (StoreError, OSError):
            return False
        return True

    async def _run(self, work: Callable[[], T]) -> T:
        return await asyncio.get_running_loop().run_in_executor(self._threads, work)
