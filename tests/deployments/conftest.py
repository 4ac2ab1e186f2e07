"""Where the app keeps its files, and what several ingress replicas share."""

from __future__ import annotations

from collections.abc import Iterator

import pytest
from redis import Redis

from tests.buckets import Bucket
from tests.redis_server import RedisServer, redis_server


@pytest.fixture(params=["files", "bucket"])
def store_environment(request: pytest.FixtureRequest) -> dict[str, str]:
    if request.param == "files":
        return {}
    bucket: Bucket = request.getfixturevalue("bucket")
    return bucket.environ


@pytest.fixture(scope="package")
def redis() -> Iterator[RedisServer]:
    with redis_server() as server:
        yield server


@pytest.fixture
def redis_url(redis: RedisServer) -> str:
    """The address of an empty Redis."""
    with Redis.from_url(redis.url) as client:
        client.flushdb()
    return redis.url
