"""The embedded store, and either store."""

from __future__ import annotations

from pathlib import Path

import pytest

from stores.objects import FileStore, PublicStore
from tests.buckets import Bucket


@pytest.fixture
def files(tmp_path: Path) -> FileStore:
    """The embedded store."""
    return FileStore(tmp_path / "files")


@pytest.fixture(params=["folder", "bucket"])
def store(request: pytest.FixtureRequest) -> PublicStore:
    """Either store: what is tested with it holds for both."""
    if request.param == "folder":
        files: FileStore = request.getfixturevalue("files")
        return files
    bucket: Bucket = request.getfixturevalue("bucket")
    return bucket.store()
