"""Captions remembered in a real Redis, by a server of its own, while that Redis dies and comes back."""

from __future__ import annotations

import re
import time
from collections.abc import Iterator
from typing import Any

import httpx
import pytest
from redis import Redis

from tests.api.conftest import fault
from tests.api.pictures import png, scene
from tests.redis_server import RedisServer, redis_server
from tests.servers import start_server

BARE = {"IMAGE_ENABLED": "0", "IMAGE_SEARCH_ENABLED": "0", "VOICE_ENABLED": "0"}


@pytest.fixture(scope="module")
def redis() -> Iterator[RedisServer]:
    with redis_server() as server:
        yield server


@pytest.fixture(scope="module")
def http(redis: RedisServer, tmp_path_factory: pytest.TempPathFactory) -> Iterator[httpx.Client]:
    home = tmp_path_factory.mktemp("redis")
    server = start_server(home, None, REDIS_URL=redis.url, API_KEY="admin", ATELIER_API_KEYS="user", **BARE)
    try:
        server.wait_until_ready()
        with httpx.Client(base_url=server.url, timeout=120, headers={"Authorization": "Bearer user"}) as client:
            yield client
    finally:
        assert server.stop() == 0


def told(http: httpx.Client, colour: str = "red", model: str = "blip") -> dict[str, Any]:
    files = {"images": png(scene(colour=colour))}
    answer = http.post("/api/caption-images", params={"model": model}, files=files).raise_for_status().json()
    result: dict[str, Any] = answer["results"][0]
    assert colour in result["caption"]
    return result


def wait_until_remembered(http: httpx.Client, colour: str = "red") -> None:
    until = time.monotonic() + 20
    while not told(http, colour)["cache"]:
        assert time.monotonic() < until, "nothing is remembered"
        time.sleep(0.1)


def test_captions_are_kept_in_redis_under_our_names_and_for_their_time(http: httpx.Client, redis: RedisServer) -> None:
    wait_until_remembered(http)
    pictures = [("images", (f"{colour}.png", png(scene(colour=colour)))) for colour in ("red", "green")]
    with Redis.from_url(redis.url) as client:
        until = time.monotonic() + 20
        while not client.keys("v2:collection:*"):
            assert time.monotonic() < until
            http.post("/api/caption-collective-images", files=pictures).raise_for_status()
        names = [name.decode() for name in client.scan_iter()]
        assert all(re.fullmatch(r"v2:(img|collection):[0-9a-f]{64}", name) for name in names)
        assert {name.split(":")[1] for name in names} == {"img", "collection"}
        assert all(0 < client.ttl(name) <= 86400 for name in names)


def test_only_an_admin_forgets_them_and_only_ours(http: httpx.Client, redis: RedisServer) -> None:
    wait_until_remembered(http)
    with Redis.from_url(redis.url) as client:
        client.set("theirs", "1")
        assert fault(http.post("/api/admin/reset-cache"))[0] == 403
        answer = http.post("/api/admin/reset-cache", headers={"Authorization": "Bearer admin"})
        assert answer.json() == {"message": "Redis cache cleared"}
        assert client.keys() == [b"theirs"]
        client.delete("theirs")
    assert told(http)["cache"] is False


def test_what_others_wrote_under_our_names_is_made_anew(http: httpx.Client, redis: RedisServer) -> None:
    wait_until_remembered(http)
    with Redis.from_url(redis.url) as client:
        for name in client.keys("v2:img:*"):
            client.set(name, '{"caption": 1}')
    assert told(http)["cache"] is False
    wait_until_remembered(http)


def test_a_redis_that_is_killed_fails_nothing_and_is_used_again_once_it_is_back(
    http: httpx.Client, redis: RedisServer
) -> None:
    wait_until_remembered(http)
    redis.kill()
    try:
        assert [told(http)["cache"] for _ in range(3)] == [False] * 3
        refused = http.post("/api/admin/reset-cache", headers={"Authorization": "Bearer admin"})
        assert fault(refused)[:2] == (503, "CACHE_UNAVAILABLE")
    finally:
        redis.start()
    wait_until_remembered(http)


def test_a_redis_that_hangs_delays_nothing_for_long(http: httpx.Client, redis: RedisServer) -> None:
    wait_until_remembered(http)
    redis.stop()
    try:
        begun = time.monotonic()
        for colour in ("red", "green", "red", "green"):
            assert told(http, colour)["cache"] is False
        assert time.monotonic() - begun < 5  # to wait for its replies would take longer
    finally:
        redis.go_on()
    wait_until_remembered(http)
