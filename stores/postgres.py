"""The image index in PostgreSQL with pgvector, which many processes may share, and what is kept there for callers.

Everything is in the schema `atelier`. Vectors are found through `stores.postgres_vectors`.
"""

from __future__ import annotations

import time
from collections.abc import Iterable, Iterator, Sequence
from contextlib import contextmanager
from typing import Any, Final, Self, cast

import psycopg
from pgvector.psycopg import register_vector
from psycopg import sql
from psycopg.rows import dict_row

from stores.database import Value
from stores.errors import EmbedderChanged, ProjectNotFound, StoreError, StoreFull, StoreUnavailable, StoreUnusable
from stores.postgres_vectors import Connection, PgVectors
from stores.vectors import EXACT_UP_TO

_CONNECT_SECONDS: Final = 5
_STATEMENT_SECONDS: Final = 20.0
"""How long a statement may take. One that a server accepts and never answers would hold up all that come after it."""
_PREPARE_SECONDS: Final = 120.0
"""The same for what brings the schema up to date."""
_PAUSE_SECONDS: Final = 5.0
"""How long a server that did not answer is not asked again: those who wait are refused at once meanwhile."""
_SILENT: Final = "the PostgreSQL database does not answer"

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
    """
    CREATE TABLE embedding_failures (
        label bigint NOT NULL REFERENCES images (label) ON DELETE CASCADE,
        embedder bigint NOT NULL REFERENCES embedders (number) ON DELETE CASCADE,
        attempts integer NOT NULL,
        retry_at text COLLATE "C" NOT NULL,
        reason text NOT NULL,
        PRIMARY KEY (label, embedder)
    );
    CREATE INDEX embedding_failures_in_order ON embedding_failures (embedder, retry_at);
    """,
    """
    CREATE TABLE responses (
        id text COLLATE "C" PRIMARY KEY,
        owner text NOT NULL,
        previous text COLLATE "C",
        created_ms bigint NOT NULL,
        body text NOT NULL,
        events bigint NOT NULL,
        size bigint NOT NULL
    );
    CREATE INDEX responses_by_age ON responses (created_ms, size);
    CREATE TABLE response_items (
        response text COLLATE "C" NOT NULL REFERENCES responses (id) ON DELETE CASCADE,
        position integer NOT NULL,
        id text COLLATE "C" NOT NULL,
        is_output integer NOT NULL CHECK (is_output IN (0, 1)),
        body text NOT NULL,
        PRIMARY KEY (response, position)
    );
    CREATE INDEX response_items_by_id ON response_items (id);
    """,
    """
    CREATE TABLE answers (
        name text COLLATE "C" PRIMARY KEY,
        kept_at double precision NOT NULL,
        digest bytea NOT NULL,
        status integer NOT NULL,
        headers text NOT NULL,
        body bytea NOT NULL,
        size bigint NOT NULL
    );
    CREATE INDEX answers_by_age ON answers (kept_at, size);
    CREATE TABLE job_outcomes (LIKE answers INCLUDING ALL);
    CREATE TABLE api_keys (
        number bigint GENERATED ALWAYS AS IDENTITY,
        name text COLLATE "C" PRIMARY KEY,
        sha256 text NOT NULL UNIQUE,
        admin integer NOT NULL CHECK (admin IN (0, 1)),
        rate text,
        concurrency integer,
        created_at bigint NOT NULL
    );
    CREATE TABLE api_key_changes (number bigint NOT NULL);
    INSERT INTO api_key_changes VALUES (0);
    """,
)
"""Step i takes schema i to schema i + 1. Steps are only ever added."""

_SESSION: Final = (
    "SET hnsw.ef_search = 400; SET hnsw.iterative_scan = strict_order; "
    "SET hnsw.max_scan_tuples = 200000; SET hnsw.scan_mem_multiplier = 8"
)
"""What searches need: more than `limit` candidates, and more of them while pictures in the making are passed over."""


