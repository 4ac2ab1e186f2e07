"""A small database, and stores for its backups."""

from __future__ import annotations

from pathlib import Path

import pytest

from stores.objects import FileStore, PublicStore
from tests.buckets import Bucket
from tests.stores.backup.databases import new_database


@pytest.fixture(params=["folder", "bucket"])
def store(request: pytest.FixtureRequest, tmp_path: Path) -> PublicStore:
    """Either store: what is tested with it holds for both."""
    if request.param == "folder":
        return FileStore(tmp_path / "files")
    bucket: Bucket = request.getfixturevalue("bucket")
    return bucket.store()


@pytest.fixture
def files(tmp_path: Path) -> FileStore:
    return FileStore(tmp_path / "files")


@pytest.fixture
def database(tmp_path: Path) -> Path:
    """A small one, in which one table refers to another."""
    return new_database(tmp_path / "index" / "images.db", rows=3)
