"""The one way to call a model: in turn, counted and traced."""

from __future__ import annotations

import asyncio
import logging
from collections import Counter
from collections.abc import AsyncGenerator, AsyncIterator, Awaitable, Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import AbstractAsyncContextManager, aclosing, contextmanager, suppress
from contextvars import Context
from dataclasses import replace
from typing import Any, Concatenate, ParamSpec, TypeVar

from ray.serve.exceptions import RayServeException
from ray.serve.handle import DeploymentHandle

from deployments import tracing
from deployments.ingress.admission.admission import Admission
from deployments.ingress.calls.kinds import (
    CaptionCalls,
    ChatCalls,
    EmbeddingCalls,
    ImageCalls,
    TranscriptCalls,
    VoiceCalls,
)
from deployments.ingress.calls.model_handle import ModelHandle
from deployments.ingress.calls.names import ModelNames
from deployments.ingress.calls.single_flight import side_by_side
from deployments.ingress.calls.states import ModelStates, Standing
from deployments.ingress.metrics import Call, Metrics, ModelFacts
from deployments.states import ModelState
from models.catalog import engine_class
from models.entry import ModelEntry
from models.kinds import Kind
from settings import Omni, Settings

logger = logging.getLogger("ray.serve")
P = ParamSpec("P")
J = TypeVar("J")
T = TypeVar("T")

_SCRAPE_SECONDS = 60.0
"""How old the states may be that `/metrics` tells: those of the scrape before, and never from before a pause."""
_LEAVING_SECONDS = 0.25


