"""What every model deployment shares: one engine, one thread that alone calls it, and cancellation that reaches it.

An engine that is `reentrant` is called from as many threads as the replica holds requests.

Ray Serve's fast path runs a replica's coroutines in the loop that also routes its requests, so nothing here may
block: engines work in their thread, and results are encoded there too.
"""

from __future__ import annotations

import asyncio
import logging
import threading
import time
from collections.abc import AsyncGenerator, Callable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import aclosing, nullcontext
from contextvars import copy_context
from typing import Generic, ParamSpec, TypeVar

from deployments import serve_internals, tracing
from deployments.executors import yield_to_others
from deployments.residency.presence import Presence
from deployments.serve_internals import log_request_ids
from models.catalog import create_engine
from models.checkpoints import download, without_hub
from models.engine import Engine
from models.entry import ModelEntry
from models.errors import Cancelled, DeviceLost, InferenceFailed, ModelError, OutOfMemory

logger = logging.getLogger("ray.serve")

E = TypeVar("E", bound=Engine)
T = TypeVar("T")
P = ParamSpec("P")

IsCancelled = Callable[[], bool]


_MAX_AHEAD = 32
"""Pieces of a stream that may wait for their reader."""
_PATIENCE_SECONDS = 120.0
"""How long it waits for who reads nothing: longer than a sentence lasts, for those who play what they read."""
_FIRST_COOL_DOWN, _LONGEST_COOL_DOWN = 10.0, 300.0
_FAILURES_IN_A_ROW = 3
"""After so many the engine is tried on an input of its own: these requests were bad, or everything fails."""


