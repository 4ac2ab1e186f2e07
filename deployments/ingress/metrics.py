"""The numbers of `GET /metrics`, which Prometheus reads (docs/observability.md lists it).

Labels are few and closed: route templates, aliases, classes of status. No path, id, key or word of a
caller becomes one.
"""

from __future__ import annotations

import time
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Final, Literal

import psutil
from prometheus_client import CollectorRegistry, Counter, Gauge, Histogram, ProcessCollector, generate_latest
from prometheus_client.core import CounterMetricFamily, GaugeMetricFamily
from prometheus_client.metrics_core import Metric
from starlette.datastructures import Headers
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from deployments.embedding import EmbeddingResult
from deployments.imaging import FinishedImage
from deployments.ingress.errors import LOAD_FAILED, ApiError
from deployments.ingress.middleware.idempotency import REPLAYED
from deployments.ingress.middleware.request_context import route_of
from deployments.states import ModelState
from deployments.vision import Answer
from deployments.voice import SpeechChunk
from models.tasks import ChatDelta, TranscriptPiece, Usage

Outcome = Literal["ok", "refused", "queue_full", "load_failed", "unavailable", "failed", "cancelled"]

_SECONDS: Final = (0.01, 0.05, 0.1, 0.25, 0.5, 1, 2.5, 5, 10, 30, 60, 300)
"""Few, since each is a line for every route and model in every scrape."""
_FROM_THE_START: Final[tuple[Outcome, ...]] = ("ok", "queue_full", "load_failed")
"""Counted from 0 on: of a counter that comes into being at 1, Prometheus sees no increase."""
_METHODS: Final = ("DELETE", "GET", "HEAD", "OPTIONS", "POST")


@dataclass(frozen=True)
class ModelFacts:
    """What is known of a model at this moment; what is None is not known, and left out."""

    state: ModelState
    running: int
    """Calls that its replicas hold, of those that this ingress replica has made."""
    waiting: int
    """Calls that wait for a replica to start, or to have room."""
    resident_bytes: int | None = None
    replicas: int | None = None
    """Processes that can answer."""
    loads: int | None = None
    """Since the server started; as `evictions`."""
    evictions: int | None = None
    calls_of_embedder: Mapping[str, int] | None = None
    """Of image search: how its own calls of the embedding model ended, by `Outcome`."""


