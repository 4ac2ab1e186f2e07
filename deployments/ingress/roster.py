"""Which models there are, under which names, in which state; and the one way to call them."""

from __future__ import annotations

import asyncio
import math
import time
from collections import Counter
from collections.abc import AsyncGenerator, AsyncIterator, Iterable, Iterator, Mapping, Sequence
from contextlib import aclosing, contextmanager
from fnmatch import fnmatchcase
from typing import Any

from ray import serve
from ray.serve.context import _get_global_client
from ray.serve.handle import DeploymentHandle
from ray.serve.schema import DeploymentStatus

from deployments import tracing
from deployments.ingress.context import note_model
from deployments.ingress.errors import LOAD_FAILED, ApiError, from_exception, invalid
from deployments.ingress.flights import side_by_side
from deployments.ingress.metrics import Call, Metrics, ModelFacts, State
from models.catalog import Kind, ModelEntry
from settings import Settings

_STATE_SECONDS = 1.0
_SCRAPE_SECONDS = 60.0
"""How old the states may be that `/metrics` tells: those of the scrape before, and never from before a pause."""
_AWAKE_SECONDS = 30.0
"""How long a model that has answered is taken to be awake, at most."""


class Roster:
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
        self._states: dict[str, State] = {}
        self._failed: set[str] = set()
        self._states_at = -math.inf
        self._awake_at: dict[str, float] = {}
        self._states_lock = asyncio.Lock()
        self._looking: asyncio.Future[dict[str, State]] | None = None

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
            ApiError: 503 with Retry-After when the model does not start in time, 429 when its queue is full, and
                what the model itself refused.
        """
        with self._counted(alias) as call, tracing.span(f"call {alias}", {"model": alias, "method": method}):
            answer = getattr(self._handles[alias], method).remote(*args)
            waiting = asyncio.ensure_future(_result(answer))
            try:
                await self._started(alias, waiting)
                result = waiting.result()
            except ApiError:
                raise
            except Exception as error:
                raise self._told(alias, error) from error
            finally:
                if not waiting.done():
                    answer.cancel()
                    waiting.cancel()
            self._answers(alias)
            call.end()
        self.metrics.made(alias, result)
        return result

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
            with span:
                answers = getattr(self._handles[alias].options(stream=True), method).remote(*args)
                waiting = asyncio.ensure_future(_first(answers))
            finished = False
            try:
                await self._started(alias, waiting)
                first = waiting.result()
                self._answers(alias)
                if first is not _NOTHING:
                    call.piece()
                    self.metrics.made(alias, first)
                    yield first
                    async for piece in answers:
                        self.metrics.made(alias, piece)
                        yield piece
                finished = True
                call.end()
            except ApiError:
                raise
            except Exception as error:
                finished = True
                raise self._told(alias, error) from error
            finally:
                if not finished:
                    answers.cancel()
                    waiting.cancel()

    @contextmanager
    def _counted(self, alias: str) -> Iterator[Call]:
        self._calls[alias] += 1
        try:
            with self.metrics.call(alias) as call:
                yield call
        finally:
            self._calls[alias] -= 1

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
            ApiError: 503, the model has not started in time.
        """
        while not waiting.done():
            await asyncio.wait([waiting], timeout=self._settings.start_timeout)
            if not waiting.done() and (await self.states())[alias] != "ready":
                raise ApiError(
                    503,
                    f"the model {alias!r} did not start within {self._settings.start_timeout:g} s",
                    code="model_starting",
                    headers={"Retry-After": "10"},
                )

    def _answers(self, alias: str) -> None:
        """Note that a model has just answered."""
        self._failed.discard(alias)
        self._states[alias] = "ready"

    def _told(self, alias: str, error: Exception) -> ApiError:
        """The error for the caller; remembers a model that does not load, since its replica looks healthy to Serve."""
        told = from_exception(error)
        if told.code == LOAD_FAILED:
            self._failed.add(alias)
        else:
            self._failed.discard(alias)
        return told

    async def facts(self) -> dict[str, ModelFacts]:
        """What is known of every alias, for `/metrics`; the states are as of the call before, so that nobody waits.

        Asks Serve's controller for the next time, never a model.
        """
        states = await self.states(_SCRAPE_SECONDS)
        self._looking = asyncio.ensure_future(self.states())
        facts = {}
        for alias, state in states.items():
            running = min(self._calls[alias], self.entries[alias].max_ongoing) if state == "ready" else 0
            facts[alias] = ModelFacts(state, running=running, waiting=self._calls[alias] - running)
        return facts

    async def search_can_serve(self) -> bool:
        """Whether the search deployment runs, as of a second ago at most."""
        await self.states()
        return self._states.get("search") == "ready"

    async def states(self, at_most: float = _STATE_SECONDS) -> dict[str, State]:
        """The state of every alias, at most so many seconds old. Asks Serve's controller, never a model."""
        async with self._states_lock:
            if time.monotonic() - self._states_at > at_most:
                # what `serve.status()` asks too, which then takes 90 ms to check the whole configuration again
                details = await asyncio.to_thread(_get_global_client().get_serve_details)
                application = details["applications"].get(serve.get_replica_context().app_name, {})
                self._states = {
                    name: _state(deployment) for name, deployment in application.get("deployments", {}).items()
                }
                self._states_at = time.monotonic()
        known = {alias: self._states.get(alias, "cold") for alias in self._handles}
        # a replica that left took its failure along: the next one may load
        self._failed = {alias for alias in self._failed if known[alias] == "ready"}
        return {alias: "failed" if alias in self._failed else state for alias, state in known.items()}


async def _result(answer: Any) -> Any:
    return await answer


_NOTHING = object()


async def _first(answers: AsyncIterator[Any]) -> Any:
    return await anext(answers, _NOTHING)


def _state(deployment: Mapping[str, Any]) -> State:
    replicas = {replica["state"] for replica in deployment["replicas"]}
    if "RUNNING" in replicas:
        return "ready"
    if deployment["status"] in (DeploymentStatus.DEPLOY_FAILED, DeploymentStatus.UNHEALTHY):
        return "failed"
    return "starting" if "STARTING" in replicas else "cold"
