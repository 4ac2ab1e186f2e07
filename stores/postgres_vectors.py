"""One embedder's vectors in PostgreSQL, where pgvector searches them.

Projects of some size have an HNSW index each, made in the background; smaller ones are compared vector by vector.
"""

from __future__ import annotations

import logging
import threading
from collections.abc import Sequence
from typing import Final, Protocol, Self

import numpy as np

from stores.database import Database, VectorIndex, Vectors
from stores.errors import StoreError

logger = logging.getLogger(__name__)

_ADDED_PER_LOOK: Final = 1000
"""Vectors added until it is looked again which projects need an index."""
_BUILDING: Final = "building search graphs"


class Connection(Database, Protocol):
    """A connection to the database, beside which another can be opened."""

    def another(self) -> Self:
        """A connection of its own to the same database, for statements that may take any time."""

    def cancel(self) -> None:
        """Break off what another thread has executed here."""


class PgVectors(VectorIndex):
    """One embedder's vectors, where pgvector searches them."""

    def __init__(self, db: Connection, embedder: int, exact_up_to: int) -> None:
        self.embedder = embedder
        self._db = db
        self._exact_up_to = exact_up_to
        self._added = _ADDED_PER_LOOK
        self._building: threading.Thread | None = None
        self._builder: Connection
        self._is_stopping = threading.Event()

    def keep(self, project: int, label: int, vector: Vectors) -> None:
        """Write a vector to the database; see `VectorIndex.keep`."""
        self._db.execute(
            "INSERT INTO vectors (label, embedder, project, vector) VALUES (?, ?, ?, ?) ON CONFLICT DO NOTHING",
            label,
            self.embedder,
            project,
            vector,
        )

    def read(self, label: int) -> Vectors | None:
        """The vector in the database."""
        row = self._db.one("SELECT vector FROM vectors WHERE label = ? AND embedder = ?", label, self.embedder)
        return None if row is None else np.asarray(row["vector"].to_numpy(), np.float32)

    def add(self, project: int, label: int, vector: Vectors) -> None:  # noqa: ARG002
        """Nothing but to count: the database finds what is ready by itself."""
        self._added += 1

    def remove(self, project: int, label: int) -> None:
        """Nothing: what the database no longer has it does not find."""

    def drop(self, project: int) -> None:  # noqa: ARG002
        """Look soon for what the project leaves."""
        self._added += _ADDED_PER_LOOK

    def nearest(self, project: int, query: Vectors, limit: int) -> list[tuple[int, float]]:
        """The best of the project; see `VectorIndex.nearest`."""
        # In the words of the project's index, numbers included, or it would not be used.
        select = (
            f"SELECT v.label, v.vector::vector({query.size}) <#> ? AS distance "  # noqa: S608 - numbers of our own
            "FROM vectors v JOIN images i ON i.label = v.label "
            f"WHERE v.embedder = {self.embedder} AND v.project = {project} AND i.state = 'ready' "
            "ORDER BY 2 LIMIT ?"
        )
        return [(row["label"], -row["distance"]) for row in self._db.all(select, query, limit)]

    def nearest_of(self, project: int, labels: Sequence[int], query: Vectors, limit: int) -> list[tuple[int, float]]:
        """The best of these labels; see `VectorIndex.nearest_of`."""
        rows = self._db.all(
            "SELECT label, vector <#> ? AS distance FROM vectors "
            "WHERE embedder = ? AND project = ? AND label = ANY (?) ORDER BY 2 LIMIT ?",
            query,
            self.embedder,
            project,
            list(labels),
            limit,
        )
        return [(row["label"], -row["distance"]) for row in rows]

    def warm(self) -> None:
        """Nothing: it is the database's to cache."""

    @property
    def needs_tending(self) -> bool:
        """Whether it is time to look which projects need an index."""
        return self._added >= _ADDED_PER_LOOK and not self._is_building

    @property
    def is_ready(self) -> bool:
        """Whether no index is to be made or being made."""
        return not self.needs_tending and not self._is_building

    @property
    def _is_building(self) -> bool:
        return self._building is not None and self._building.is_alive()

    def tend(self) -> None:
        """Make the indexes that are wanted and drop those that are not, on a connection of their own."""
        self._added = 0
        self._builder = self._db.another()
        self._building = threading.Thread(target=self._build, args=[self._builder], name="search-graphs", daemon=True)
        self._building.start()

    def save(self) -> None:
        """Nothing: it is saved."""

    def close(self) -> None:
        """Stop making indexes; the next process begins again with what is not whole."""
        if self._building is not None and self._building.is_alive():
            self._is_stopping.set()
            while self._building.is_alive():
                self._builder.cancel()
                self._building.join(0.1)

    def discard(self) -> None:
        """Close, of an embedder that is deleted."""
        self.close()

    def _build(self, db: Connection) -> None:
        try:
            if db.claim(_BUILDING):  # another process looks after itself, and after everybody
                self._build_with(db)
        except StoreError:
            # Searches are right without the indexes, only slower.
            if not self._is_stopping.is_set():
                logger.warning("the indexes of large projects could not be made", exc_info=True)
        finally:
            db.close()

    def _build_with(self, db: Connection) -> None:
        rows = db.all(
            "SELECT c.relname AS name, x.indisvalid AS is_whole "
            "FROM pg_index x JOIN pg_class c ON c.oid = x.indexrelid "
            "WHERE x.indrelid = 'vectors'::regclass AND c.relname ~ '^vectors_e[0-9]+_p[0-9]+$'"
        )
        large = db.all(
            "SELECT v.embedder, v.project, e.dimension FROM vectors v JOIN embedders e ON e.number = v.embedder "
            "JOIN projects p ON p.number = v.project "
            "WHERE p.name >= '0' AND e.name <> '/' || e.number "  # others are deleted
            "GROUP BY v.embedder, v.project, e.dimension HAVING count(*) > ?",
            self._exact_up_to,
        )
        wanted = {f"vectors_e{row['embedder']}_p{row['project']}": row for row in large}
        whole = {row["name"] for row in rows if row["is_whole"]}
        for row in rows:
            if row["name"] not in wanted or row["name"] not in whole:  # a crash leaves broken ones
                db.execute(f"DROP INDEX CONCURRENTLY IF EXISTS {row['name']}")
        db.execute("SET maintenance_work_mem = '512MB'")
        for name, row in wanted.items():
            if name not in whole:
                db.execute(
                    f"CREATE INDEX CONCURRENTLY {name} ON vectors "
                    f"USING hnsw ((vector::vector({row['dimension']})) vector_ip_ops) "
                    "WITH (m = 24, ef_construction = 128) "
                    f"WHERE embedder = {row['embedder']} AND project = {row['project']}"
                )
        db.execute("ANALYZE vectors")