class Metrics:
    """The numbers of one application, in a registry of its own. To be used from one event loop."""

    def __init__(self) -> None:
        self._registry = registry = CollectorRegistry()
        self._requests = Counter(
            "atelier_http_requests", "Requests answered.", ["route", "method", "status"], registry=registry
        )
        self._request_seconds = Histogram(
            "atelier_http_request_seconds",
            "Seconds from a request's arrival to the last byte of its answer.",
            ["route", "method"],
            buckets=_SECONDS,
            registry=registry,
        )
        self._in_flight = Gauge("atelier_http_requests_in_flight", "Requests being answered now.", registry=registry)
        self._too_many = Counter(
            "atelier_http_too_many_requests", "Requests answered with 429.", ["route"], registry=registry
        )
        self._replays = Counter(
            "atelier_idempotent_replays",
            "Requests answered from memory for their Idempotency-Key.",
            ["route"],
            registry=registry,
        )
        self._calls = Counter(
            "atelier_model_calls", "Calls of a model by how they ended.", ["alias", "outcome"], registry=registry
        )
        self._call_seconds = Histogram(
            "atelier_model_call_seconds",
            "Seconds from a call to its whole result, waiting included, of calls that ended well.",
            ["alias"],
            buckets=_SECONDS,
            registry=registry,
        )
        self._first_piece_seconds = Histogram(
            "atelier_model_first_piece_seconds",
            "Seconds from a streamed call to its first piece, waiting included.",
            ["alias"],
            buckets=_SECONDS,
            registry=registry,
        )
        self._images = Counter("atelier_images", "Pictures made.", ["alias"], registry=registry)
        self._tokens = Counter("atelier_tokens", "Tokens read and written.", ["alias", "direction"], registry=registry)
        self._audio_seconds = Counter("atelier_audio_seconds", "Seconds spoken.", ["alias"], registry=registry)
        self._heard_seconds = Counter(
            "atelier_heard_seconds", "Seconds of recordings that were written down.", ["alias"], registry=registry
        )
        self._captions = Counter("atelier_captions", "Captions made by a model.", ["alias"], registry=registry)
        self._lookups = Counter(
            "atelier_caption_cache_lookups", "Captions looked for in the cache.", ["result"], registry=registry
        )
        self._store_failures = Counter(
            "atelier_store_failures", "Requests that failed because a store did.", ["code"], registry=registry
        )
        ProcessCollector(namespace="atelier", registry=registry)
        for result in ("hit", "miss"):
            self._lookups.labels(result)

    def expect(self, alias: str) -> None:
        """Begin an alias's counters."""
        for outcome in _FROM_THE_START:
            self._calls.labels(alias, outcome)

    @contextmanager
    def call(self, alias: str) -> Iterator[Call]:
        """Count what is done inside as one call of a model."""
        call = Call()
        try:
            yield call
        except ApiError as error:
            call.outcome = outcome_of(error)
            raise
        finally:
            now = time.monotonic()
            self._calls.labels(alias, call.outcome).inc()
            if call.first_piece_at is not None:
                self._first_piece_seconds.labels(alias).observe(call.first_piece_at - call.begun)
            if call.outcome == "ok":
                self._call_seconds.labels(alias).observe(now - call.begun)

    def made(self, alias: str, result: object) -> None:
        """Count what is in a model's result, or in a piece of one."""
        match result:
            case FinishedImage():
                self._images.labels(alias).inc()
            case Answer(usage=Usage() as usage) | ChatDelta(usage=Usage() as usage):
                self._tokens.labels(alias, "in").inc(usage.prompt_tokens)
                self._tokens.labels(alias, "out").inc(usage.completion_tokens)
            case EmbeddingResult(tokens=tokens):
                self._tokens.labels(alias, "in").inc(tokens)
            case SpeechChunk(seconds=seconds):
                self._audio_seconds.labels(alias).inc(seconds)
            case TranscriptPiece(seconds=float() as seconds):
                self._heard_seconds.labels(alias).inc(seconds)

    def captioned(self, alias: str, captions: int) -> None:
        """Count captions that a model has made."""
        self._captions.labels(alias).inc(captions)

    def looked_up(self, hits: int, misses: int) -> None:
        """Count captions that the cache had, and had not."""
        self._lookups.labels("hit").inc(hits)
        self._lookups.labels("miss").inc(misses)

    def store_failed(self, code: str) -> None:
        """Count a request that a store let down; `code` is the error's."""
        self._store_failures.labels(code).inc()

    @contextmanager
    def request(self) -> Iterator[None]:
        """Count what is done inside as a request being answered."""
        with self._in_flight.track_inprogress():
            yield

    def answered(self, route: str, method: str, status: int, seconds: float, *, is_replay: bool) -> None:
        """Count a request that has its answer; `status` is 0 where its caller left before there was one."""
        method = method if method in _METHODS else "other"
        self._requests.labels(route, method, f"{status // 100}xx" if status else "none").inc()
        self._request_seconds.labels(route, method).observe(seconds)
        if status == 429:
            self._too_many.labels(route).inc()
        if is_replay:
            self._replays.labels(route).inc()

    def render(self, facts: Mapping[str, ModelFacts], labels: Mapping[str, str]) -> bytes:
        """Everything in Prometheus' text format, with more `labels` on every sample."""
        return generate_latest(_Page([*self._registry.collect(), *_families(facts), *_memory()], labels))


