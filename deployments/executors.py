"""Threads for what blocks: each kind of waiting has its own, so that one that never ends holds up nothing else.

The event loop's default executor has five threads under Ray Serve, whatever the machine: five calls to a bucket that
accepts connections and never answers would stop everything that takes a thread.
"""

from __future__ import annotations

import asyncio
import contextvars
import os
import sys
import threading
from collections.abc import Callable
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import suppress
from functools import partial
from typing import Final, ParamSpec, TypeVar

P = ParamSpec("P")
T = TypeVar("T")


_NICENESS: Final = 10


def yield_to_others() -> None:
    """Give threads that answer clients priority over this thread, and over those that it starts (Linux).

    What takes every core (a model, pictures of many pixels) would otherwise hold up what takes a millisecond: health,
    lists, refusals.
    """
    if sys.platform == "linux":  # elsewhere it would be the whole process, whose event loop must not wait
        thread = threading.get_native_id()
        with suppress(OSError):  # some sandboxes allow nobody to change a priority
            os.setpriority(os.PRIO_PROCESS, thread, max(_NICENESS, os.getpriority(os.PRIO_PROCESS, thread)))


class ExecutorFull(Exception):
    """Every thread of a kind is taken and as many calls wait as may. `name` is the executor's."""

    def __init__(self, name: str) -> None:
        super().__init__(name)
        self.name = name


class BoundedExecutor:
    """A few named threads, and a bound on the calls that wait for one of them.

    A call counts until its thread has ended it, also when its caller has gone: a thread that hangs stays taken.
    Threads start when they are needed.
    """

    def __init__(self, name: str, threads: int, max_waiting: int, first: Callable[[], None] | None = None) -> None:
        """`first` is what each thread does before its first call."""
        self.name = name
        self._limit = threads + max_waiting
        self._pool = ThreadPoolExecutor(threads, thread_name_prefix=name, initializer=first)
        self._lock = threading.Lock()
        self._calls = 0

    @property
    def calls(self) -> int:
        """How many calls run or wait."""
        return self._calls

    async def run(self, work: Callable[P, T], *args: P.args, **kwargs: P.kwargs) -> T:
        """What `work` returns, run in a thread with the caller's context variables.

        Raises:
            ExecutorFull: at once, when no more calls may wait.
        """
        with self._lock:
            if self._calls >= self._limit:
                raise ExecutorFull(self.name)
            self._calls += 1
        try:
            future = self._pool.submit(contextvars.copy_context().run, partial(work, *args, **kwargs))
        except BaseException:
            self._ended(None)
            raise
        future.add_done_callback(self._ended)
        return await asyncio.wrap_future(future)

    def _ended(self, _: Future[T] | None) -> None:
        with self._lock:
            self._calls -= 1


FILES: Final = BoundedExecutor("files", threads=16, max_waiting=64)
"""The object store, a folder or a bucket, and what is kept in it: uploads, voices, who owns what."""
IDEMPOTENCY: Final = BoundedExecutor("idempotency", threads=4, max_waiting=256)
"""The ledger of answers that are kept for a repetition."""
RESPONSES: Final = BoundedExecutor("responses", threads=1, max_waiting=256)
"""The database of stored responses, which one thread at a time may use."""
KEYS: Final = BoundedExecutor("keys", threads=1, max_waiting=16)
"""The file of API keys."""
NAMES: Final = BoundedExecutor("names", threads=8, max_waiting=32)
"""Hosts of callers' URLs looked up in DNS, where a server that is silent is given up by the system's own time-out."""
SERVICE_NAMES: Final = BoundedExecutor("service-names", threads=8, max_waiting=64)
"""Hosts that the configuration names (Redis, a file server, a writer of prompts) looked up in DNS."""
CONTROL_PLANE: Final = BoundedExecutor("control-plane", threads=8, max_waiting=256)
"""Reads from Ray's control plane."""
DECODING: Final = BoundedExecutor("decoding", threads=2, max_waiting=32, first=yield_to_others)
"""Recordings and stored pictures decoded whole: seconds each, and memory."""
SENDING: Final = BoundedExecutor("sending", threads=2, max_waiting=256)
"""Large bytes copied into Ray's object store, which waits for its disk when it is full."""
COMPUTING: Final = BoundedExecutor("computing", threads=4, max_waiting=1024)
"""Short work of the processor that would hold up the event loop: base64, headers of pictures, schemas."""
