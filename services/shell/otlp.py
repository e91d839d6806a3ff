"""Hands spans to OpenTelemetry's exporter. Imported only where an endpoint is set: without one nothing is paid."""

import threading
from collections.abc import Callable
from typing import Final

from opentelemetry.exporter.otlp.proto.http.trace_exporter import OTLPSpanExporter
from opentelemetry.sdk.resources import Resource
from opentelemetry.sdk.trace import ReadableSpan
from opentelemetry.sdk.trace.export import BatchSpanProcessor
from opentelemetry.sdk.util.instrumentation import InstrumentationScope
from opentelemetry.trace import Link, SpanContext, SpanKind, Status, StatusCode, TraceFlags
from pydantic import SecretStr

from schemas.trace import TraceContext
from services.shell.scribe import VERSION
from services.shell.tracing import Span

_SCOPE: Final = InstrumentationScope("checkout-choreography")
_EVERY_MS: Final = 1000
_END_S: Final = 3.0


def exporting(endpoint: SecretStr, service: str) -> tuple[Callable[[Span], None], Callable[[], None]]:
    """Where spans go, and what to call at the end, which sends what is left.

    endpoint: of an OTLP receiver over HTTP, such as http://localhost:4318. What it does not take is dropped.
    """
    url = f"{endpoint.get_secret_value().rstrip('/')}/v1/traces"
    processor = BatchSpanProcessor(OTLPSpanExporter(url), schedule_delay_millis=_EVERY_MS)
    resource = Resource.create({"service.name": service, "service.version": VERSION})

    def keep(span: Span) -> None:
        processor.on_end(_readable(span, resource))

    def end() -> None:
        # a receiver that is away must not hold up a stop: the exporter would try again for half a minute
        last = threading.Thread(target=processor.shutdown, name="traces", daemon=True)
        last.start()
        last.join(_END_S)

    return keep, end


def _readable(span: Span, resource: Resource) -> ReadableSpan:
    status = Status(StatusCode.ERROR, span.error) if span.error else Status(StatusCode.UNSET)
    return ReadableSpan(
        span.name,
        _context(span.place, remote=False),
        _context(span.parent, remote=True) if span.parent else None,
        resource,
        span.attributes,
        links=[Link(_context(place, remote=True)) for place in span.links],
        kind=SpanKind[span.kind],
        status=status,
        start_time=span.began_ns,
        end_time=span.ended_ns,
        instrumentation_scope=_SCOPE,
    )


def _context(place: TraceContext, *, remote: bool) -> SpanContext:
    flags = TraceFlags(TraceFlags.SAMPLED if place.sampled else TraceFlags.DEFAULT)
    return SpanContext(place.trace_id, place.span_id, is_remote=remote, trace_flags=flags)