class _Connection(psycopg.Connection[dict[str, Any]]):
    """A connection that ends where the server does not answer a statement in time."""

    seconds: float | None = _PREPARE_SECONDS
    timed_out_at: float | None = None

    def wait(self, gen: Any, *args: Any, **kwargs: Any) -> Any:
        """What psycopg calls to have a statement executed."""
        try:
            return super().wait(gen, *args, **{"timeout": self.seconds, **kwargs})
        except psycopg.errors._WaitTimeout:  # noqa: SLF001 - what `wait` raises has no other name
            self.timed_out_at = time.monotonic()
            self.pgconn.finish()  # the answer, if it comes, would be taken for that of another statement
            raise


class Postgres(Connection):
    """A PostgreSQL database; the next call connects again after a connection broke.

    A statement may take `statement_seconds` (None: any time).

    Raises:
        StoreUnavailable: it does not answer.
        StoreUnusable: its schema is newer, pgvector is not there, or it is not allowed to make tables.
    """

    is_shared = True

    def __init__(
        self, url: str, *, exact_up_to: int = EXACT_UP_TO, statement_seconds: float | None = _STATEMENT_SECONDS
    ) -> None:
        self._url = url
        self._exact_up_to = exact_up_to
        self._statement_seconds = statement_seconds
        self._connection: _Connection | None = None
        self._silent_at: float | None = None
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

    @contextmanager
    def snapshot(self) -> Iterator[None]:
        """What is read inside is of one moment."""
        with _translated(), self._db.transaction():
            self._db.execute("SET TRANSACTION ISOLATION LEVEL REPEATABLE READ, READ ONLY")
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

    def reclaim(self) -> None:
        """Nothing: the server's autovacuum gives room back."""

    def vectors(self, embedder: int) -> PgVectors:
        """The vectors of one embedder."""
        return PgVectors(self, embedder, self._exact_up_to)

    def another(self) -> Self:
        """A connection of its own to the same database, for statements that may take any time."""
        return type(self)(self._url, exact_up_to=self._exact_up_to, statement_seconds=None)

    def cancel(self) -> None:
        """Break off what another thread has executed here."""
        if self._connection is not None and not self._connection.closed:
            self._connection.cancel_safe(timeout=_CONNECT_SECONDS)

    @property
    def _db(self) -> _Connection:
        if self._connection is None or (self._connection.broken and not self._is_closed):
            self._connection = self._connect()
        return self._connection

    def _connect(self) -> _Connection:
        if self._connection is not None and self._connection.timed_out_at is not None:
            self._silent_at, self._connection.timed_out_at = self._connection.timed_out_at, None
        if self._connection is not None:
            self._connection.close()
        if self._silent_at is not None and time.monotonic() < self._silent_at + _PAUSE_SECONDS:
            raise StoreUnavailable(_SILENT)
        try:
            connection = _connected(self._url)
        except StoreUnavailable:
            self._silent_at = time.monotonic()
            raise
        connection.seconds = self._statement_seconds
        self._silent_at = None
        return connection


def _connected(url: str) -> _Connection:
    with _translated():
        db = _Connection.connect(
            url,
            autocommit=True,
            row_factory=dict_row,
            connect_timeout=_CONNECT_SECONDS,
            application_name="atelier",
            keepalives_idle=30,
            tcp_user_timeout=10_000,  # milliseconds; a host that is gone acknowledges nothing
        )
    try:
        _prepare(db)
    except psycopg.errors.InsufficientPrivilege as error:
        db.close()
        raise StoreUnusable(
            "the PostgreSQL database may not be changed by its user, who needs to create a schema and the "
            f"extension vector in it: {_first_line(error)}"
        ) from error
    except psycopg.errors.FeatureNotSupported as error:
        db.close()
        raise StoreUnusable(f"the PostgreSQL database has no pgvector to install: {_first_line(error)}") from error
    except psycopg.Error as error:
        db.close()
        raise StoreUnavailable(f"the PostgreSQL database failed: {_first_line(error)}") from error
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
                f"the PostgreSQL database has schema {version}, and this version of Atelier knows schemas up to "
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


def _first_line(error: psycopg.Error) -> str:
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
        raise StoreError(f"the image index failed: {_first_line(error)}") from error
    except (psycopg.OperationalError, psycopg.InterfaceError) as error:
        raise StoreUnavailable(_SILENT) from error
    except psycopg.Error as error:
        raise StoreError(f"the image index failed: {_first_line(error)}") from error
