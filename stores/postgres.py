"""The image index in PostgreSQL with pgvector, which many processes may share.

Everything is in the schema `atelier`. Projects of some size have an HNSW index each, made in the background; smaller
ones are compared vector by vector.
"""

from __future__ import annotations

import logging
import threading
from collections.abc import Iterable, Iterator, Sequence
from contextlib import contextmanager
from typing import Any, Final, cast

import numpy as np
import psycopg
from pgvector.psycopg import register_vector
from psycopg import sql
from psycopg.rows import dict_row

from stores.database import Database, Value, VectorIndex, Vectors
from stores.errors import EmbedderChanged, ProjectNotFound, StoreError, StoreFull, StoreUnavailable, StoreUnusable
from stores.vectors import EXACT_UP_TO

logger = logging.getLogger(__name__)

_CONNECT_SECONDS: Final = 5
_LOOK_AGAIN_AFTER: Final = 1000
"""Vectors added until it is looked again which projects need an index."""
_BUILDING: Final = "building search graphs"

_MIGRATIONS: Final = (
    """
    CREATE TABLE projects (
        number bigint GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
        name text COLLATE "C" NOT NULL UNIQUE,
        created_at text NOT NULL
    );
    CREATE TABLE images (
        label bigint GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
        id text NOT NULL UNIQUE,
        project bigint NOT NULL REFERENCES projects (number) ON DELETE CASCADE,
        sha256 text NOT NULL,
        r2_key text NOT NULL UNIQUE,
        original_filename text NOT NULL,
        content_type text NOT NULL,
        size_bytes bigint NOT NULL,
        width integer NOT NULL,
        height integer NOT NULL,
        created_at text COLLATE "C" NOT NULL,
        dominant_color text,
        position bigint,
        state text NOT NULL CHECK (state IN ('pending', 'ready')),
        UNIQUE (project, sha256)
    );
    CREATE INDEX images_in_order ON images (project, position) WHERE state = 'ready';
    CREATE INDEX images_by_time ON images (project, created_at) WHERE state = 'ready';
    CREATE INDEX images_by_type ON images (project, content_type, created_at) WHERE state = 'ready';
    CREATE INDEX images_pending ON images (state) WHERE state = 'pending';
    CREATE TABLE counters (position bigint NOT NULL);
    INSERT INTO counters VALUES (0);
    CREATE TABLE embedders (
        number bigint GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
        name text NOT NULL UNIQUE,
        entry text,
        dimension integer,
        is_serving integer NOT NULL CHECK (is_serving IN (0, 1))
    );
    CREATE UNIQUE INDEX one_embedder_serves ON embedders (is_serving) WHERE is_serving = 1;
    CREATE TABLE vectors (
        label bigint NOT NULL REFERENCES images (label) ON DELETE CASCADE,
        embedder bigint NOT NULL REFERENCES embedders (number) ON DELETE CASCADE,
        project bigint NOT NULL,
        vector vector NOT NULL,
        PRIMARY KEY (embedder, project, label)
    );
    ALTER TABLE vectors ALTER COLUMN vector SET STORAGE PLAIN;
    CREATE INDEX vectors_by_label ON vectors (label);
    CREATE TABLE tombstones (r2_key text PRIMARY KEY);
    """,
)
"""Step i takes schema i to schema i + 1. Steps are only ever added."""

_SESSION: Final = (
    "SET hnsw.ef_search = 400; SET hnsw.iterative_scan = strict_order; "
    "SET hnsw.max_scan_tuples = 200000; SET hnsw.scan_mem_multiplier = 8"
)
"""What searches need: more than `limit` candidates, and more of them while pictures in the making are passed over."""


class Postgres(Database):
    """A PostgreSQL database; a connection that broke is made anew by the next call.

    Raises:
        StoreUnavailable: it does not answer.
        StoreUnusable: its schema is newer, pgvector is not there, or it is not allowed to make tables.
    """

    is_shared = True

    def __init__(self, url: str, *, exact_up_to: int = EXACT_UP_TO) -> None:
        self._url = url
        self._exact_up_to = exact_up_to
        self._connection: psycopg.Connection[dict[str, Any]] | None = None
        self._is_closed = False
        self._db  # noqa: B018 - connects

    @property
    def closed(self) -> bool:
        """Whether `close` was called."""
        return self._is_closed

    def close(self) -> None:
        """Let go of everything claimed."""
        self._is_closed = True
        if self._connection is not None:
            self._connection.close()

    @contextmanager
    def transaction(self) -> Iterator[None]:
        """What is executed inside happens as a whole and durably, or not at all."""
        with _translated(), self._db.transaction():
            yield

    def execute(self, statement: str, *values: Value) -> int:
        """Change something; how many rows were."""
        with _translated():
            return self._db.execute(_marked(statement), values).rowcount

    def execute_each(self, statement: str, rows: Iterable[Sequence[Value]]) -> None:
        """Change something once for each row of values."""
        with _translated(), self._db.cursor() as cursor:
            cursor.executemany(_marked(statement), rows)

    def all(self, query: str, *values: Value) -> list[dict[str, Any]]:
        """The rows."""
        with _translated():
            return self._db.execute(_marked(query), values).fetchall()

    def one(self, query: str, *values: Value) -> dict[str, Any] | None:
        """The first row, if there is one."""
        with _translated():
            return self._db.execute(_marked(query), values).fetchone()

    def claim(self, what: str) -> bool:
        """Whether no other process has claimed `what`; the server lets go of it when the connection ends."""
        row = self.one("SELECT pg_try_advisory_lock(hashtextextended(?, 0)) AS is_mine", f"atelier {what}")
        assert row is not None
        return bool(row["is_mine"])

    def release(self, what: str) -> None:
        """Let others claim `what`."""
        self.execute("SELECT pg_advisory_unlock(hashtextextended(?, 0))", f"atelier {what}")

    def vectors(self, embedder: int) -> PgVectors:
        """The vectors of one embedder."""
        return PgVectors(self, embedder, self._exact_up_to)

    def another(self) -> Postgres:
        """A connection of its own to the same database."""
        return Postgres(self._url, exact_up_to=self._exact_up_to)

    def cancel(self) -> None:
        """Break off what another thread has executed here."""
        if self._connection is not None and not self._connection.closed:
            self._connection.cancel_safe(timeout=_CONNECT_SECONDS)

    @property
    def _db(self) -> psycopg.Connection[dict[str, Any]]:
        if self._connection is None or (self._connection.broken and not self._is_closed):
            self._connection = _connected(self._url)
        return self._connection


