"""An index in SQLite and one in PostgreSQL, over a folder of objects."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from stores.objects import FileStore
from tests.stores.images import StoredIndex, open_index


@pytest.fixture(params=["sqlite", "postgres"])
def where(request: pytest.FixtureRequest, tmp_path: Path) -> Path | str:
    """Where an index may be made."""
    if request.param == "sqlite":
        return tmp_path / "images.db"
    address: str = request.getfixturevalue("database_url")
    return address


@pytest.fixture
def objects(tmp_path: Path) -> FileStore:
    return FileStore(tmp_path / "files")


@pytest.fixture
def index(where: Path | str, objects: FileStore) -> Iterator[StoredIndex]:
    opened = open_index(where, objects, key_prefix="AI/SEARCH/")
    yield opened
    opened.close()
