"""Which models there are, under which names, in which state; and the one way to call them."""

from __future__ import annotations

import asyncio
import logging
import math
import time
from collections import Counter
from collections.abc import AsyncGenerator, AsyncIterator, Iterable, Iterator, Mapping, Sequence
from contextlib import AbstractContextManager, aclosing, asynccontextmanager, contextmanager, suppress
from contextvars import Context
from dataclasses import replace
from fnmatch import fnmatchcase
from typing import Any

from ray.exceptions import RayActorError
from ray.serve.exceptions import RayServeException
from ray.serve.handle import DeploymentHandle

from deployments import serve_internals, tracing
from deployments.imaging import Progress
from deployments.ingress.calls.single_flight import side_by_side
from deployments.ingress.calls.states import ANSWER_SECONDS, ModelStates, Standing
from deployments.ingress.calls.turns import QueueFull, Turns, caller
from deployments.ingress.errors import ApiError, from_exception, invalid
from deployments.ingress.metrics import Call, Metrics, ModelFacts, State
from deployments.ingress.middleware.request_context import note_model
from deployments.residency.board import ReplicaStatusStore
from models.catalog import Kind, ModelEntry
from settings import Settings

logger = logging.getLogger("ray.serve")

_STATE_SECONDS = 1.0
_SCRAPE_SECONDS = 60.0
"""How old the states may be that `/metrics` tells: those of the scrape before, and never from before a pause."""
_LEAVING_SECONDS = 0.25
_LONGEST_EVICTION_SECONDS = 600.0
_NO_RETRY = {"x-should-retry": "false"}
_AWAKE_SECONDS = 30.0
"""How long a model that has answered is taken to be awake, at most."""


