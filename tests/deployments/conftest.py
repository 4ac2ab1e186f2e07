"""Where the app keeps its files."""

from __future__ import annotations

import pytest

from tests.buckets import Bucket


@pytest.fixture(params=["files", "bucket"])
def store_environment(request: pytest.FixtureRequest) -> dict[str, str]:
    if request.param == "files":
        return {}
    bucket: Bucket = request.getfixturevalue("bucket")
    return bucket.environ
