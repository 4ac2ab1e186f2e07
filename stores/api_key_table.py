"""API keys in PostgreSQL, for several ingress replicas: commands write them, the replicas read them while they run."""

from __future__ import annotations

import time
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Final

from stores.api_keys import ApiKey, ApiKeyFile, ApiKeys, Limits, digest_of, new_key
from stores.errors import NameTaken, NotFound, StoreError, StoreUnusable

if TYPE_CHECKING:
    from stores.database import SharedDatabase  # whose vectors take memory that commands do not need

_COLUMNS: Final = "name, sha256, admin, rate, concurrency, created_at"


class ApiKeyTable:
    """The keys of a database, where they are as long as that is there; those who change them take turns.

    A database that has never had a key counts as one without a file of keys.

    Raises:
        SharedStateUnavailable: it does not answer.
        StoreError: it failed otherwise.
    """

    place = "the database"

    def __init__(self, database: SharedDatabase) -> None:
        self._db = database

    def state(self) -> int:
        """How often the keys were changed."""
        row = self._db.one("SELECT number FROM api_key_changes")
        return row["number"] if row is not None else 0

    def read(self) -> tuple[ApiKey, ...] | None:
        """The keys, in the order in which they were added; None while there was never any."""
        with self._db.snapshot():
            keys, had_any = self._keys(), self.state() > 0
        return keys if had_any else None

    def add(self, name: str, limits: Limits, *, admin: bool = False) -> str:
        """A new key, which is shown this once and never again. Raises `NameTaken`."""
        key = new_key()
        made = ApiKey(name=name, sha256=digest_of(key), admin=admin, limits=limits, created_at=int(time.time()))
        with self._db.transaction():
            self._changed()
            if self._db.one("SELECT name FROM api_keys WHERE name = ?", name) is not None:
                raise NameTaken(f"there is a key of the name {name!r} already; choose another, or revoke it first")
            self._insert([made])
        return key

    def revoke(self, name: str) -> int:
        """Forget a key; how many are left. The server stays closed. Raises `NotFound`."""
        with self._db.transaction():
            self._changed()
            removed = self._db.execute("DELETE FROM api_keys WHERE name = ?", name)
            left = [row["name"] for row in self._db.all("SELECT name FROM api_keys ORDER BY number")]
            if not removed:
                raise NotFound(f"there is no key of the name {name!r}; there are: {', '.join(left) or 'none'}")
        return len(left)

    def take(self, keys: Sequence[ApiKey]) -> int:
        """Take over keys that were kept elsewhere, all or none; how many were not here yet.

        Raises:
            NameTaken: there is another key of one of the names.
        """
        with self._db.transaction():
            self._changed()
            here = {each.name: each.sha256 for each in self._keys()}
            if taken := [each.name for each in keys if here.get(each.name, each.sha256) != each.sha256]:
                raise NameTaken(f"the database has other keys of these names: {', '.join(taken)}; revoke them first")
            new = [each for each in keys if each.name not in here]
            self._insert(new)
        return len(new)

    def close(self) -> None:
        """Close the database."""
        self._db.close()

    def _changed(self) -> None:
        self._db.execute("UPDATE api_key_changes SET number = number + 1")  # its row is the lock of all changes

    def _keys(self) -> tuple[ApiKey, ...]:
        rows = self._db.all(f"SELECT {_COLUMNS} FROM api_keys ORDER BY number")  # noqa: S608 - a constant
        return tuple(
            ApiKey(
                name=row["name"],
                sha256=row["sha256"],
                admin=bool(row["admin"]),
                limits=Limits(rate=row["rate"], concurrency=row["concurrency"]),
                created_at=row["created_at"],
            )
            for row in rows
        )

    def _insert(self, keys: Iterable[ApiKey]) -> None:
        for each in keys:
            self._db.execute(
                f"INSERT INTO api_keys ({_COLUMNS}) VALUES (?, ?, ?, ?, ?, ?)",  # noqa: S608 - a constant
                each.name, each.sha256, int(each.admin), each.limits.rate, each.limits.concurrency, each.created_at,
            )  # fmt: skip


def open_api_keys(file: Path, database_url: str | None) -> ApiKeys:
    """Where the keys are: in a database where one is named, else in the file. Connects to nothing yet."""
    return ApiKeyFile(file) if database_url is None else open_table(database_url)


def open_table(database_url: str) -> ApiKeyTable:
    """The keys of a PostgreSQL database. Connects to nothing yet."""
    from stores.shared_postgres import SharedPostgres  # its driver takes memory

    return ApiKeyTable(SharedPostgres(database_url, contents="the API keys"))


def refuse_file(file: Path) -> None:
    """Refuse to begin with keys in a database while there are some in a file, which nobody would know of any more.

    Raises:
        StoreUnusable: there are; one line that says how they are moved.
    """
    if ApiKeyFile(file).read():
        raise StoreUnusable(
            f"{file} has API keys, and several ingress replicas have theirs in PostgreSQL: move them by "
            "`atelier keys move`"
        )


def move(file: Path, table: ApiKeyTable) -> int:
    """Take over the keys of a file, which is then kept as FILE.moved; how many there were.

    Raises:
        NotFound: there is no such file.
        NameTaken: the database has another key of one of the names; nothing was moved.
    """
    keys = ApiKeyFile(file).read()
    if keys is None:
        raise NotFound(f"there is no {file}")
    table.take(keys)
    try:
        file.replace(file.with_name(f"{file.name}.moved"))
    except OSError as error:
        raise StoreError(
            f"the keys are in the database now, but {file} could not be renamed: {error.strerror}"
        ) from None
    return len(keys)