class ModelCalls:
    """Every alias with its entry and its deployment's handle. `metrics` count what is called, and what comes of it."""

    def __init__(
        self, settings: Settings, handles: Mapping[str, DeploymentHandle], metrics: Metrics | None = None
    ) -> None:
        self._settings = settings
        self._handles = dict(handles)
        self.metrics = metrics or Metrics()
        for alias in self._handles:
            self.metrics.expect(alias)
        self._calls: Counter[str] = Counter()
        self._held: set[str] = set()
        self._watching: asyncio.Task[None] | None = None
        self._looking: asyncio.Future[dict[str, Standing]] | None = None
        self.known = ModelStates(list(self._handles))
        self._turns = {alias: Turns(entry.max_ongoing, entry.max_queued) for alias, entry in self.entries.items()}
        self._seconds: dict[str, float] = {}
        self._awake_at: dict[str, float] = {}

    @property
    def entries(self) -> dict[str, ModelEntry]:
        """The models that are deployed, by alias."""
        return {alias: entry for alias, entry in self._settings.models.items() if alias in self._handles}

    def resolve(self, name: str | None, kinds: Iterable[Kind]) -> str:
        """The alias that answers to a model name: an alias, a pattern's target, or a checkpoint's own name.

        Raises:
            ApiError: 404 `model_not_found`, 400 when the model is of another kind, 404 when no such model is deployed.
        """
        kinds = tuple(kinds)
        if name is None:
            alias = next((a for kind in kinds if (a := self._settings.default_for(kind)) in self._handles), None)
            if alias is None:
                raise ApiError(404, f"no model of kind {' or '.join(kinds)} is configured", code="model_not_found")
            note_model(alias)
            return alias
        alias = self.find(name, kinds)
        if alias is None:
            raise ApiError(
                404,
                f"the model {name!r} does not exist; there are: {', '.join(self._of_kind(kinds))}",
                code="model_not_found",
                param="model",
            )
        kind = self.entries[alias].kind
        if kind not in kinds:
            raise invalid(
                "model",
                f"the model {name!r} is of kind {kind}; this route takes: {', '.join(self._of_kind(kinds)) or 'none'}",
            )
        note_model(alias)
        return alias

    def find(self, name: str, kinds: Iterable[Kind] = ()) -> str | None:
        """The deployed alias behind a name, None when there is none.

        Of several that patterns lead to, the first of one of `kinds`: `gpt-*` may stand before `gpt-image-*`.
        """
        if name in self._handles:
            return name
        entries = self.entries
        named = [alias for pattern, alias in self._settings.routes.items() if fnmatchcase(name, pattern)]
        named += [alias for alias, entry in entries.items() if entry.checkpoint == name]
        deployed = [alias for alias in named if alias in entries]
        fitting = (alias for alias in deployed if entries[alias].kind in kinds)
        return next(fitting, deployed[0] if deployed else None)

    def _of_kind(self, kinds: Iterable[Kind]) -> list[str]:
        wanted = set(kinds)
        return [alias for alias, entry in self.entries.items() if entry.kind in wanted]

    async def call(self, alias: str, method: str, *args: Any) -> Any:
        """The result of a method of the model's replica, which is started if none runs.

        Raises:
            ApiError: 503 with Retry-After when the model does not start in time or its process ends twice, 429 when
                its queue is full, and what the model itself refused.
        """
        with self._counted(alias) as call, tracing.span(f"call {alias}", {"model": alias, "method": method}):
            async with self._turn(alias):
                result = await self._call(alias, method, *args)
            call.end()
        self.metrics.made(alias, result)
        return result

    @contextmanager
    def _counted(self, alias: str) -> Iterator[Call]:
        self._calls[alias] += 1
        if self._watching is None or self._watching.done():
            self._watching = asyncio.create_task(self._watch(), context=Context())
        try:
            with self.metrics.call(alias) as call:
                yield call
        finally:
            self._calls[alias] -= 1

    async def _watch(self) -> None:
        """While anything is asked, know which models have given their room to another that is not there yet."""
        try:
            with suppress(RayServeException):  # nothing is told where Serve does not run
                while self._calls.total():
                    try:
                        self._held = await self.known.held()
                    except TimeoutError:  # nobody is to be held back for what may have changed since
                        self._held = set()
                    await asyncio.sleep(_LEAVING_SECONDS)
        except Exception:  # whatever it is, nobody is to be held back for what was told before
            logger.warning("the board could not be read", exc_info=True)
        finally:
            self._held = set()

    async def _call(self, alias: str, method: str, *args: Any) -> Any:
        has_died = False
        while True:
            answer = getattr(self._handles[alias], method).remote(*args)
            waiting = asyncio.ensure_future(_result(answer))
            try:
                await self._started(alias, waiting)
                result = waiting.result()
                self.known.has_answered(alias)
                return result
            except ApiError:
                raise
            except RayActorError as error:
                self._note_death(alias, error, is_last=has_died)
                has_died = True
            except Exception as error:
                raise self._told(error) from error
            finally:
                if not waiting.done():
                    answer.cancel()
                    waiting.cancel()

    def _note_death(self, alias: str, error: RayActorError, *, is_last: bool) -> None:
        """Let the next process of a model try, which makes the same of the same request; raise if `is_last`.

        What went to another server may have been worked on there, and cost something.
        """
        told = self._told(error)
        if is_last or self.entries[alias].engine == "upstream":
            raise told from error
        logger.warning("the process of %s ended; its request is given to the next one", alias)

    def _told(self, error: Exception) -> ApiError:
        self.known.expire()  # it may be why the model will answer nobody
        return from_exception(error)

    async def load(self, alias: str) -> float:
        """Have a model loaded, past whoever waits for it; the seconds that it took. Errors as in `call`."""
        begun = time.monotonic()
        await self._call(alias, "ready")
        self.known.expire()
        return time.monotonic() - begun

    @asynccontextmanager
    async def _turn(self, alias: str) -> AsyncIterator[None]:
        """While it is the caller's turn at a model.

        Raises:
            ApiError: 429 with Retry-After when too many wait for it, 503 when the turn did not come in time.
        """
        turns = self._turns[alias]
        try:
            async with asyncio.timeout(self._settings.queue_timeout):
                await turns.take(caller.get())
                try:
                    while alias in self._held and self._watching:
                        await asyncio.wait([self._watching], timeout=_LEAVING_SECONDS)
                except asyncio.CancelledError:
                    turns.give()
                    raise
        except QueueFull:
            seconds = turns.waiting * self._seconds.get(alias, 1.0) / self.entries[alias].max_ongoing
            raise ApiError(
                429,
                f"too many requests are waiting for the model {alias!r}",
                code="rate_limit_exceeded",
                headers={"Retry-After": str(min(60, max(1, math.ceil(seconds))))},
            ) from None
        except TimeoutError:
            raise ApiError(
                503,
                f"the turn of this request at the model {alias!r} did not come within "
                f"{self._settings.queue_timeout:g} s",
                code="queue_timeout",
                headers={"Retry-After": "10"},
            ) from None
        begun = time.monotonic()
        try:
            yield
        finally:
            turns.give()
            seconds = time.monotonic() - begun
            self._seconds[alias] = 0.8 * self._seconds.get(alias, seconds) + 0.2 * seconds

    async def wake(self, alias: str) -> None:
        """Return once the model answers, which it is not asked when it has lately. Errors as in `call`."""
        seconds = min(_AWAKE_SECONDS, self._settings.idle_timeout / 2)
        if time.monotonic() - self._awake_at.get(alias, -math.inf) > seconds:
            await self.call(alias, "ready")
            self._awake_at[alias] = time.monotonic()

    async def stream(self, alias: str, method: str, *args: Any) -> AsyncGenerator[Any, None]:
        """What a generator method of the model's replica yields. Errors as in `call`."""
        with (
            self._counted(alias) as call,
            tracing.split_span(f"call {alias}", {"model": alias, "method": method}) as span,
        ):
            async with self._turn(alias), aclosing(self._stream(alias, method, *args, within=span)) as pieces:
                async for piece in pieces:
                    call.piece()
                    self.metrics.made(alias, piece)
                    yield piece
            call.end()

    async def _stream(
        self, alias: str, method: str, *args: Any, within: AbstractContextManager[Any]
    ) -> AsyncGenerator[Any, None]:
        has_died = False
        while True:
            with within:
                answers = getattr(self._handles[alias].options(stream=True), method).remote(*args)
                waiting = asyncio.ensure_future(_first(answers))
            has_begun = finished = False
            try:
                await self._started(alias, waiting)
                piece = waiting.result()
                self.known.has_answered(alias)
                while piece is not _NOTHING:
                    has_begun = has_begun or not isinstance(piece, Progress)  # which may begin again
                    yield piece
                    piece = await _first(answers)
                finished = True
                return
            except ApiError:
                raise
            except RayActorError as error:
                finished = True
                self._note_death(alias, error, is_last=has_begun or has_died)
                has_died = True
            except Exception as error:
                finished = True
                raise self._told(error) from error
            finally:
                if not finished:
                    answers.cancel()
                    waiting.cancel()

    async def call_each(self, alias: str, method: str, jobs: Sequence[Any]) -> list[Any]:
        """The results of several calls, in order; the first failure ends the others. Errors as in `call`.

        A request alone never overflows the model's queue.
        """
        at_once = self.entries[alias].max_ongoing
        return await side_by_side(lambda job: self.call(alias, method, job), jobs, at_once)

    async def stream_each(self, alias: str, method: str, jobs: Sequence[Any]) -> AsyncGenerator[tuple[int, Any], None]:
        """What several streams yield, as it comes, with the number of the job. Errors as in `call`."""
        if len(jobs) == 1:
            async with aclosing(self.stream(alias, method, jobs[0])) as pieces:
                async for piece in pieces:
                    yield 0, piece
            return
        room = asyncio.Semaphore(self.entries[alias].max_ongoing)
        queue: asyncio.Queue[tuple[int, Any] | None] = asyncio.Queue()

        async def one(number: int, job: Any) -> None:
            async with room, aclosing(self.stream(alias, method, job)) as pieces:
                async for piece in pieces:
                    queue.put_nowait((number, piece))

        streams = [asyncio.ensure_future(one(number, job)) for number, job in enumerate(jobs)]
        ended = asyncio.gather(*streams)
        ended.add_done_callback(lambda _: queue.put_nowait(None))
        try:
            while (piece := await queue.get()) is not None:
                yield piece
            await ended
        finally:
            for each in streams:
                each.cancel()
            await asyncio.wait(streams)

    async def _started(self, alias: str, waiting: asyncio.Future[Any]) -> None:
        """Return once `waiting` is done, however long the model works; not so long for it to start.

        Raises:
            ApiError: 503, the model has not started in time, or never will.
        """
        begun = time.monotonic()
        while not waiting.done():
            await asyncio.wait([waiting], timeout=_STATE_SECONDS)
            if waiting.done():
                return
            looking = asyncio.ensure_future(self.known.standings())
            await asyncio.wait([waiting, looking], return_when=asyncio.FIRST_COMPLETED)
            if waiting.done():
                looking.cancel()
                return
            standing = looking.result()[alias]
            if standing.state == "ready":
                await asyncio.wait([waiting], timeout=self._settings.start_timeout)
                begun = time.monotonic()
            elif standing.verdict.is_too_large:
                raise ApiError(503, f"the model {alias!r} {standing.reason}", code="model_too_large", headers=_NO_RETRY)
            elif time.monotonic() - begun > self._settings.start_timeout:
                reason = f": it {standing.reason}" if standing.reason else ""
                raise ApiError(
                    503,
                    f"the model {alias!r} did not start within {self._settings.start_timeout:g} s{reason}",
                    code="model_starting",
                    headers={"Retry-After": "10"},
                )

    async def evict(self, alias: str) -> None:
        """Return once the model's replica is gone, whose running requests end first.

        Raises:
            ApiError: 404 when it is not loaded, 409 when it is one that is always kept.
        """
        if self.entries[alias].keep:
            message = f"the model {alias!r} is configured to be kept (keep: true)"
            raise ApiError(409, message, code="model_kept", headers=_NO_RETRY)
        ask, store = self.known.ask, ReplicaStatusStore(serve_internals.application_name())
        facts = (await self.known.standings(at_most=0.0, patience=ANSWER_SECONDS))[alias].facts
        if facts is None or facts.state == "waiting":
            raise ApiError(404, f"the model {alias!r} is not loaded", code="model_not_loaded")
        await ask(store.ask_to_leave, facts.replica)
        deadline = time.monotonic() + _LONGEST_EVICTION_SECONDS
        while await ask(_is_there, store, facts.replica):
            if time.monotonic() > deadline:
                message = f"the model {alias!r} is still at work; it leaves as soon as that is done"
                raise ApiError(503, message, code="model_busy", headers={"Retry-After": "60"})
            await asyncio.sleep(_LEAVING_SECONDS)
        self.known.expire()

    async def states(self) -> dict[str, State]:
        """The state of every alias, at most a second old."""
        return {alias: standing.state for alias, standing in (await self.standings()).items()}

    async def facts(self) -> dict[str, ModelFacts]:
        """What is known of every alias, for `/metrics`; the states are as of the call before, so that nobody waits.

        Asks Serve's controller for the next time, never a model.
        """
        standings = await self.standings(_SCRAPE_SECONDS)
        self._looking = asyncio.ensure_future(self.standings())
        found = {}
        for alias, standing in standings.items():
            running = min(self._calls[alias], self.entries[alias].max_ongoing) if standing.state == "ready" else 0
            found[alias] = ModelFacts(
                standing.state,
                running=running,
                waiting=self._calls[alias] - running,
                resident_bytes=standing.facts.resident_bytes if standing.facts else 0,
                loads=standing.verdict.loads,
                evictions=standing.verdict.evictions.get("room", 0),
            )
        return found

    async def standings(self, at_most: float = 1.0) -> dict[str, Standing]:
        """What is known of every alias, at most so many seconds old where that can be had at once. Asks no model."""
        found = await self.known.standings(at_most)
        return {alias: replace(standing, queue=self._turns[alias].waiting) for alias, standing in found.items()}


async def _result(answer: Any) -> Any:
    return await answer


_NOTHING = object()


async def _first(answers: AsyncIterator[Any]) -> Any:
    return await anext(answers, _NOTHING)


def _is_there(board: ReplicaStatusStore, replica: str) -> bool:
    return any(each.replica == replica for each in board.facts())
