"""What the replicas share."""

from __future__ import annotations

import pytest

from tests.buckets import Bucket


@pytest.fixture
def shared(redis_url: str, database_url: str, bucket: Bucket) -> dict[str, str]:
    """The environment of a replica: Redis, PostgreSQL and a bucket, all empty."""
    return {
        **bucket.environ,
        "ATELIER_INGRESS_REPLICAS": "2",
        "REDIS_URL": redis_url,
        "SEARCH_DATABASE_URL": database_url,
    }
