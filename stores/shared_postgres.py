"""What callers' requests have left in PostgreSQL, for any thread of any ingress replica."""

from __future__ import annotations

import threading
import time
import weakref
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from typing import Any, Final

from stores.database import Row
from stores.errors import SharedStateUnavailable, StoreUnavailable
from stores.postgres import Postgres

_STATEMENT_SECONDS: Final = 5.0
"""A request waits for it; what is kept of one has 64 MiB at most."""
_PAUSE_SECONDS: Final = 3.0
"""How long a server that did not answer is asked by no thread: requests that wait for one are refused at once."""


class SharedPostgres:
    """A connection for each thread that asks, opened by its first statement. `contents`: what errors call it.

    Raises:
        SharedStateUnavailable: the server does not answer, within ten seconds.
        StoreUnusable: the database cannot be used as it is.
        StoreFull: no room on its disk; what was there before is untouched.
        StoreError: it failed otherwise.
    """

    def __init__(self, url: str, *, contents: str) -> None:
        self._url = url
        self._contents = contents
        self._own = threading.local()
        self._opened: list[Postgres] = []
        self._not_before = 0.0
        weakref.finalize(self, _close_all, self._opened)  # an ingress replica has no other end than its process's

    @contextmanager
    def transaction(self) -> Iterator[None]:
        """What is executed inside happens as a whole and durably, or not at all."""
        with self._reached() as db, db.transaction():
            yield

    @contextmanager
    def snapshot(self) -> Iterator[None]:
        """What is read inside is of one moment."""
        with self._reached() as db, db.snapshot():
            yield

    def execute(self, statement: str, *values: Any) -> int:
        """Change something; how many rows were."""
        with self._reached() as db:
            return db.execute(statement, *values)

    def all(self, query: str, *values: Any) -> Sequence[Row]:
        """The rows."""
        with self._reached() as db:
            return db.all(query, *values)

    def one(self, query: str, *values: Any) -> Row | None:
        """The first row, if there is one."""
        with self._reached() as db:
            return db.one(query, *values)

    def claim(self, what: str) -> bool:
        """Whether nobody else is at `what`; the server lets go of it when this thread's connection ends."""
        with self._reached() as db:
            return db.claim(what)

    def release(self, what: str) -> None:
        """Let others claim `what`."""
        with self._reached() as db:
            db.release(what)

    @contextmanager
    def one_at_a_time(self, what: str) -> Iterator[None]:
        """While no other process, and no other thread, does `what`; those who come meanwhile wait some seconds."""
        with self.transaction():
            self.one("SELECT pg_advisory_xact_lock(hashtextextended(?, 0))", f"atelier {what}")
            yield

    def reclaim(self) -> None:
        """Nothing: the server's autovacuum gives room back."""

    def close(self) -> None:
        """Close the connections of all threads."""
        _close_all(self._opened)

    @contextmanager
    def _reached(self) -> Iterator[Postgres]:
        if time.monotonic() < self._not_before:
            raise SharedStateUnavailable(self._silent)
        try:
            db: Postgres | None = getattr(self._own, "database", None)
            if db is None:
                db = self._own.database = Postgres(self._url, statement_seconds=_STATEMENT_SECONDS)
                self._opened.append(db)
            yield db
        except SharedStateUnavailable:
            raise
        except StoreUnavailable as error:
            self._not_before = time.monotonic() + _PAUSE_SECONDS
            raise SharedStateUnavailable(self._silent) from error

    @property
    def _silent(self) -> str:
        return f"the database of {self._contents} does not answer"


def _close_all(connections: list[Postgres]) -> None:
    for each in connections:
        each.close()
