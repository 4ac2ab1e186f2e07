"""Removes generated and uploaded files that are too old or too many (docs/http-api.md, "Files")."""

from __future__ import annotations

import fcntl
import logging
import threading
import time
from pathlib import Path
from typing import Final

from settings import Settings
from stores.errors import StoreError
from stores.objects import PublicStore
from stores.owners import ROOM as OWNERS
from stores.retention import Kept, sweep
from stores.uploads import FOLDER as UPLOADS

logger = logging.getLogger("ray.serve")

GENERATED: Final = "images/generated/"
"""Where pictures without a key of their own are kept, under `image_prefix`."""
SPOKEN: Final = "voice/generated/"
"""The same of what is spoken, under `voice_prefix`."""
_EVERY_SECONDS: Final = 60
_RESTS: Final = 20
"""A sweep of very many files is followed by a pause of so many times its length."""


class Retention:
    """Sweeps in a thread of its own, in one process of the machine: the one that holds the lock file.

    The system releases the lock of a process that dies, and the thread of another one takes over at its next try.
    """

    def __init__(self, store: PublicStore, settings: Settings) -> None:
        self._store = store
        made = (f"{settings.image_prefix}{GENERATED}", f"{settings.voice_prefix}{SPOKEN}")
        self._folders = (*made, *(f"{OWNERS}{folder}" for folder in made), UPLOADS)
        self._is_wanted = not settings.r2.enabled or bool(settings.files.model_fields_set)
        self._max_age = settings.files.max_age_days * 86_400
        self._max_bytes = settings.files.max_bytes
        self._lock: Path = settings.folder / "retention.lock"
        self._bytes = 0
        self._wake = threading.Event()
        self._stopping = False
        self._thread = threading.Thread(target=self._run, name="retention", daemon=True)

    def start(self) -> None:
        """Begin, with a sweep at once.

        A bucket is left alone unless the configuration limits age or size: its objects may be older than this server,
        and it has lifecycle rules of its own.
        """
        if self._is_wanted:
            self._thread.start()

    def stop(self) -> None:
        """End; returns when a sweep that runs has ended."""
        self._stopping = True
        self._wake.set()
        if self._is_wanted:
            self._thread.join()

    def noticed(self, size: int) -> None:
        """Count bytes that were stored; when there are too many, the next sweep begins at once."""
        self._bytes += size  # two threads may lose an addition; the next sweep counts again
        if self._bytes > self._max_bytes:
            self._wake.set()

    def sweep(self, now: float) -> Kept:
        """Remove what has expired. Raises `StoreError` when the store cannot be listed."""
        kept = sweep(self._store, self._folders, max_age=self._max_age, max_bytes=self._max_bytes, now=now)
        self._bytes = kept.bytes_left
        if kept.removed:
            logger.info("retention removed %d files; %d bytes are left", kept.removed, kept.bytes_left)
        return kept

    def _run(self) -> None:
        try:
            self._lock.parent.mkdir(parents=True, exist_ok=True)
            lock = self._lock.open("a")
        except OSError:
            logger.exception("files are kept for good: the lock of the retention cannot be opened")
            return
        with lock:
            while not self._stopping:
                self._wake.clear()
                pause = self._sweep_if_first(lock.fileno())
                if not self._stopping:
                    self._wake.wait(_EVERY_SECONDS)
                    self._rest(pause)

    def _sweep_if_first(self, lock: int) -> float:
        """Sweep if this process holds the lock or can take it; the seconds to rest afterwards."""
        try:
            fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            return 0
        begun = time.monotonic()
        try:
            self.sweep(time.time())
        except StoreError:
            logger.warning("retention could not look through the store; it tries again", exc_info=True)
        except Exception:
            # No failure of one sweep may end the thread, which nothing would start again.
            logger.exception("retention failed; it tries again")
        return (time.monotonic() - begun) * _RESTS

    def _rest(self, seconds: float) -> None:
        deadline = time.monotonic() + seconds
        while not self._stopping and (left := deadline - time.monotonic()) > 0:
            time.sleep(min(left, 0.2))
