"""What goes round an event: identity, time, cause and trace, as Kafka headers and record fields."""

import re
from dataclasses import dataclass
from datetime import UTC, datetime
from functools import lru_cache
from typing import Final
from uuid import UUID

from schemas.cards import has_card_number
from schemas.events import Event
from schemas.kafka.record import Header
from schemas.trace import TraceContext

__all__ = ["CHECKOUT_ID", "Envelope", "Header", "event_headers", "rfc3339", "text_of", "trace_headers"]

CHECKOUT_ID: Final = re.compile(r"[A-Za-z0-9._:-]{1,64}")
TRACE_HEADERS: Final = {"traceparent": 55, "tracestate": 512, "baggage": 8192}
"""Name -> most bytes that are handed on: an event must not outgrow its topic for what came with its cause.

Source: W3C Trace Context, section 3.3; W3C Baggage, section 3.3.
"""


@dataclass(frozen=True, slots=True)
class Envelope:
    """An event with its identity (`event_id`, a UUIDv7) and time (`occurred_at`, UTC)."""

    event: Event
    event_id: UUID
    occurred_at: datetime


def event_headers(envelope: Envelope, source: str, causation_id: UUID | str, trace: list[Header]) -> list[Header]:
    """CloudEvents names (binary mode), the cause and the trace: UTF-8, each name once."""
    ours: list[Header] = [
        ("ce_specversion", b"1.0"),
        ("ce_id", text_of(envelope.event_id).encode()),
        ("ce_type", envelope.event.TYPE.encode()),
        ("ce_source", f"/{source}".encode()),
        ("ce_time", rfc3339(envelope.occurred_at).encode()),
        ("ce_subject", envelope.event.checkout_id.encode()),
        ("causation_id", str(causation_id).encode()),
    ]
    return ours + trace


def trace_headers(
    incoming: list[Header], place: TraceContext | None = None, baggage: frozenset[str] = frozenset()
) -> list[Header]:
    """The trace context to hand on: `place`, or the incoming one, or a new trace that nobody keeps.

    baggage: the names in it that are handed on; what a shop puts there travels through every service and their logs.

    Source: W3C Trace Context, https://www.w3.org/TR/trace-context/
    """
    here = place or TraceContext.of(incoming)
    if here is None:
        return [("traceparent", TraceContext.root(share=0).traceparent)]
    found = {
        name: value
        for name, value in incoming
        if name in TRACE_HEADERS and value is not None and len(value) <= TRACE_HEADERS[name]
    }
    found["traceparent"] = here.traceparent
    if "baggage" in found or "tracestate" in found:
        _clean(found, baggage)
    return [(name, found[name]) for name in TRACE_HEADERS if name in found]


def _clean(found: dict[str, bytes], names: frozenset[str]) -> None:
    """Leave of baggage and tracestate what may be handed on."""
    members = found.pop("baggage", b"").decode("utf-8", "replace").split(",")
    kept = [each.strip() for each in members if each.partition("=")[0].strip() in names and not has_card_number(each)]
    if kept:
        found["baggage"] = ",".join(kept).encode()
    if has_card_number(found.get("tracestate", b"").decode("utf-8", "replace")):
        del found["tracestate"]


text_of = lru_cache(maxsize=4096)(str)
"""A UUID as text: an event's id is written several times while it is handled."""


@lru_cache(maxsize=64)
def rfc3339(instant: datetime) -> str:
    """`2026-11-23T10:00:00.000000Z`."""
    return instant.astimezone(UTC).isoformat(timespec="microseconds").replace("+00:00", "Z")