class ModelReplica(Generic[E]):
    """A loaded engine behind an event loop.

    A checkpoint that does not load leaves the replica running: Serve would start it again and again while requests
    wait in vain. Requests get the error at once, and loading is tried again after 10 s, then 20 s, up to 5 minutes.
    Where another replica has loaded it, this one ends instead.

    A device that has broken answers nothing more in the same process, so that ends, as in a crash: Serve starts
    another at once, and what this one held is given to that. Serve's health checks would take half a minute, in which
    every request failed.
    """

    def __init__(self, alias: str, entry: ModelEntry, capacity: int = 0) -> None:
        """`capacity`: at most so many models are loaded on a machine; 0 = as many as there is memory for."""
        log_request_ids()
        self.alias = alias
        self.presence = Presence.here(alias, keep=entry.keep)
        self._capacity, self._has_siblings = capacity, entry.replicas.max > 1
        self.engine: E = create_engine(entry)  # type: ignore[assignment]
        threads = entry.max_ongoing if self.engine.reentrant else 1
        first = None if self.engine.reentrant else yield_to_others  # those wait for other servers
        self._thread = ThreadPoolExecutor(threads, thread_name_prefix=alias, initializer=first)
        self._loading = threading.Lock()
        self._failure: ModelError | None = None
        self._next_try = 0.0
        self._cool_down = _FIRST_COOL_DOWN
        self._failures = 0
        self._thread.submit(self._load).result()
        self._leave_to_siblings()

    def _load(self) -> None:
        begun = time.monotonic()
        try:
            hub_answers = self._download()
            with self.presence.turn_to_load(self._capacity), nullcontext() if hub_answers else without_hub():
                self._load_in_turn()
        except ModelError as error:
            logger.error("%s could not be loaded: %s", self.alias, error)
            self._failure = error
            self._next_try = time.monotonic() + self._cool_down
            self._cool_down = min(self._cool_down * 2, _LONGEST_COOL_DOWN)
            self.presence.failed()
            return
        self._failure = None
        seconds = time.monotonic() - begun
        logger.info(
            "%s is loaded: %.1f MB in %.2f s, ready after %.2f s",
            self.alias,
            self.engine.footprint / 1e6,
            self.engine.load_seconds,
            seconds,
        )
        self.presence.ready(seconds)

    def _download(self) -> bool:
        """Before its turn to load, which a slow hub would otherwise keep from every model; whether the hub answers."""
        sources = self.engine.hub_sources(self.engine.entry)
        if not sources:
            return True
        with self.presence.downloading() as note:
            return download(sources, note)

    def _load_in_turn(self) -> None:
        try:
            self.engine.load()
        except OutOfMemory:
            logger.warning("%s does not fit into memory; the idle models leave, and it is tried once more", self.alias)
            self.presence.wait_for_room()
            self.engine.load()
        self.engine.warm_up()

    def __del__(self) -> None:
        """Serve calls this once the last request of a replica that leaves has ended."""
        if presence := getattr(self, "presence", None):  # the constructor may have failed before
            presence.end()

    def _require_loaded(self) -> None:
        with self._loading:
            if self._failure is not None and time.monotonic() >= self._next_try:
                if isinstance(self._failure, DeviceLost):
                    self.lose_device(self._failure)
                self._load()
            if self._failure is not None:
                if self._is_stood_in_for() and serve_internals.is_in_replica():
                    logger.warning("%s ends its process: others have loaded it", self.alias)
                    serve_internals.end_process()
                raise self._failure.with_traceback(None)

    def _leave_to_siblings(self) -> None:
        """Do not start at all after a load has failed that succeeded elsewhere. Raises what it failed of."""
        if self._failure is not None and self._is_stood_in_for():
            self.presence.end()
            raise self._failure

    def _is_stood_in_for(self) -> bool:
        """Whether others have loaded the model, which then answer instead of one that has not.

        Serve sends no request to a replica that does not start, and tries another, later and later.
        """
        return self._has_siblings and self.presence.has_ready_sibling()

    async def ready(self) -> None:
        """Return once the engine is loaded and its turn has come. Raises the error that keeps it from loading."""
        self.presence.touch()
        await self.run(lambda _: None)

    async def run(self, work: Callable[[IsCancelled], T]) -> T:
        """Do `work` in the engine's thread, in turn.

        When the caller goes away, `work` finds its argument true and should raise `Cancelled`; if it has not begun,
        it never does.
        """
        cancelled = threading.Event()
        future = self._in_thread(self._guarded, work, cancelled.is_set)
        try:
            return await asyncio.wrap_future(future)
        finally:
            cancelled.set()

    async def stream(self, work: Callable[[IsCancelled], Iterator[T]]) -> AsyncGenerator[T, None]:
        """What `work` yields in the engine's thread, as it comes. It waits for a reader who is far behind.

        Raises:
            InferenceFailed: the reader stood still for so long that others would have waited for nothing.
        """
        room = threading.Semaphore(_MAX_AHEAD)

        def tell_all(is_cancelled: IsCancelled, tell: Callable[[T], None]) -> None:
            for piece in work(is_cancelled):
                if not room.acquire(timeout=_PATIENCE_SECONDS):
                    raise InferenceFailed(f"the caller has read nothing for {_PATIENCE_SECONDS:g} s")
                if is_cancelled():
                    raise Cancelled
                tell(piece)

        try:
            async with aclosing(self.listen(tell_all)) as pieces:
                async for piece in pieces:
                    room.release()
                    yield piece
        finally:
            room.release()  # a thread that waits for room finds that nobody reads any more

    async def listen(self, work: Callable[[IsCancelled, Callable[[T], None]], None]) -> AsyncGenerator[T, None]:
        """What `work` tells (by its second argument) in the engine's thread, as it comes. Cancellation as in `run`."""
        loop = asyncio.get_running_loop()
        queue: asyncio.Queue[T | BaseException | None] = asyncio.Queue()
        cancelled = threading.Event()

        def tell(piece: T) -> None:
            loop.call_soon_threadsafe(queue.put_nowait, piece)

        def done() -> None:
            failure: BaseException | None = None
            try:
                self._guarded(lambda is_cancelled: work(is_cancelled, tell), cancelled.is_set)
            except BaseException as error:  # noqa: BLE001 - handed to the reader below
                failure = error
            loop.call_soon_threadsafe(queue.put_nowait, failure)

        self._in_thread(done)
        try:
            while (piece := await queue.get()) is not None:
                if isinstance(piece, BaseException):
                    raise piece
                yield piece
        finally:
            cancelled.set()

    def _in_thread(self, work: Callable[P, T], *args: P.args, **kwargs: P.kwargs) -> Future[T]:
        """`work` in the engine's thread, in the caller's context: log lines then bear the request's id."""
        waiting = tracing.begin(f"{self.alias} queue", {"model": self.alias})

        def in_turn() -> T:
            waiting.end()
            return work(*args, **kwargs)

        return self._thread.submit(copy_context().run, in_turn)

    def _guarded(self, work: Callable[[IsCancelled], T], is_cancelled: IsCancelled) -> T:
        if is_cancelled():
            raise Cancelled
        self._require_loaded()
        begun, failures = time.perf_counter(), self._failures
        try:
            with tracing.span(f"{self.alias} work", {"model": self.alias}):
                result = work(is_cancelled)
            milliseconds = (time.perf_counter() - begun) * 1000
            extra = {"model": self.alias, "milliseconds": round(milliseconds, 1)}
            logger.info("%s worked %.1f ms", self.alias, milliseconds, extra=extra)
            if self._failures == failures:  # else each caller got its own error
                self._failures = 0
            return result
        except InferenceFailed as error:
            self.note_failure(error)
            raise
        except ModelError:
            raise
        except Exception as error:  # noqa: BLE001 - a library may raise anything, and note_failure logs it
            failure = InferenceFailed(f"{type(error).__name__} in {self.alias}")
            failure.__cause__ = error
            self.note_failure(failure)
            raise failure from None

    def note_failure(self, error: InferenceFailed) -> None:
        """Log why a request failed: the response refers to the log. In the engine's thread.

        Ends the process when the device is lost, or when the engine fails on its own warm-up after several requests.
        """
        logger.error("%s failed on a request: %s", self.alias, error, exc_info=error.__cause__)
        if isinstance(error, DeviceLost):
            self.lose_device(error)
            return
        self._failures += 1
        if self._failures < _FAILURES_IN_A_ROW:
            return
        self._failures = 0
        try:
            self.engine.warm_up()
        except OutOfMemory:  # which passes
            return
        except Exception as failure:  # a library may raise anything
            logger.exception("%s fails on everything", self.alias)
            self.lose_device(failure)

    def lose_device(self, error: Exception) -> None:
        """End the process, whose device answers nothing more; the next one starts with a clean one."""
        if serve_internals.is_in_replica():
            logger.critical("%s ends its process, for a new one to take its place: %s", self.alias, error)
            serve_internals.end_process()
