"""Which stored files have had their time."""

from __future__ import annotations

import logging
from collections.abc import Collection, Iterable
from dataclasses import dataclass

from stores.errors import StoreError
from stores.objects import PublicStore, StoredObject

logger = logging.getLogger(__name__)


@dataclass(frozen=True)
class Kept:
    """What a sweep found and did."""

    removed: int
    bytes_left: int


def expired(objects: Iterable[StoredObject], max_age: float, max_bytes: int, now: float) -> list[StoredObject]:
    """The objects to remove, oldest first: older than `max_age` seconds, or too much beside what is newer."""
    room = max_bytes
    for number, each in enumerate(newest_first := sorted(objects, key=lambda o: (o.modified, o.key), reverse=True)):
        room -= each.size
        if room < 0 or now - each.modified > max_age:
            return newest_first[number:][::-1]
    return []


def sweep(store: PublicStore, folders: Collection[str], *, max_age: float, max_bytes: int, now: float) -> Kept:
    """Remove what has expired of all folders together (each ends in `/`); what lies deeper in them is left alone.

    Every removal is whole by itself: a sweep that is killed has removed the oldest, and the next one goes on. An
    object that cannot be removed is tried again by the next sweep.

    Raises:
        StoreError: the store cannot be listed.
    """
    found = [each for folder in folders for each in store.listing(folder) if "/" not in each.key[len(folder) :]]
    left = sum(each.size for each in found)
    removed = 0
    for each in expired(found, max_age, max_bytes, now):
        try:
            store.delete(each.key)
        except StoreError:
            logger.warning("a file that has had its time could not be removed yet", exc_info=True)
            continue
        removed += 1
        left -= each.size
    return Kept(removed, left)