class PgVectors(VectorIndex):
    """One embedder's vectors, where pgvector searches them."""

    def __init__(self, db: Postgres, embedder: int, exact_up_to: int) -> None:
        self.embedder = embedder
        self._db = db
        self._exact_up_to = exact_up_to
        self._added = _LOOK_AGAIN_AFTER
        self._building: threading.Thread | None = None
        self._builder: Postgres
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
        self._added += _LOOK_AGAIN_AFTER

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
        return self._added >= _LOOK_AGAIN_AFTER and not self._is_building

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

    def _build(self, db: Postgres) -> None:
        try:
            if db.claim(_BUILDING):  # another process looks after itself, and after everybody
                self._build_with(db)
        except StoreError:
            # Searches are right without the indexes, only slower.
            if not self._is_stopping.is_set():
                logger.warning("the indexes of large projects could not be made", exc_info=True)
        finally:
            db.close()

    def _build_with(self, db: Postgres) -> None:
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


def _connected(url: str) -> psycopg.Connection[dict[str, Any]]:
    with _translated():
        db = psycopg.connect(
            url,
            autocommit=True,
            row_factory=dict_row,
            connect_timeout=_CONNECT_SECONDS,
            application_name="atelier",
            keepalives_idle=30,
            tcp_user_timeout=10_000,  # milliseconds; a server that went without a word would hold everybody up
        )
    try:
        _prepare(db)
    except psycopg.errors.InsufficientPrivilege as error:
        db.close()
        raise StoreUnusable(
            "the database of image search may not be changed by its user, who needs to create a schema and the "
            f"extension vector in it: {_told(error)}"
        ) from error
    except psycopg.errors.FeatureNotSupported as error:
        db.close()
        raise StoreUnusable(f"the database of image search has no pgvector to install: {_told(error)}") from error
    except psycopg.Error as error:
        db.close()
        raise StoreUnavailable(f"the database of image search failed: {_told(error)}") from error
    except BaseException:
        db.close()
        raise
    return db


def _prepare(db: psycopg.Connection[dict[str, Any]]) -> None:
    """Bring the schema up to date and the session into shape."""
    with db.transaction():
        # of several processes that come at once, one does it
        db.execute("SELECT pg_advisory_xact_lock(hashtextextended('atelier schema', 0))")
        db.execute("CREATE SCHEMA IF NOT EXISTS atelier")
        db.execute("CREATE EXTENSION IF NOT EXISTS vector")
        row = db.execute(
            "SELECT n.nspname AS name FROM pg_extension e JOIN pg_namespace n ON n.oid = e.extnamespace "
            "WHERE e.extname = 'vector'"
        ).fetchone()
        assert row is not None
        db.execute(sql.SQL("SET search_path = atelier, {}").format(sql.Identifier(row["name"])))
        db.execute("CREATE TABLE IF NOT EXISTS schema_version (version integer NOT NULL)")
        found = db.execute("SELECT max(version) AS version FROM schema_version").fetchone()
        version = (found and found["version"]) or 0
        if version > len(_MIGRATIONS):
            raise StoreUnusable(
                f"the database of image search has schema {version}, and this version of Atelier knows schemas up to "
                f"{len(_MIGRATIONS)}: start the newer version again"
            )
        for number, script in enumerate(_MIGRATIONS[version:], start=version + 1):
            db.execute(cast("Any", script))
            db.execute("INSERT INTO schema_version VALUES (%s)", (number,))
    register_vector(db)
    db.execute(cast("Any", _SESSION))


def _marked(statement: str) -> Any:
    """The statement with psycopg's own marks where values go."""
    return statement.replace("?", "%s")


def _told(error: psycopg.Error) -> str:
    """The first line of what the server says; the rest may repeat values."""
    return str(error).strip().partition("\n")[0]


@contextmanager
def _translated() -> Iterator[None]:
    try:
        yield
    except psycopg.errors.DiskFull as error:
        raise StoreFull("the disk of the image index is full") from error
    except psycopg.errors.ForeignKeyViolation as error:
        if error.diag.constraint_name == "images_project_fkey":
            raise ProjectNotFound("the project was deleted while the picture was added to it") from error
        if error.diag.constraint_name == "vectors_embedder_fkey":
            raise EmbedderChanged("the vectors of this model were deleted meanwhile") from error
        raise StoreError(f"the image index failed: {_told(error)}") from error
    except (psycopg.OperationalError, psycopg.InterfaceError) as error:
        raise StoreUnavailable("the database of image search does not answer") from error
    except psycopg.Error as error:
        raise StoreError(f"the image index failed: {_told(error)}") from error
