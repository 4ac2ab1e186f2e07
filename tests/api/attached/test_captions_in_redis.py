"""Captions remembered in a real Redis, while that Redis dies and comes back."""

from __future__ import annotations

import re
import time
from typing import Any

import httpx
import pytest
from redis import Redis

from tests.api.attached.conftest import ADMIN
from tests.api.conftest import fault
from tests.api.pictures import png, scene
from tests.redis_server import RedisServer

OF_THE_REPLICAS = b"atelier:"
"""How the keys begin that ingress replicas share."""


def told(caller: httpx.Client, colour: str = "red", model: str = "blip") -> dict[str, Any]:
    files = {"images": png(scene(colour=colour))}
    answer = caller.post("/api/caption-images", params={"model": model}, files=files).raise_for_status().json()
    result: dict[str, Any] = answer["results"][0]
    assert colour in result["caption"]
    return result


def wait_until_remembered(caller: httpx.Client, colour: str = "red") -> None:
    until = time.monotonic() + 60
    while not told(caller, colour)["cache"]:
        assert time.monotonic() < until, "nothing is remembered"
        time.sleep(0.1)


def test_captions_are_kept_in_redis_under_our_names_and_for_their_time(
    caller: httpx.Client, redis: RedisServer
) -> None:
    wait_until_remembered(caller)
    pictures = [("images", (f"{colour}.png", png(scene(colour=colour)))) for colour in ("red", "green")]
    with Redis.from_url(redis.url) as client:
        until = time.monotonic() + 60
        while not client.keys("v2:collection:*"):
            assert time.monotonic() < until
            caller.post("/api/caption-collective-images", files=pictures).raise_for_status()
        names = [name.decode() for name in client.scan_iter() if not name.startswith(OF_THE_REPLICAS)]
        assert all(re.fullmatch(r"v2:(img|collection):[0-9a-f]{64}", name) for name in names)
        assert {name.split(":")[1] for name in names} == {"img", "collection"}
        assert all(0 < client.ttl(name) <= 86400 for name in names)


def test_only_an_admin_forgets_them_and_only_ours(caller: httpx.Client, redis: RedisServer) -> None:
    wait_until_remembered(caller)
    with Redis.from_url(redis.url) as client:
        client.set("theirs", "1")
        assert fault(caller.post("/api/admin/reset-cache"))[0] == 403
        answer = caller.post("/api/admin/reset-cache", headers=ADMIN)
        assert answer.json() == {"message": "Redis cache cleared"}
        assert [name for name in client.scan_iter() if not name.startswith(OF_THE_REPLICAS)] == [b"theirs"]
        client.delete("theirs")
    assert told(caller)["cache"] is False


def test_what_others_wrote_under_our_names_is_made_again(caller: httpx.Client, redis: RedisServer) -> None:
    wait_until_remembered(caller)
    with Redis.from_url(redis.url) as client:
        for name in client.keys("v2:img:*"):
            client.set(name, '{"caption": 1}')
    assert told(caller)["cache"] is False
    wait_until_remembered(caller)


def test_a_redis_that_is_killed_fails_nothing_and_is_used_again_once_it_is_back(
    caller: httpx.Client, redis: RedisServer
) -> None:
    wait_until_remembered(caller)
    redis.kill()
    try:
        assert [told(caller)["cache"] for _ in range(3)] == [False] * 3
        refused = caller.post("/api/admin/reset-cache", headers=ADMIN)
        assert fault(refused)[:2] == (503, "CACHE_UNAVAILABLE")
    finally:
        redis.start()
    wait_until_remembered(caller)


@pytest.mark.nightly
def test_a_redis_that_hangs_delays_nothing_for_long(caller: httpx.Client, redis: RedisServer) -> None:
    wait_until_remembered(caller)
    redis.stop()
    try:
        begun = time.monotonic()
        for colour in ("red", "green", "red", "green"):
            assert told(caller, colour)["cache"] is False
        assert time.monotonic() - begun < 30  # to wait for its replies would take for ever
    finally:
        redis.go_on()
    wait_until_remembered(caller)
