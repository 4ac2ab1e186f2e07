"""Captions that several ingress replicas are asked for at once are made by one of them."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager

import pytest
from pydantic import BaseModel

from deployments.ingress.services.shared_captions import MadeByOne
from stores.cache import RedisCache
from stores.shared_redis import SharedRedis, end_tasks
from tests.redis_server import RedisServer


class Text(BaseModel):
    """What is made."""

    text: str


class Writer:
    """One replica's, which makes what it is asked for when the test lets it."""

    def __init__(self, url: str, name: str) -> None:
        self.cache = RedisCache(url, seconds=60, wait_seconds=5)
        self.redis = SharedRedis(url)
        self.make_once = MadeByOne(self.cache, self.redis)
        self.name = name
        self.made: list[list[str]] = []
        self.begun = asyncio.Semaphore(0)
        self.may_end = asyncio.Event()
        self.error: Exception | None = None

    async def make(self, names: object) -> list[Text]:
        assert isinstance(names, list)
        self.made.append(names)
        self.begun.release()
        await self.may_end.wait()
        if self.error is not None:
            raise self.error
        return [Text(text=f"{self.name} of {name}") for name in names]

    async def get(self, *names: str) -> dict[str, str]:
        made = await self.make_once(list(names), Text, self.make)
        return {name: value.text for name, value in made.items()}


@asynccontextmanager
async def writers(url: str) -> AsyncIterator[tuple[Writer, Writer]]:
    both = Writer(url, "one"), Writer(url, "two")
    try:
        yield both
    finally:
        for each in both:
            await each.redis.close()
            await each.cache.close()


Failing = Callable[[Writer, "asyncio.Task[dict[str, str]]"], Awaitable[None]]


async def test_what_one_replica_makes_the_other_waits_for_and_makes_the_rest(redis_url: str) -> None:
    async with writers(redis_url) as (one, two):
        first = asyncio.ensure_future(one.get("a", "b"))
        await one.begun.acquire()
        second = asyncio.ensure_future(two.get("b", "c"))
        await two.begun.acquire()
        two.may_end.set()
        assert not (await asyncio.wait([second], timeout=0.3))[0]
        one.may_end.set()
        assert await first == {"a": "one of a", "b": "one of b"}
        assert await second == {"b": "one of b", "c": "two of c"}
        assert (one.made, two.made) == ([["a", "b"]], [["c"]])


async def fail(writer: Writer, first: asyncio.Task[dict[str, str]]) -> None:
    writer.error = RuntimeError("it broke")
    writer.may_end.set()
    with pytest.raises(RuntimeError, match="it broke"):
        await first


async def leave(_: Writer, first: asyncio.Task[dict[str, str]]) -> None:
    first.cancel()
    await asyncio.wait([first])


async def die(writer: Writer, _: asyncio.Task[dict[str, str]]) -> None:
    assert writer.redis._beating is not None
    await end_tasks([writer.redis._beating])
    await writer.redis.redis.delete(writer.redis.alive_key)
    writer.may_end.set()


@pytest.mark.parametrize("failing", [fail, leave, die])
async def test_what_the_first_does_not_make_the_second_does(redis_url: str, failing: Failing) -> None:
    async with writers(redis_url) as (one, two):
        first = asyncio.ensure_future(one.get("a"))
        await one.begun.acquire()
        second = asyncio.ensure_future(two.get("a"))
        assert not (await asyncio.wait([second], timeout=0.3))[0]
        two.may_end.set()
        await failing(one, first)
        assert (await second)["a"] in ("two of a", "one of a")
        await asyncio.wait([first])
        assert failing is die or two.made == [["a"]]


async def test_without_redis_every_replica_makes_its_own(redis_url: str, redis: RedisServer) -> None:
    async with writers(redis_url) as both:
        redis.kill()
        try:
            for each in both:
                each.may_end.set()
                assert await each.get("a") == {"a": f"{each.name} of a"}
        finally:
            redis.start()
