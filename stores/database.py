"""What is asked of a database: by the image index, and by what is kept for callers.

`stores.sqlite` and `stores.postgres` are the databases of the index; the rest is in those of `stores.shared_sqlite` and
`stores.shared_postgres`.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from contextlib import AbstractContextManager
from typing import Any, Protocol

import numpy as np
from numpy.typing import NDArray

Vectors = NDArray[np.float32]
Value = str | int | float | bytes | Sequence[int] | Vectors | None


class Row(Protocol):
    """A row, by the names of its columns."""

    def __getitem__(self, column: str, /) -> Any:
        """The value in a column."""


class SharedDatabase(Protocol):
    """What any thread of several processes may ask; statements have `?` where values go, and are the same for each.

    Methods raise `StoreFull` when the disk is full and `StoreError` when the database fails otherwise.
    """

    def transaction(self) -> AbstractContextManager[None]:
        """What is executed inside happens as a whole, or not at all."""

    def snapshot(self) -> AbstractContextManager[None]:
        """What is read inside is of one moment."""

    def execute(self, statement: str, *values: Any) -> int:
        """Change something; how many rows were."""

    def all(self, query: str, *values: Any) -> Sequence[Row]:
        """The rows."""

    def one(self, query: str, *values: Any) -> Row | None:
        """The first row, if there is one."""

    def claim(self, what: str) -> bool:
        """Whether nobody else is at `what`; it is this thread's then, until `release` or the end of its process."""

    def release(self, what: str) -> None:
        """Let others claim `what`."""

    def reclaim(self) -> None:
        """Give the disk back what deleted rows have taken."""

    def close(self) -> None:
        """Close the connections."""


class Database(Protocol):
    """The truth about records and vectors, used by one thread at a time.

    Statements have `?` where values go, and are the same for every database. Methods raise `StoreFull` when the disk
    is full and `StoreError` when the database fails otherwise.
    """

    is_shared: bool
    """Whether other processes may have it open too."""

    @property
    def closed(self) -> bool:
        """Whether `close` was called."""

    def close(self) -> None:
        """Let others in."""

    def transaction(self) -> AbstractContextManager[None]:
        """What is executed inside happens as a whole and durably, or not at all."""

    def execute(self, statement: str, *values: Value) -> int:
        """Change something; how many rows were."""

    def execute_each(self, statement: str, rows: Iterable[Sequence[Value]]) -> None:
        """Change something once for each row of values."""

    def all(self, query: str, *values: Value) -> Sequence[Row]:
        """The rows."""

    def one(self, query: str, *values: Value) -> Row | None:
        """The first row, if there is one."""

    def claim(self, what: str) -> bool:
        """Whether no other process has claimed `what`; it is this one's then, until `release` or its end."""

    def release(self, what: str) -> None:
        """Let others claim `what`."""

    def vectors(self, embedder: int) -> VectorIndex:
        """The vectors of one embedder, ready to be searched."""


class VectorIndex(Protocol):
    """The unit vectors of one embedder under the labels of their images, project by project."""

    embedder: int
    """Its number in the database."""

    def keep(self, project: int, label: int, vector: Vectors) -> None:
        """Write a vector to the database, inside a transaction; it is not found before `add`. Float32 [dimension]."""

    def read(self, label: int) -> Vectors | None:
        """The vector in the database."""

    def add(self, project: int, label: int, vector: Vectors) -> None:
        """Let a vector be found that `keep` has written."""

    def remove(self, project: int, label: int) -> None:
        """Let a vector be found no more that the database no longer has."""

    def drop(self, project: int) -> None:
        """Drop a project that is deleted."""

    def nearest(self, project: int, query: Vectors, limit: int) -> list[tuple[int, float]]:
        """The `limit` best (label, cosine), best first; fewer only when the project has fewer."""

    def nearest_of(self, project: int, labels: Sequence[int], query: Vectors, limit: int) -> list[tuple[int, float]]:
        """The `limit` best of these labels, compared one by one."""

    def warm(self) -> None:
        """Make everything ready that a search would otherwise wait for."""

    @property
    def needs_tending(self) -> bool:
        """Whether `tend` has anything to do."""

    def tend(self) -> None:
        """Do some tens of milliseconds of the work that keeps searches fast. Once in a while it takes longer."""

    @property
    def is_ready(self) -> bool:
        """Whether searches are as fast as they will be: nothing is to be tended, nor being made in the background."""

    def save(self) -> None:
        """Save what would have to be computed again at the next start."""

    def close(self) -> None:
        """Save, and stop what goes on in the background."""

    def discard(self) -> None:
        """Close, of an embedder that is deleted."""