@dataclass
class Call:
    """One call of a model while it goes on."""

    outcome: Outcome = "cancelled"
    """The outcome of a call that its caller breaks off, which reports nothing."""
    first_piece_at: float | None = None

    def __post_init__(self) -> None:
        self.begun = time.monotonic()

    def piece(self) -> None:
        """A piece of a stream has come."""
        if self.first_piece_at is None:
            self.first_piece_at = time.monotonic()

    def end(self) -> None:
        """The whole result has come."""
        self.outcome = "ok"


def outcome_of(error: ApiError) -> Outcome:
    """How a call ended that raised this."""
    if error.code == LOAD_FAILED:
        return "load_failed"
    if error.status == 429:
        return "queue_full"
    if error.status < 500:
        return "refused"
    return "unavailable" if error.status == 503 else "failed"


class Measured:
    """Counts and times every request. Outermost of the middleware, so that it sees what the caller sees."""

    def __init__(self, app: ASGIApp, metrics: Metrics) -> None:
        self.app = app
        self._metrics = metrics

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Serve one connection."""
        if scope["type"] != "http":
            await self.app(scope, receive, send)
            return
        begun = time.monotonic()
        status, is_replay = 0, False

        async def watched(message: Message) -> None:
            nonlocal status, is_replay
            if message["type"] == "http.response.start":
                status = message["status"]
                is_replay = REPLAYED in Headers(raw=message["headers"])
            await send(message)

        with self._metrics.request():
            try:
                await self.app(scope, receive, watched)
            finally:
                self._metrics.answered(
                    route_of(scope), scope["method"], status, time.monotonic() - begun, is_replay=is_replay
                )


class _Page:
    """Families of metrics as they are exposed: with `labels`, and without the time at which each series began."""

    def __init__(self, families: list[Metric], labels: Mapping[str, str]) -> None:
        self._families, self._labels = families, labels

    def collect(self) -> Iterator[Metric]:
        """What `generate_latest` asks for."""
        for family in self._families:
            exposed = Metric(family.name, family.documentation, family.type, family.unit)
            exposed.samples = [
                sample._replace(labels={**sample.labels, **self._labels}) if self._labels else sample
                for sample in family.samples
                if not sample.name.endswith("_created")
            ]
            yield exposed


def _families(facts: Mapping[str, ModelFacts]) -> list[Metric]:
    state = GaugeMetricFamily("atelier_model_state", "1 for the state that a model is in.", labels=["alias", "state"])
    requests = GaugeMetricFamily(
        "atelier_model_requests",
        "Calls that a model's replicas hold (running) and that wait for them (waiting).",
        labels=["alias", "state"],
    )
    resident = GaugeMetricFamily("atelier_model_resident_bytes", "Bytes that a loaded model takes.", labels=["alias"])
    replicas = GaugeMetricFamily("atelier_model_replicas", "Processes of a model that can answer.", labels=["alias"])
    loads = CounterMetricFamily("atelier_model_loads", "Times that a model was loaded.", labels=["alias"])
    evictions = CounterMetricFamily("atelier_model_evictions", "Times that a model left for another.", labels=["alias"])
    embedding = CounterMetricFamily(
        "atelier_search_embedder_calls", "Calls of its embedding model by image search.", labels=["outcome"]
    )
    for alias, each in facts.items():
        for outcome, count in (each.calls_of_embedder or {}).items():
            embedding.add_metric([outcome], count)
        for name in ModelState:
            state.add_metric([alias, name], float(name == each.state))
        requests.add_metric([alias, "running"], each.running)
        requests.add_metric([alias, "waiting"], each.waiting)
        for family, value in (
            (resident, each.resident_bytes),
            (replicas, each.replicas),
            (loads, each.loads),
            (evictions, each.evictions),
        ):
            if value is not None:
                family.add_metric([alias], value)
    return [state, requests, resident, replicas, loads, evictions, embedding]


def _memory() -> list[Metric]:
    memory = psutil.virtual_memory()
    return [
        GaugeMetricFamily("atelier_memory_total_bytes", "Main memory of the machine.", value=memory.total),
        GaugeMetricFamily(
            "atelier_memory_available_bytes", "Main memory that is free or can be freed.", value=memory.available
        ),
    ]
