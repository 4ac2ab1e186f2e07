"""Pictures under random names, which work as passwords, and which of them came last."""

from __future__ import annotations

import json
import re
import threading
import time
import uuid
from dataclasses import dataclass
from typing import Final

from stores.errors import KeyNotFound
from stores.objects import PublicStore

ROOM: Final = "uploads/"
"""Everything that is kept here; no client may choose a key in it."""
FOLDER: Final = f"{ROOM}i/"
_LATEST: Final = f"{ROOM}latest.json"
_NAME: Final = re.compile(r"[0-9a-f]{32}\.[a-z0-9]{1,5}")


@dataclass(frozen=True)
class Upload:
    """A picture that was uploaded."""

    name: str
    """32 hex digits and a suffix."""
    at: float
    """Epoch seconds."""


class Uploads:
    """The uploads of a store. One instance may be used by many threads."""

    def __init__(self, store: PublicStore) -> None:
        self._store = store
        self._one_at_a_time = threading.Lock()

    @staticmethod
    def key(name: str) -> str:
        """Where the store has an upload.

        Raises:
            KeyNotFound: no upload has such a name.
        """
        if not _NAME.fullmatch(name):
            raise KeyNotFound("there is no upload of that name")
        return f"{FOLDER}{name}"

    def add(self, content: bytes, suffix: str) -> Upload:
        """Keep the bytes under a new name that ends in `suffix` (`.png`); they are the latest from now on."""
        name = f"{uuid.uuid4().hex}{suffix}"
        self._store.put(self.key(name), content)
        # Within a process the pointer follows the order in which uploads were complete; of two processes that write
        # at the same instant either may be the latest.
        with self._one_at_a_time:
            upload = Upload(name, time.time())
            self._store.put(_LATEST, json.dumps({"name": upload.name, "at": upload.at}).encode())
        return upload

    def latest(self) -> Upload:
        """The newest upload that is still there. Raises `KeyNotFound` when there is none."""
        try:
            pointer = json.loads(self._store.get(_LATEST))
            upload = Upload(str(pointer["name"]), float(pointer["at"]))
            if self._store.exists(self.key(upload.name)):
                return upload
        except (KeyNotFound, ValueError, TypeError, LookupError):
            # No pointer, or one that a person has edited: the listing below knows as much, only more slowly.
            pass
        found = max(self._store.listing(FOLDER), key=lambda each: each.modified, default=None)
        if found is None:
            raise KeyNotFound("nothing has been uploaded")
        return Upload(found.key.removeprefix(FOLDER), found.modified)
