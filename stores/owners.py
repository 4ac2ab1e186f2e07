"""Who stored an object whose key a client chose: a small record in the same store, so that all servers on it agree."""

from __future__ import annotations

import json
import logging
from typing import Final

from stores.errors import KeyNotFound
from stores.objects import ObjectStore, check_key

logger = logging.getLogger("ray.serve")

ROOM: Final = ".owners/"
"""Where the records are: each under the key of its object, so that two keys collide here only where they do there."""


class Owners:
    """The owners of a store's objects. An owner is a text; the empty one stands for everybody."""

    def __init__(self, store: ObjectStore) -> None:
        self._store = store

    @staticmethod
    def check(key: str) -> None:
        """Raises `InvalidKey` for a key too long to have a record."""
        check_key(f"{ROOM}{key}")

    def owner(self, key: str) -> str | None:
        """Who stored the object of this key; None when nobody did who left a record."""
        try:
            return str(json.loads(self._store.get(f"{ROOM}{key}"))["owner"])
        except KeyNotFound:
            return None
        except (ValueError, TypeError, LookupError) as error:
            logger.error("the record of the owner of %s cannot be read and counts as missing: %s", key, error)
            return None

    def record(self, key: str, owner: str) -> None:
        """Remember who stores the object of this key."""
        self._store.put(f"{ROOM}{key}", json.dumps({"owner": owner}).encode())
