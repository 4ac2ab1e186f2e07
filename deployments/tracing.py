"""Traces by OpenTelemetry: one for each request, from the ingress to the engine.

Ray Serve starts a trace where a request arrives (it takes up the caller's `traceparent`), takes it along with every
call to another replica, and makes spans of its own of both. Here is where the spans are sent to, and what makes ours.
A request that is not traced costs a look at a context variable.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Iterator, Mapping
from contextlib import AbstractContextManager, contextmanager, nullcontext
from typing import TYPE_CHECKING

from opentelemetry import context, trace
from opentelemetry.trace import INVALID_SPAN, NonRecordingSpan, Span, SpanContext, Status, StatusCode

if TYPE_CHECKING:
    from opentelemetry.sdk.trace import SpanProcessor

Attributes = Mapping[str, str | int]

_ARRIVALS = ("replica_handle_request ingress ", "proxy_http_request ")
"""How Serve calls a request's first span, in the ingress or in Serve's proxy, which may stand before it."""
_STRAYS = 1000
"""Remembered traces of no request; one may end before its last span does, which an engine's thread ends."""
_tracer = trace.get_tracer("atelier")


def exporters() -> list[SpanProcessor]:
    """Where Ray Serve sends spans: to what the standard variables `OTEL_EXPORTER_OTLP_…` name.

    Serve calls it in every replica when `RAY_SERVE_TRACING_EXPORTER_IMPORT_PATH` names it.
    """
    from opentelemetry.exporter.otlp.proto.http.trace_exporter import OTLPSpanExporter
    from opentelemetry.sdk.trace import ReadableSpan
    from opentelemetry.sdk.trace import Span as Recorded
    from opentelemetry.sdk.trace.export import BatchSpanProcessor

    class OfRequests(BatchSpanProcessor):
        """Sends what belongs to a request.

        Of one that sampling leaves out Serve tells the models' replicas nothing, and they begin traces of their own.
        """

        def __init__(self) -> None:
            super().__init__(OTLPSpanExporter())
            self._strays: deque[int] = deque(maxlen=_STRAYS)

        def on_start(self, span: Recorded, parent_context: context.Context | None = None) -> None:
            if span.parent is None and not span.name.startswith(_ARRIVALS):
                self._strays.append(span.get_span_context().trace_id)
            super().on_start(span, parent_context)

        def on_end(self, span: ReadableSpan) -> None:
            trace_id = span.context.trace_id if span.context else 0
            if trace_id not in self._strays:
                super().on_end(span)

    return [OfRequests()]


def begin(name: str, attributes: Attributes) -> Span:
    """A span of the current request, to be ended by its `end()`; one that goes nowhere when nothing is traced."""
    if not trace.get_current_span().is_recording():  # a trace is begun where a request arrives, and nowhere else
        return INVALID_SPAN
    return _tracer.start_span(name, attributes=_named(attributes))


@contextmanager
def span(name: str, attributes: Attributes) -> Iterator[None]:
    """A span of the current request around what is done inside."""
    with split_span(name, attributes) as current, current:
        yield


@contextmanager
def split_span(name: str, attributes: Attributes) -> Iterator[AbstractContextManager[object]]:
    """The same for generators, whose parts run in several contexts: what is given is the parent where it is entered.

    Of an error only the type is recorded: its message may quote the caller.
    """
    begun = begin(name, attributes)
    if begun is INVALID_SPAN:
        yield nullcontext()  # to make it the current one would hide that the request was left out by sampling
        return
    try:
        yield trace.use_span(begun, record_exception=False, set_status_on_exception=False)
    except Exception as error:
        begun.set_attribute("error.type", type(error).__name__)
        begun.set_status(Status(StatusCode.ERROR))
        raise
    finally:
        begun.end()


@contextmanager
def request_span() -> Iterator[Span]:
    """The span that Serve has begun for a request; where sampling left it out, so is all that follows from it."""
    current = trace.get_current_span()
    if current is not INVALID_SPAN or isinstance(trace.get_tracer_provider(), trace.ProxyTracerProvider):
        yield current
        return
    # Serve puts no span that is left out into the context, and would begin other traces below it
    left_out = NonRecordingSpan(SpanContext(trace_id=1, span_id=1, is_remote=False))
    token = context.attach(trace.set_span_in_context(left_out))
    try:
        yield left_out
    finally:
        context.detach(token)


def _named(attributes: Attributes) -> dict[str, str | int]:
    return {f"atelier.{name}": value for name, value in attributes.items()}
