"""Caches: the same rules in memory and in a real Redis; and a Redis that is away, slow, or shared with others."""

from __future__ import annotations

import asyncio
import logging
import time
from collections.abc import AsyncIterator, Iterator, Mapping
from types import MappingProxyType

import pytest
from pydantic import BaseModel, ConfigDict
from redis.asyncio import Redis

from stores.cache import COLLECTION, PICTURE, Cache, MemoryCache, RedisCache
from stores.errors import CacheUnavailable
from tests.redis_server import RedisServer, redis_server

KEY = f"{PICTURE}one"
SOON = 10
"""Seconds that a bounded call stays below even on a busy machine: its own bound is 0.05, without it Redis has 60."""


class Caption(BaseModel):
    model_config = ConfigDict(extra="forbid", strict=True)

    text: str


RED = Caption(text="빨간 원")


@pytest.fixture(scope="module")
def redis() -> Iterator[RedisServer]:
    with redis_server() as server:
        yield server


@pytest.fixture
async def client(redis: RedisServer) -> AsyncIterator[Redis]:
    """An empty Redis, as others see it."""
    async with Redis.from_url(redis.url) as client:
        await client.flushall()
        yield client


@pytest.fixture
async def in_redis(redis: RedisServer, client: Redis) -> AsyncIterator[RedisCache]:
    """One that waits longer, so that a busy machine is not taken for a slow Redis."""
    cache = RedisCache(redis.url, seconds=60, wait_seconds=5)
    yield cache
    await cache.close()


@pytest.fixture
async def impatient(redis: RedisServer, client: Redis) -> AsyncIterator[RedisCache]:
    """One as a server has it."""
    cache = RedisCache(redis.url, seconds=60)
    await found_again(cache)
    yield cache
    await cache.close()


@pytest.fixture(params=["memory", "redis"])
def cache(request: pytest.FixtureRequest) -> Cache:
    if request.param == "memory":
        return MemoryCache(seconds=60, max_entries=100, max_bytes=10_000)
    found: Cache = request.getfixturevalue("in_redis")
    return found


async def found_again(cache: Cache, values: Mapping[str, Caption] = MappingProxyType({KEY: RED})) -> None:
    """Return once the cache gives what it was given to keep."""
    until = time.monotonic() + 60
    while time.monotonic() < until:
        await cache.keep(values)
        if await cache.find(values, Caption) == values:
            return
        await asyncio.sleep(0.05)
    raise AssertionError("the cache did not come back")


async def test_what_is_kept_is_found_and_what_is_not_is_absent(cache: Cache) -> None:
    other = f"{COLLECTION}two"
    assert await cache.find([], Caption) == {}
    await cache.keep({})
    await cache.keep({KEY: RED, other: Caption(text="b")})
    found = await cache.find([other, KEY, f"{PICTURE}none", KEY], Caption)
    assert found == {KEY: RED, other: Caption(text="b")}
    await cache.keep({KEY: Caption(text="new")})
    assert (await cache.find([KEY], Caption))[KEY].text == "new"


async def test_all_is_forgotten_when_the_cache_is_cleared(cache: Cache) -> None:
    keys = [f"{prefix}{i}" for prefix in (PICTURE, COLLECTION) for i in range(40)]
    await cache.keep(dict.fromkeys(keys, RED))
    assert len(await cache.find(keys, Caption)) == 80
    await cache.clear()
    assert await cache.find(keys, Caption) == {}
    await cache.keep({KEY: RED})
    assert await cache.find([KEY], Caption) == {KEY: RED}


async def test_what_is_of_another_kind_counts_as_absent(cache: Cache, caplog: pytest.LogCaptureFixture) -> None:
    class Other(BaseModel):
        number: int

    await cache.keep({KEY: Other(number=1)})
    assert await cache.find([KEY], Caption) == {}
    assert KEY in caplog.text


@pytest.mark.parametrize("kind", ["memory", "redis"])
async def test_a_value_lives_for_its_seconds(kind: str, redis: RedisServer) -> None:
    cache = (
        MemoryCache(seconds=1, max_entries=9, max_bytes=999)
        if kind == "memory"
        else RedisCache(redis.url, seconds=1, wait_seconds=5)
    )
    begun = time.monotonic()
    await cache.keep({KEY: RED})
    while await cache.find([KEY], Caption):
        assert time.monotonic() - begun < 60
        await asyncio.sleep(0.05)
    assert time.monotonic() - begun >= 0.9
    await cache.close()


async def test_a_full_memory_forgets_what_was_not_asked_for_longest() -> None:
    cache = MemoryCache(seconds=60, max_entries=3, max_bytes=10_000)
    keys = [f"{PICTURE}{i}" for i in range(4)]
    await cache.keep(dict.fromkeys(keys[:3], RED))
    await cache.find(keys[:1], Caption)
    await cache.keep({keys[3]: RED})
    assert set(await cache.find(keys, Caption)) == {keys[0], keys[2], keys[3]}


async def test_a_memory_holds_no_more_bytes_than_it_may() -> None:
    size = len(RED.model_dump_json().encode())
    cache = MemoryCache(seconds=60, max_entries=100, max_bytes=2 * size)
    keys = [f"{PICTURE}{i}" for i in range(5)]
    for key in keys:
        await cache.keep({key: RED})
        await cache.keep({key: RED})
    assert set(await cache.find(keys, Caption)) == set(keys[3:])
    await cache.keep({KEY: Caption(text="x" * 1000)})
    assert set(await cache.find([KEY, *keys], Caption)) == set(keys[3:]), "it pushes out nothing when it cannot be kept"


