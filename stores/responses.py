"""Responses and the items that went into them and came out, for a while: in a SQLite file or in PostgreSQL.

What was kept never changes, but it may be removed: what is read in several steps is read from one snapshot.
"""

from __future__ import annotations

import time
from collections.abc import Collection, Iterable
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from stores.database import Row, SharedDatabase
from stores.shared_sqlite import SharedSqlite

_SCHEMA_VERSION: Final = 1
_SCHEMA: Final = """
    CREATE TABLE responses (
        id TEXT PRIMARY KEY,
        owner TEXT NOT NULL,
        previous TEXT,
        created_ms INTEGER NOT NULL,
        body TEXT NOT NULL,
        events INTEGER NOT NULL,
        size INTEGER NOT NULL
    ) STRICT;
    CREATE INDEX responses_by_age ON responses (created_ms, size);
    CREATE TABLE response_items (
        response TEXT NOT NULL REFERENCES responses (id) ON DELETE CASCADE,
        position INTEGER NOT NULL,
        id TEXT NOT NULL,
        is_output INTEGER NOT NULL CHECK (is_output IN (0, 1)),
        body TEXT NOT NULL,
        PRIMARY KEY (response, position)
    ) STRICT;
    CREATE INDEX response_items_by_id ON response_items (id);
"""
"""`stores.postgres` has the same tables."""
_CHAIN: Final = """
    WITH RECURSIVE chain (id, previous) AS (
        SELECT id, previous FROM responses WHERE id = ? AND created_ms > ?
        UNION SELECT r.id, r.previous FROM responses r JOIN chain c ON r.id = c.previous WHERE r.created_ms > ?
    )
"""
"""A response and those before it. What is there already is not added, so that even a loop ends."""
_ITEMS_OF_CHAIN: Final = f"""{_CHAIN}
    SELECT i.response, i.id, i.body, i.is_output FROM response_items i JOIN chain c ON c.id = i.response
    ORDER BY i.response, i.position
"""  # noqa: S608 - of constants
_ROWS_OF_CHAIN: Final = f"""{_CHAIN}
    SELECT r.id, r.owner, r.previous, '' AS body, r.events, r.size FROM responses r JOIN chain c ON c.id = r.id
"""  # noqa: S608 - of constants
_DELETE_SURPLUS: Final = """
    DELETE FROM responses WHERE id IN (
        SELECT id FROM (
            SELECT id, sum(size) OVER (ORDER BY of_owner, id) AS bytes FROM (
                SELECT id, size, sum(size) OVER (PARTITION BY owner ORDER BY created_ms DESC, id) AS of_owner
                FROM responses
            ) AS piles
        ) AS levelled WHERE bytes > ?
    )
"""
"""The newest of every owner stay, those above in the piles go: the highest piles lose their oldest."""
_MAX_CHAIN_RESPONSES: Final = 1000
_MAX_CHAIN_BYTES: Final = 2**28
_PRUNE_SECONDS: Final = 60.0
_PRUNING: Final = "pruning of responses"
_SLACK: Final = 64
"""Of the bytes there may be, such a part may be kept before the oldest are looked for."""


@dataclass(frozen=True)
class StoredItem:
    """An item as JSON text, under the id that it can be referred to by."""

    id: str
    body: str
    is_output: bool = False


@dataclass(frozen=True)
class StoredResponse:
    """A response that has ended well.

    body: the object as JSON text, but for its `output`.
    events: how many its stream had.
    items: what was sent, then what came out.
    """

    id: str
    owner: str
    previous: str | None
    body: str
    events: int
    items: tuple[StoredItem, ...]

    @property
    def input(self) -> list[StoredItem]:
        """What was sent with it; not what the responses before it had."""
        return [item for item in self.items if not item.is_output]

    @property
    def output(self) -> list[StoredItem]:
        """What came out."""
        return [item for item in self.items if item.is_output]


class LoopError(Exception):
    """A response comes before itself, which only a hand in the database can have done."""


class ChainTooLargeError(Exception):
    """A response and those before it are more than are read at once."""


