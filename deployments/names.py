"""Host names looked up in DNS, in threads of their own.

uvloop looks names up in two threads for its whole process, asyncio in the event loop's default executor: a few names
that a silent name server never answers would hold up every other one.
"""

from __future__ import annotations

import asyncio
import socket
from contextlib import suppress
from ipaddress import ip_address
from typing import Any

from deployments.executors import SERVICE_NAMES, BoundedExecutor, ExecutorFull

AddressInfo = list[tuple[Any, ...]]
"""What `socket.getaddrinfo` returns."""


class Lookups:
    """Names looked up in the threads of an executor.

    All who want to know the same at the same time wait for the same thread: a name that is never answered takes one,
    however many ask for it.
    """

    def __init__(self, executor: BoundedExecutor) -> None:
        self._executor = executor
        self._under_way: dict[tuple[Any, ...], asyncio.Task[AddressInfo]] = {}

    async def find(
        self,
        host: str,
        port: int | None,
        *,
        family: int = 0,
        kind: int = socket.SOCK_STREAM,
        proto: int = 0,
        flags: int = 0,
    ) -> AddressInfo:
        """What the system's resolver says.

        Raises:
            OSError: it knows no such name, or its name server does not answer.
            ExecutorFull: too many names are being looked up.
        """
        key = (asyncio.get_running_loop(), host, port, family, kind, proto, flags)
        looking = self._under_way.get(key)
        if looking is None:
            work = self._executor.run(socket.getaddrinfo, host, port, family, kind, proto, flags)
            looking = asyncio.create_task(work)
            looking.add_done_callback(lambda done: self._ended(key, done))
            self._under_way[key] = looking
        return await asyncio.shield(looking)

    def _ended(self, key: tuple[Any, ...], looked: asyncio.Task[AddressInfo]) -> None:
        del self._under_way[key]
        if not looked.cancelled():
            looked.exception()  # all who asked may have left


def look_up_apart(loop: asyncio.AbstractEventLoop) -> None:
    """Have all that connects from this event loop look names up so, whatever library it belongs to."""
    lookups = Lookups(SERVICE_NAMES)
    connect = loop.create_connection

    async def getaddrinfo(
        host: str,
        port: int | None,
        *,
        family: int = 0,
        type: int = 0,  # noqa: A002 - as asyncio calls it
        proto: int = 0,
        flags: int = 0,
    ) -> AddressInfo:
        try:
            return await lookups.find(host, port, family=family, kind=type, proto=proto, flags=flags)
        except ExecutorFull:
            raise socket.gaierror(socket.EAI_AGAIN, "too many names are being looked up") from None

    async def create_connection(factory: Any, host: str | None = None, port: Any = None, **options: Any) -> Any:
        # uvloop's own asks its threads, and not `getaddrinfo`
        if host is None or _is_address(host):
            return await connect(factory, host, port, **options)
        found = await getaddrinfo(host, port, family=options.get("family", 0), type=socket.SOCK_STREAM)
        if options.get("ssl") and options.get("server_hostname") is None:
            options["server_hostname"] = host
        failures: list[OSError] = []
        for address in dict.fromkeys(str(each[4][0]) for each in found):
            try:
                return await connect(factory, address, port, **options)
            except OSError as failure:
                failures.append(failure)
        raise failures[0]

    loop.getaddrinfo = getaddrinfo  # type: ignore[method-assign, assignment]
    loop.create_connection = create_connection  # type: ignore[method-assign, assignment]


def _is_address(host: str) -> bool:
    with suppress(ValueError):
        ip_address(host.partition("%")[0])
        return True
    return False
