"""What everybody said about one checkout. Pure: any order and any duplication of events gives the same timeline."""

import json
from collections.abc import Callable, Mapping
from dataclasses import dataclass, fields
from datetime import datetime
from functools import cache
from typing import Any, Final, NamedTuple

from schemas.cards import has_card_number
from schemas.choreography import MAP
from schemas.envelope import CHECKOUT_ID, Envelope
from schemas.events import EVENTS, Event
from services.observer.instants import LATEST, instant, micros, said_at
from services.observer.texts import clean, clean_number

MOST_EVENTS: Final = 64
"""Of one checkout; a captured one has ten. What is beyond is not kept, and the timeline says so."""
_MOST_LINES: Final = 200
"""A checkout that is accepted has no more; a request may have any number."""
_LONGEST_SKU: Final = 64
_MOST_FACTS_BYTES: Final = 15_500
"""Of one event, as JSON: all that are kept of a checkout fit into one record of 1 MiB, as Kafka takes it by default.

200 lines with ids of 64 characters fit into it.
"""
_MOST_FACTS: Final = 32
_MOST_BYTES: Final = 1024 * 1024
_LARGEST: Final = 2**63
_RANK: Final = {entry.event: rank for rank, entry in enumerate(MAP)}
_CHATTY: Final = ("payment.delayed", "checkout.cancel_requested", "checkout.requested")
_PRIVATE: Final = ("checkout_id", "payment_method_id")
SAID_BY: Final = {entry.event: entry.said_by for entry in MAP}


class Said(NamedTuple):
    """One event. at_us: when, in microseconds since 1970. facts: what matters of its fields, as JSON has it.

    at_us is `occurred_at`; where that can't be, it is when the record was written, and `occurred_at` is a fact.
    Its texts are clean (see `texts`).
    """

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


def said_of(envelope: Envelope, partition: int, offset: int, trace_id: str, written_us: int | None = None) -> Said:
    """An event as the timeline keeps it. written_us: when its record was; None: that is not known."""
    claimed_us, event = micros(envelope.occurred_at), envelope.event
    at_us = claimed_us if written_us is None else said_at(claimed_us, written_us)
    facts = facts_of(event) | ({} if at_us == claimed_us else {"occurred_at": instant(claimed_us)})
    return Said(event.TYPE, clean(str(envelope.event_id)), at_us, partition, offset, trace_id, facts)


def facts_of(event: Event) -> dict[str, Any]:
    """The fields that matter: amounts, codes, units; long texts are cut off, a payment method is nobody's business."""
    facts = {name: _plain(value) for name in _names(event.TYPE) if (value := getattr(event, name)) is not None}
    lines = getattr(event, "lines", None)
    if lines is None:
        return facts
    units = _units(lines) if len(lines) <= _MOST_LINES else None
    small = units is not None and len(_json(facts | {"units": units})) <= _MOST_FACTS_BYTES
    return facts | ({"units": units} if small else {"lines": len(lines)})


@cache
def _names(event_type: str) -> tuple[str, ...]:
    return tuple(field.name for field in fields(EVENTS[event_type]) if field.name not in (*_PRIVATE, "lines"))


def _plain(value: object) -> object:
    if isinstance(value, datetime):
        return value.isoformat(timespec="seconds")
    if isinstance(value, bool):
        return value
    return clean_number(value) if isinstance(value, int) else clean(str(value))


def _units(lines: Any) -> dict[str, int]:
    units: dict[str, int] = {}
    for line in lines:
        sku = clean(line.sku, _LONGEST_SKU)
        units[sku] = units.get(sku, 0) + line.quantity
    return units


def _json(value: object) -> bytes:
    return json.dumps(value, separators=(",", ":"), ensure_ascii=False).encode("utf-8", "backslashreplace")


def encoded(timeline: Timeline) -> bytes:
    """As the table keeps it: compact JSON."""
    return _json([timeline.checkout_id, timeline.cut, timeline.said])


def decoded(key: bytes | None, value: bytes | None) -> Timeline | None:
    """What `encoded` wrote under this key; None for everything else: then nothing is known of the checkout."""
    try:
        _must(value is not None and len(value) <= _MOST_BYTES)
        checkout_id, cut, said = json.loads(value or b"")
        _must(type(cut) is bool and type(said) is list and 0 < len(said) <= MOST_EVENTS)
        _must(is_id(checkout_id) and checkout_id.encode() == key)
        return Timeline(checkout_id, tuple(sorted(map(_said, said), key=_when)), cut)
    # not JSON, no list, nested too deep, too many or too few: it was written by something else
    except (ValueError, TypeError, RecursionError):
        return None


def is_id(checkout_id: object) -> bool:
    """Whether a checkout may have this id here: those that look like a card number are shown and kept nowhere."""
    text = checkout_id if isinstance(checkout_id, str) else ""
    return CHECKOUT_ID.fullmatch(text) is not None and not has_card_number(text)


def _said(kept: Any) -> Said:
    """One event as JSON has it. Raises ValueError, TypeError."""
    event, event_id, at_us, partition, offset, trace_id, facts = kept
    _must(type(event) is str and event in SAID_BY and type(event_id) is str and type(trace_id) is str)
    _must(all(type(number) is int and 0 <= number < _LARGEST for number in (at_us, partition, offset)))
    _must(at_us < LATEST and type(facts) is dict and len(facts) <= _MOST_FACTS)
    clear = {clean(name, _LONGEST_SKU): _fact(value) for name, value in facts.items()}
    for name, holds in _NEEDED.items():
        _must(name not in clear or holds(clear[name]))
    return Said(event, clean(event_id), at_us, partition, offset, clean(trace_id, _LONGEST_SKU), clear)


def _fact(value: Any) -> Any:
    if type(value) is dict:
        _must(len(value) <= _MOST_LINES and all(type(count) is int for count in value.values()))
        return {clean(sku, _LONGEST_SKU): count for sku, count in value.items()}
    _must(type(value) in (bool, int, str))
    return clean_number(value) if type(value) is int else clean(value) if type(value) is str else value


def _is_text(value: object) -> bool:
    return type(value) is str


def _is_amount(value: object) -> bool:
    return type(value) is str or (type(value) is int and abs(value) <= _LARGEST)


_NEEDED: Final[Mapping[str, Callable[[object], bool]]] = {
    "total_minor": _is_amount,
    "amount_minor": _is_amount,
    "units": lambda value: type(value) is dict,
    **dict.fromkeys(("currency", "code", "operation", "outcome", "occurred_at"), _is_text),
}
"""What the rules and pages make something of, where it is there."""


def _must(holds: bool) -> None:
    if not holds:
        raise ValueError("no timeline")