class Responses:
    """The responses of a database, to be used by one thread at a time.

    One is kept for `max_age` seconds; of more than about `max_bytes` in all, the oldest of who has the most go first.
    """

    def __init__(self, database: SharedDatabase, *, max_age: float, max_bytes: int) -> None:
        self._db = database
        self._max_age_ms = int(max_age * 1000)
        self._max_bytes = max_bytes
        self._pruned_at = float("-inf")
        self._bytes_since = 0

    def keep(self, response: StoredResponse) -> None:
        """Keep a response with its items, whole or not at all. Raises `StoreFull` and `StoreError`."""
        size = sum(len(text.encode()) for text in (response.body, *(item.body for item in response.items)))
        with self._db.transaction():
            self._db.execute(
                "INSERT INTO responses (id, owner, previous, created_ms, body, events, size) "
                "VALUES (?, ?, ?, ?, ?, ?, ?)",
                response.id, response.owner, response.previous, _now_ms(), response.body, response.events, size,
            )  # fmt: skip
            for position, item in enumerate(response.items):
                self._db.execute(
                    "INSERT INTO response_items (response, position, id, is_output, body) VALUES (?, ?, ?, ?, ?)",
                    response.id, position, item.id, int(item.is_output), item.body,
                )  # fmt: skip
        self._bytes_since += size

    def find(self, response_id: str) -> StoredResponse | None:
        """The response of an id, if it is there and not too old."""
        with self._db.snapshot():
            row = self._db.one(
                "SELECT id, owner, previous, body, events FROM responses WHERE id = ? AND created_ms > ?",
                response_id, self._oldest_ms(),
            )  # fmt: skip
            items = self._db.all(
                "SELECT id, body, is_output FROM response_items WHERE response = ? ORDER BY position", response_id
            )
        return None if row is None else _response(row, items)

    def chain(self, response_id: str) -> list[StoredResponse]:
        """A response and all before it, the first one first, with empty `body`; nothing where there is none.

        Where the first one has a `previous`, that is not there any more.

        Raises:
            ChainTooLargeError: before any item is read.
            LoopError: one comes before itself.
        """
        oldest = self._oldest_ms()
        items: dict[str, list[Row]] = {}
        with self._db.snapshot():
            rows = {row["id"]: row for row in self._db.all(_ROWS_OF_CHAIN, response_id, oldest, oldest)}
            _check_size(rows.values())
            for item in self._db.all(_ITEMS_OF_CHAIN, response_id, oldest, oldest):
                items.setdefault(item["response"], []).append(item)
        found: list[StoredResponse] = []
        at: str | None = response_id
        while at is not None and (row := rows.pop(at, None)) is not None:
            found.append(_response(row, items.get(at, [])))
            at = row["previous"]
        if at is not None and any(each.id == at for each in found):
            raise LoopError(f"the response {at!r} comes before itself")
        return found[::-1]

    def item_named(self, item_id: str, owner: str | None) -> StoredItem | None:
        """The newest item of an id that is the owner's or everybody's: a client may have sent one back. None: any."""
        row = self._db.one(
            "SELECT i.id, i.body, i.is_output FROM response_items i JOIN responses r ON r.id = i.response "
            "WHERE i.id = ? AND r.created_ms > ? AND (? OR r.owner IN ('', ?)) "
            "ORDER BY r.created_ms DESC, i.position DESC LIMIT 1",
            item_id, self._oldest_ms(), owner is None, owner or "",
        )  # fmt: skip
        return None if row is None else _item(row)

    def delete(self, response_id: str) -> bool:
        """Remove a response with its items; whether there was one."""
        return self._db.execute("DELETE FROM responses WHERE id = ?", response_id) > 0

    @property
    def is_prune_due(self) -> bool:
        """Whether `prune` has not been called for a while, or much has been kept since."""
        is_late = time.monotonic() - self._pruned_at >= _PRUNE_SECONDS
        return is_late or self._bytes_since > self._max_bytes // _SLACK

    def prune(self) -> int:
        """Remove what is too old, and of too many bytes the oldest of those who have the most; how many were.

        So one key cannot push out what the others keep, while there is room each may have all of it.
        """
        self._pruned_at, self._bytes_since = time.monotonic(), 0
        if not self._db.claim(_PRUNING):  # two that remove the same rows in another order would wait for each other
            return 0
        try:
            return self._prune()
        finally:
            self._db.release(_PRUNING)

    def _prune(self) -> int:
        removed = self._db.execute("DELETE FROM responses WHERE created_ms <= ?", self._oldest_ms())
        row = self._db.one("SELECT sum(size) AS bytes FROM responses")
        if row is not None and (row["bytes"] or 0) > self._max_bytes:
            removed += self._db.execute(_DELETE_SURPLUS, self._max_bytes)
        if removed:
            self._db.reclaim()
        return removed

    def close(self) -> None:
        """Close the database."""
        self._db.close()

    def _oldest_ms(self) -> int:
        return _now_ms() - self._max_age_ms


def open_file(path: Path) -> SharedSqlite:
    """The SQLite file of a server without PostgreSQL. Raises `StoreError`."""
    return SharedSqlite(path, _SCHEMA, version=_SCHEMA_VERSION, contents="the stored responses", sets_aside=True)


def _now_ms() -> int:
    return int(time.time() * 1000)


def _check_size(rows: Collection[Row]) -> None:
    size = sum(row["size"] for row in rows)
    if len(rows) > _MAX_CHAIN_RESPONSES:
        raise ChainTooLargeError(f"the conversation has {len(rows)} responses; at most {_MAX_CHAIN_RESPONSES} are read")
    if size > _MAX_CHAIN_BYTES:
        raise ChainTooLargeError(f"the conversation has {size} bytes; at most {_MAX_CHAIN_BYTES} are read")


def _response(row: Row, items: Iterable[Row]) -> StoredResponse:
    return StoredResponse(
        row["id"], row["owner"], row["previous"], row["body"], row["events"], tuple(_item(item) for item in items)
    )


def _item(row: Row) -> StoredItem:
    return StoredItem(row["id"], row["body"], bool(row["is_output"]))
