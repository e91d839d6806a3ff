"""What everybody said about one checkout. Pure: any order and any duplication of events gives the same timeline."""

import json
from collections.abc import Mapping
from dataclasses import dataclass, fields
from datetime import datetime
from functools import cache
from typing import Any, Final, NamedTuple
from uuid import UUID

from schemas.choreography import MAP
from schemas.envelope import Envelope
from schemas.events import EVENTS, Event

MOST_EVENTS: Final = 64
"""Of one checkout; a captured one has ten. What is beyond is not kept, and the timeline says so."""
_LONGEST: Final = 300
_MOST_LINES: Final = 200
"""A checkout that is accepted has fewer; a request may have any number."""
_RANK: Final = {entry.event: rank for rank, entry in enumerate(MAP)}
_CHATTY: Final = ("payment.delayed", "checkout.cancel_requested", "checkout.requested")
_PRIVATE: Final = ("checkout_id", "payment_method_id")
SAID_BY: Final = {entry.event: entry.said_by for entry in MAP}


class Said(NamedTuple):
    """One event. at_us: `occurred_at` in microseconds since 1970. facts: what matters of its fields, as JSON has it."""

    event: str
    event_id: str
    at_us: int
    partition: int
    offset: int
    trace_id: str
    facts: Mapping[str, Any]


@dataclass(frozen=True, slots=True)
class Timeline:
    """The events of one checkout, by time. cut: there were more than are kept."""

    checkout_id: str
    said: tuple[Said, ...] = ()
    cut: bool = False

    def of(self, *events: str) -> list[Said]:
        """Those of these types, by time."""
        return [said for said in self.said if said.event in events]

    def has(self, *events: str) -> bool:
        """Whether one of these types was said."""
        return any(said.event in events for said in self.said)

    def first(self, *events: str) -> Said | None:
        """The earliest of these types."""
        return next((said for said in self.said if said.event in events), None)


def add(timeline: Timeline, said: Said) -> Timeline:
    """The timeline with one more event; the very same object when that is known already.

    Of two records of one event the one that lies first stays, so that the order in which they are read is of no matter.
    """
    identity = said[:2]
    known = next((each for each in timeline.said if each[:2] == identity), None)
    if known is not None and (known.partition, known.offset) <= (said.partition, said.offset):
        return timeline
    everything = [*(each for each in timeline.said if each is not known), said]
    kept = sorted(everything, key=_dispensable)[:MOST_EVENTS]
    new = Timeline(timeline.checkout_id, tuple(sorted(kept, key=_when)), timeline.cut or len(everything) > MOST_EVENTS)
    return timeline if new == timeline else new


def _when(said: Said) -> tuple[int, int, str]:
    return said.at_us, _RANK[said.event], said.event_id


def _dispensable(said: Said) -> tuple[bool, int, int, str]:
    return said.event in _CHATTY, *_when(said)


def said_of(envelope: Envelope, partition: int, offset: int, trace_id: str) -> Said:
    """An event as the timeline keeps it."""
    at_us = round(envelope.occurred_at.timestamp() * 1_000_000)
    event = envelope.event
    return Said(event.TYPE, str(envelope.event_id), at_us, partition, offset, trace_id, facts_of(event))


def facts_of(event: Event) -> dict[str, Any]:
    """The fields that matter: amounts, codes, units; long texts are cut off, a payment method is nobody's business."""
    facts = {name: _plain(value) for name in _names(event.TYPE) if (value := getattr(event, name)) is not None}
    lines = getattr(event, "lines", None)
    if lines is not None and len(lines) <= _MOST_LINES:
        facts["units"] = _units(lines)
    elif lines is not None:
        facts["lines"] = len(lines)
    return facts


@cache
def _names(event_type: str) -> tuple[str, ...]:
    return tuple(field.name for field in fields(EVENTS[event_type]) if field.name not in (*_PRIVATE, "lines"))


def _plain(value: object) -> object:
    if isinstance(value, datetime):
        return value.isoformat(timespec="seconds")
    if isinstance(value, bool | int):
        return value
    text = str(value) if isinstance(value, UUID) else f"{value}"
    return text if len(text) <= _LONGEST else f"{text[:_LONGEST]}…"


def _units(lines: Any) -> dict[str, int]:
    units: dict[str, int] = {}
    for line in lines:
        sku = line.sku[:_LONGEST]
        units[sku] = units.get(sku, 0) + line.quantity
    return units


def encoded(timeline: Timeline) -> bytes:
    """As the table keeps it: compact JSON."""
    value = [timeline.checkout_id, timeline.cut, timeline.said]
    return json.dumps(value, separators=(",", ":"), ensure_ascii=False).encode()


def decoded(value: bytes) -> Timeline:
    """What `encoded` wrote."""
    checkout_id, cut, said = json.loads(value)
    return Timeline(checkout_id, tuple(Said(*each) for each in said), cut)
