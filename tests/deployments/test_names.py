"""Host names that a silent name server never answers hold up only those who need them."""

from __future__ import annotations

import asyncio
import socket
import threading
from collections.abc import Awaitable, Callable, Iterator
from typing import Any

import httpx
import pytest
import uvloop
from redis.asyncio import Redis

from deployments.executors import SERVICE_NAMES, BoundedExecutor, ExecutorFull
from deployments.names import Lookups, look_up_apart
from models.outgoing import openai_client


class Resolver:
    """The system's, with a name server for `.internal` that never answers; how often each name was asked for."""

    def __init__(self) -> None:
        self.asked: list[str] = []
        self.gives_up = threading.Event()
        self._real = socket.getaddrinfo

    def __call__(self, host: Any, *args: Any, **kwargs: Any) -> Any:
        name = host.decode() if isinstance(host, bytes) else str(host)
        self.asked.append(name)
        if name.endswith(".internal"):
            self.gives_up.wait(60)
            raise socket.gaierror(socket.EAI_AGAIN, "Temporary failure in name resolution")
        return self._real(host, *args, **kwargs)


@pytest.fixture
def resolver(monkeypatch: pytest.MonkeyPatch) -> Iterator[Resolver]:
    """A thread that waits for the system's own resolver cannot be ended from here."""
    system = Resolver()
    monkeypatch.setattr(socket, "getaddrinfo", system)
    yield system
    system.gives_up.set()


async def pong(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    """Redis, as far as a PING goes; a web server, as far as anything goes."""
    while line := await reader.readline():
        if line.startswith(b"GET "):
            writer.write(b"HTTP/1.1 204 No Content\r\n\r\n")
        elif line.strip() in (b"PING", b"SETINFO", b"HELLO"):
            writer.write(b"+PONG\r\n" if line.strip() == b"PING" else b"+OK\r\n")
    writer.close()


async def ask(url: str) -> int:
    async with httpx.AsyncClient(trust_env=False, timeout=30, verify=False) as http:
        return (await http.get(url)).status_code


async def ping(host: str, port: int) -> None:
    async with Redis(host=host, port=port, protocol=2) as redis:
        await redis.ping()


async def chat(host: str) -> None:
    async with openai_client(f"http://{host}/v1", "none", 30) as client:
        await client.models.list()


@pytest.mark.parametrize("new_loop", [uvloop.new_event_loop, asyncio.new_event_loop])
def test_names_that_nobody_answers_hold_up_no_other(
    new_loop: Callable[[], asyncio.AbstractEventLoop], resolver: Resolver
) -> None:
    async def clients_of_all_kinds() -> None:
        look_up_apart(asyncio.get_running_loop())
        server = await asyncio.start_server(pong, "localhost", 0)
        port = server.sockets[0].getsockname()[1]
        hung: list[asyncio.Future[Any]] = [
            asyncio.ensure_future(each)
            for each in (ask("http://files.internal"), chat("writer.internal"), ping("redis.internal", 6379))
        ]
        hung += [asyncio.ensure_future(ask("http://files.internal")) for _ in range(20)]  # one name, one thread
        while SERVICE_NAMES.calls < 3:
            await asyncio.sleep(0.01)
            assert not [each.exception() for each in hung if each.done()]
        assert await ask(f"http://localhost:{port}") == 204
        await ping("localhost", port)
        assert not any(each.done() for each in hung)
        assert sorted(each for each in resolver.asked if each.endswith(".internal")) == [
            "files.internal", "redis.internal", "writer.internal",
        ]  # fmt: skip
        resolver.gives_up.set()
        failures = await asyncio.gather(*hung, return_exceptions=True)
        assert all("name resolution" in f"{each} {each.__cause__}" for each in failures if isinstance(each, Exception))
        assert len(failures) == 23
        server.close()
        await server.wait_closed()

    with asyncio.Runner(loop_factory=new_loop) as runner:
        runner.run(asyncio.wait_for(clients_of_all_kinds(), 30))
    assert SERVICE_NAMES.calls == 0


async def refused(work: Awaitable[Any]) -> type[Exception]:
    try:
        await work
    except Exception as error:  # noqa: BLE001 - which one it is, is the question
        return type(error)
    raise AssertionError("it was not refused")


async def test_more_names_than_may_wait_are_refused_at_once(resolver: Resolver) -> None:
    lookups = Lookups(BoundedExecutor("few", threads=1, max_waiting=1))
    waiting = [asyncio.ensure_future(refused(lookups.find(f"{each}.internal", 80))) for each in "ab"]
    await asyncio.sleep(0)
    assert await refused(lookups.find("c.internal", 80)) is ExecutorFull
    resolver.gives_up.set()
    assert await asyncio.gather(*waiting) == [socket.gaierror] * 2
    assert await lookups.find("localhost", 80)


async def test_a_certificate_is_still_asked_for_by_the_name(resolver: Resolver) -> None:
    """The connection goes to an address, and the name that the server has to prove stays the one that was given."""
    seen: dict[str, Any] = {}

    class Loop(asyncio.SelectorEventLoop):
        async def create_connection(self, *args: Any, **options: Any) -> Any:
            seen.update(options, address=args[1])
            raise ConnectionRefusedError

    loop = Loop()
    look_up_apart(loop)
    try:
        await asyncio.to_thread(
            loop.run_until_complete, refused(loop.create_connection(asyncio.Protocol, "localhost", 443, ssl=True))
        )
    finally:
        loop.close()
    assert seen["server_hostname"] == "localhost"
    assert seen["address"] in ("127.0.0.1", "::1")