class ModelCalls:
    """Every alias with its entry and its deployment's handle. `metrics` count what is called, and what comes of it."""

    def __init__(
        self, settings: Settings, handles: Mapping[str, DeploymentHandle], metrics: Metrics | None = None
    ) -> None:
        self.names = ModelNames(settings, handles)
        self.metrics = metrics or Metrics()
        for alias in self.entries:
            self.metrics.expect(alias)
        self._calls: Counter[str] = Counter()
        self._held: set[str] = set()
        self._watching: asyncio.Task[None] | None = None
        self._looking: asyncio.Future[dict[str, Standing]] | None = None
        self.known = ModelStates(list(self.entries))
        self._handles = {
            alias: ModelHandle(
                alias,
                handles[alias],
                self.known,
                settings.start_timeout,
                may_repeat=not engine_class(entry.engine).is_remote,
            )
            for alias, entry in self.entries.items()
        }
        self._admissions = {
            alias: Admission(
                f"the model {alias!r}",
                at_once=entry.max_ongoing,
                longest=entry.max_queued,
                patience=settings.queue_timeout,
            )
            for alias, entry in self.entries.items()
        }

    @property
    def entries(self) -> Mapping[str, ModelEntry]:
        """The models that are deployed, by alias."""
        return self.names.entries

    def resolve(self, name: str | None, kinds: Iterable[Kind]) -> str:
        """The alias that answers to a model name, as `ModelNames.resolve`."""
        return self.names.resolve(name, kinds)

    def find(self, name: str, kinds: Iterable[Kind] = ()) -> str | None:
        """The deployed alias behind a name, as `ModelNames.find`."""
        return self.names.find(name, kinds)

    @property
    def omni(self) -> Mapping[str, Omni]:
        """The aliases made of deployed models."""
        return self.names.omni

    def find_omni(self, name: str) -> Omni | None:
        """What a name stands for that leads to an alias made of others, as `ModelNames.find_omni`."""
        return self.names.find_omni(name)

    def handle(self, alias: str) -> ModelHandle:
        """A model past whose queue calls go."""
        return self._handles[alias]

    def images(self, alias: str) -> ImageCalls:
        """Calls of an image model."""
        return ImageCalls(self, alias)

    def chats(self, alias: str) -> ChatCalls:
        """Calls of a chat model."""
        return ChatCalls(self, alias)

    def captions(self, alias: str) -> CaptionCalls:
        """Calls of a captioner."""
        return CaptionCalls(self, alias)

    def embeddings(self, alias: str) -> EmbeddingCalls:
        """Calls of an embedding model."""
        return EmbeddingCalls(self, alias)

    def voices(self, alias: str) -> VoiceCalls:
        """Calls of a voice model."""
        return VoiceCalls(self, alias)

    def transcripts(self, alias: str) -> TranscriptCalls:
        """Calls of a recogniser of speech."""
        return TranscriptCalls(self, alias)

    async def call(
        self, alias: str, method: Callable[Concatenate[Any, P], Awaitable[T]], *args: P.args, **kwargs: P.kwargs
    ) -> T:
        """The result of a method of the model's deployment, whose replica is started if none runs.

        Raises:
            ApiError: 503 with Retry-After when the model does not start in time or its process ends twice, 429 when
                its queue is full, and what the model itself refused.
        """
        name = method.__name__
        with self._counted(alias) as call, tracing.span(f"call {alias}", {"model": alias, "method": name}):
            async with self._turn(alias):
                result: T = await self._handles[alias].call(name, *args, **kwargs)
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
        """While anything is asked, know who has given their room to another model, and how many replicas there are."""
        try:
            with suppress(RayServeException):  # nothing is known where Serve does not run
                while self._calls.total():
                    try:
                        verdicts = await self.known.verdicts()
                    except TimeoutError:  # no call is held back by what may have changed since
                        self._held = set()
                    else:
                        self._held = {alias for alias, verdict in verdicts.items() if verdict.held_for}
                        for alias, verdict in verdicts.items():
                            self._make_room(alias, verdict.replicas)
                    await asyncio.sleep(_LEAVING_SECONDS)
        except Exception:  # whatever it is, no call is held back by old statuses
            logger.warning("the board could not be read", exc_info=True)
        finally:
            self._held = set()

    def _make_room(self, alias: str, replicas: int) -> None:
        """Give as many turns as the replicas hold, and one's more while there may be another.

        By those Serve sees that one is wanted, whose policy counts only what it has been sent; the new one gets them.
        """
        if alias in self.entries:
            entry = self.entries[alias]
            self._admissions[alias].resize(entry.max_ongoing * min(replicas + 1, entry.replicas.max))

    def _turn(self, alias: str) -> AbstractAsyncContextManager[None]:
        """While it is the caller's turn at a model. Raises as `Admission.turn`."""
        return self._admissions[alias].turn(until=lambda: self._until_not_held(alias))

    async def _until_not_held(self, alias: str) -> None:
        while alias in self._held and self._watching:
            await asyncio.wait([self._watching], timeout=_LEAVING_SECONDS)

    async def stream(
        self, alias: str, method: Callable[Concatenate[Any, P], AsyncIterator[T]], *args: P.args, **kwargs: P.kwargs
    ) -> AsyncGenerator[T, None]:
        """What a generator method of the model's deployment yields. Errors as in `call`."""
        name = method.__name__
        with (
            self._counted(alias) as call,
            tracing.split_span(f"call {alias}", {"model": alias, "method": name}) as span,
        ):
            answers = self._handles[alias].stream(name, *args, within=span, **kwargs)
            async with self._turn(alias), aclosing(answers) as pieces:
                async for piece in pieces:
                    call.piece()
                    self.metrics.made(alias, piece)
                    yield piece
            call.end()

    async def call_each(self, alias: str, method: Callable[[Any, J], Awaitable[T]], jobs: Sequence[J]) -> list[T]:
        """The results of several calls, in order; the first failure ends the others. Errors as in `call`.

        A request alone never overflows the model's queue.
        """
        at_once = self._admissions[alias].at_once
        return await side_by_side(lambda job: self.call(alias, method, job), jobs, at_once)

    async def stream_each(
        self, alias: str, method: Callable[[Any, J], AsyncIterator[T]], jobs: Sequence[J]
    ) -> AsyncGenerator[tuple[int, T], None]:
        """What several streams yield, as it comes, with the number of the job. Errors as in `call`."""
        if len(jobs) == 1:
            async with aclosing(self.stream(alias, method, jobs[0])) as pieces:
                async for piece in pieces:
                    yield 0, piece
            return
        room = asyncio.Semaphore(self._admissions[alias].at_once)
        queue: asyncio.Queue[tuple[int, T] | None] = asyncio.Queue()

        async def one(number: int, job: J) -> None:
            async with room, aclosing(self.stream(alias, method, job)) as pieces:
                async for piece in pieces:
                    queue.put_nowait((number, piece))

        streams = [asyncio.ensure_future(one(number, job)) for number, job in enumerate(jobs)]
        ended = asyncio.gather(*streams)
        ended.add_done_callback(lambda _: queue.put_nowait(None))
        try:
            while (numbered := await queue.get()) is not None:
                yield numbered
            await ended
        finally:
            for each in streams:
                each.cancel()
            await asyncio.wait(streams)

    async def states(self) -> dict[str, ModelState]:
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
            replicas = max(1, standing.working) if standing.state == ModelState.READY else 0
            at_most = self.entries[alias].max_ongoing * replicas
            running = min(self._calls[alias], at_most)
            found[alias] = ModelFacts(
                standing.state,
                running=running,
                waiting=self._calls[alias] - running,
                resident_bytes=sum(each.resident_bytes for each in standing.replicas),
                replicas=replicas,
                loads=standing.verdict.loads,
                evictions=standing.verdict.evictions.get("room", 0),
            )
        return found

    async def standings(self, at_most: float = 1.0) -> dict[str, Standing]:
        """What is known of every alias, at most so many seconds old where that can be had at once. Asks no model."""
        found = await self.known.standings(at_most)
        return {alias: replace(found[alias], queue=self._admissions[alias].waiting) for alias in self.entries}
