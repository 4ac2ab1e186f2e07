"""What the tests of the index share."""

from __future__ import annotations

from stores.index.records import thumbnail_key
from tests.stores.images import StoredIndex


def keys_of(*records: object) -> list[str]:
    """The keys of all objects of some records, sorted."""
    return sorted(key for record in records for key in (record.r2_key, thumbnail_key(record.r2_key)))  # type: ignore[attr-defined]


def _die(index: StoredIndex) -> None:
    index._db.close()