@pytest.mark.parametrize("garbage", [b"", b"\xff\x00", b"[]", b"null", b"{}", b'{"text": 1}', b'{"text": "a", "b": 1}'])
async def test_what_others_wrote_under_our_names_counts_as_absent_and_is_reported(
    in_redis: RedisCache, client: Redis, garbage: bytes, caplog: pytest.LogCaptureFixture
) -> None:
    await client.set(KEY, garbage)
    assert await in_redis.find([KEY], Caption) == {}
    assert KEY in caplog.text
    await in_redis.keep({KEY: RED})
    assert await in_redis.find([KEY], Caption) == {KEY: RED}


async def test_a_list_under_our_name_is_absent_and_gives_way(in_redis: RedisCache, client: Redis) -> None:
    await client.rpush(KEY, "a")
    assert await in_redis.find([KEY], Caption) == {}
    await in_redis.keep({KEY: RED})
    assert await in_redis.find([KEY], Caption) == {KEY: RED}


async def test_keys_of_others_outlive_the_clearing(in_redis: RedisCache, client: Redis) -> None:
    others = [b"v1:img:a", b"v2:images", b"v2:other:b", b"img", b"xv2:img:a", b"\xff\xfe"]
    for key in others:
        await client.set(key, "theirs")
    many = {f"{PICTURE}{i}": RED for i in range(2500)}
    await in_redis.keep(many)
    assert await client.dbsize() >= 2500
    await in_redis.clear()
    assert set(await client.keys()) == set(others)


async def test_every_value_of_ours_ends_by_itself(in_redis: RedisCache, client: Redis) -> None:
    await in_redis.keep({KEY: RED})
    assert 0 < await client.ttl(KEY) <= 60


async def test_a_redis_that_was_killed_fails_nothing_and_is_used_again_when_it_is_back(
    impatient: RedisCache, redis: RedisServer, caplog: pytest.LogCaptureFixture
) -> None:
    redis.kill()
    try:
        for _ in range(5):
            begun = time.monotonic()
            assert await impatient.find([KEY], Caption) == {}
            await impatient.keep({KEY: RED})
            assert time.monotonic() - begun < SOON
        with pytest.raises(CacheUnavailable):
            await impatient.clear()
        assert caplog.text.count("Redis is left out") == 1
    finally:
        redis.start()
    await found_again(impatient)


async def test_a_redis_that_is_slow_costs_a_moment_once_and_answers_are_never_mixed_up(
    impatient: RedisCache, redis: RedisServer
) -> None:
    keys = [f"{PICTURE}{i}" for i in range(20)]
    values = {key: Caption(text=key) for key in keys}
    await found_again(impatient, values)
    redis.stop()
    try:
        begun = time.monotonic()
        calls = [impatient.find([key], Caption) for key in keys] + [impatient.keep({KEY: RED})]
        assert await asyncio.gather(*calls) == [{}] * 20 + [None]
        assert time.monotonic() - begun < SOON
        begun = time.monotonic()
        for key in keys:  # it is left alone for a while
            assert await impatient.find([key], Caption) == {}
        assert time.monotonic() - begun < SOON
        begun = time.monotonic()
        with pytest.raises(CacheUnavailable):
            await impatient.clear()
        assert time.monotonic() - begun < 60
    finally:
        redis.go_on()
    await found_again(impatient)
    for key in keys:
        assert await impatient.find([key], Caption) == {key: values[key]}


async def test_a_call_that_is_cancelled_disturbs_no_other(impatient: RedisCache, redis: RedisServer) -> None:
    redis.stop()
    try:
        call = asyncio.ensure_future(impatient.find([KEY], Caption))
        await asyncio.sleep(0)
        call.cancel()
        with pytest.raises(asyncio.CancelledError):
            await call
    finally:
        redis.go_on()
    await found_again(impatient)


async def test_a_password_is_in_no_log_line(
    client: Redis, redis: RedisServer, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.DEBUG)
    await client.config_set("requirepass", "right")
    try:
        cache = RedisCache(f"redis://:wr0ng@127.0.0.1:{redis.port}/0", seconds=60)
        await cache.keep({KEY: RED})
        assert await cache.find([KEY], Caption) == {}
        await cache.close()
    finally:
        await client.auth("right")
        await client.config_set("requirepass", "")
    assert "Redis is left out" in caplog.text
    assert "wr0ng" not in caplog.text


async def test_a_redis_that_was_never_there_fails_nothing() -> None:
    cache = RedisCache("redis://127.0.0.1:1/0", seconds=60)
    await cache.keep({KEY: RED})
    assert await cache.find([KEY], Caption) == {}
    await cache.close()


async def test_a_redis_that_is_full_still_tells_what_it_has(
    in_redis: RedisCache, client: Redis, caplog: pytest.LogCaptureFixture
) -> None:
    await in_redis.keep({KEY: RED})
    await client.config_set("maxmemory", "1")
    try:
        for _ in range(3):
            await in_redis.keep({f"{PICTURE}two": RED})
            assert await in_redis.find([KEY, f"{PICTURE}two"], Caption) == {KEY: RED}
        assert caplog.text.count("Redis refuses") == 1
        assert "left out" not in caplog.text
    finally:
        await client.config_set("maxmemory", "0")
    await found_again(in_redis, {f"{PICTURE}two": RED})
