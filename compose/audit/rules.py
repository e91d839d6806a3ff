"""The invariants, one function each: facts -> breaches. Pure.

Only checkouts at rest are judged; the others are counted as under way, and are a breach when they don't move.
"""

from collections import Counter
from collections.abc import Callable, Iterator
from typing import Final
from uuid import UUID

from compose.audit.facts import Breach, CheckoutRow, Facts, LedgerEntry, is_under_way
from schemas.choreography import SERVICES, subscriptions

STUCK_S: Final = 900.0

# which transition of which service is which event
_SAID: Final = {
    "checkout": {
        "accepted": "checkout.accepted",
        "authorized": "checkout.confirmed",
        "captured": "checkout.completed",
        "failed": "checkout.failed",
    },
    "payment": {
        "authorized": "payment.authorized",
        "declined": "payment.declined",
        "captured": "payment.captured",
        "capture_refused": "payment.capture_failed",
        "capture_abandoned": "payment.capture_failed",
        "authorization_abandoned": "payment.declined",
        "authorization_delayed": "payment.delayed",
        "authorization_unknown": "payment.delayed",
        "capture_failed": "payment.delayed",
        "voided": "payment.voided",
        "closed": "payment.voided",
        "refunded": "payment.refunded",
    },
    "warehouse": {
        "reserved": "warehouse.reserved",
        "rejected": "warehouse.rejected",
        "committed": "warehouse.confirmed",
        "confirm_failed": "warehouse.confirm_failed",
        "lapsed": "warehouse.released",
        "released": "warehouse.released",
        "closed": "warehouse.released",
    },
}


_TRIES: Final = {
    "authorizing",
    "authorization_unknown",
    "authorization_delayed",
    "capture_pending",
    "capture_failed",
}
"""States of a payment that one message passes as often as it is tried."""


def at_rest(facts: Facts) -> dict[str, CheckoutRow]:
    """Checkouts that have nothing left to do."""
    return {key: row for key, row in facts.checkouts.items() if not is_under_way(row)}


def one_end(facts: Facts) -> Iterator[Breach]:
    """1. Every accepted checkout reaches exactly one end."""
    for checkout_id, row in facts.checkouts.items():
        if facts.may_lack_its_trail(checkout_id):
            continue
        steps = facts.trails["checkout"].get(checkout_id, ())
        ends = Counter(step.to_state for step in steps if step.to_state != step.from_state)
        completed, failed = ends["captured"], ends["failed"]
        if completed + failed > 1:
            yield Breach(1, checkout_id, f"ended {completed + failed} times: {completed} completed, {failed} failed")
        if is_under_way(row) and row.age_s > STUCK_S:
            yield Breach(1, checkout_id, f"{row.status} for {row.age_s:.0f} s")
        elif not is_under_way(row) and row.status != "cancelled_first" and completed + failed == 0:
            yield Breach(1, checkout_id, f"{row.status} without an end in its audit trail")


def captured_once(facts: Facts) -> Iterator[Breach]:
    """2. Money is captured at most once, only for a confirmed reservation, only of the authorized amount."""
    for checkout_id, entries in facts.ledger.items():
        captures = [entry for entry in entries if entry.kind == "captured"]
        held = {entry.payment_id: entry for entry in entries if entry.kind == "authorized"}
        if len(captures) > 1:
            yield Breach(2, checkout_id, f"captured {len(captures)} times")
        for capture in captures:
            yield from _capture_faults(facts, checkout_id, capture, held.get(capture.payment_id))


def _capture_faults(facts: Facts, checkout_id: str, capture: LedgerEntry, held: LedgerEntry | None) -> Iterator[Breach]:
    if not (facts.may_lack_its_trail(checkout_id) or _passed(facts, "warehouse", checkout_id, "committed")):
        yield Breach(2, checkout_id, "captured without a confirmed reservation")
    if held is None or (held.amount_minor, held.currency) != (capture.amount_minor, capture.currency):
        yield Breach(2, checkout_id, f"captured {capture.amount_minor} {capture.currency}, not what was authorized")
    row = facts.checkouts.get(checkout_id)
    if row is not None and (row.total_minor, row.currency) != (capture.amount_minor, capture.currency):
        yield Breach(2, checkout_id, f"captured {capture.amount_minor}, the total is {row.total_minor} {row.currency}")


def nothing_held(facts: Facts) -> Iterator[Breach]:
    """3. Every authorization ends captured or voided; nothing stays held, or kept, after checkout.failed."""
    for checkout_id, entries in facts.ledger.items():
        row = facts.checkouts.get(checkout_id)
        if row is None:
            yield Breach(3, checkout_id, "money moved at the provider for a checkout that nobody knows")
        elif not is_under_way(row):
            yield from _balance(checkout_id, row.status == "captured", entries)
    for checkout_id, row in at_rest(facts).items():
        if row.status == "captured" and not _kinds(facts, checkout_id)["captured"]:
            yield Breach(3, checkout_id, "completed, but the provider never captured")


def _balance(checkout_id: str, paid: bool, entries: list[LedgerEntry]) -> Iterator[Breach]:
    sums: Counter[str] = Counter()
    for entry in entries:
        sums[entry.kind] += entry.amount_minor
    held = sums["authorized"] - sums["captured"] - sums["voided"] - sums["expired"]
    kept = sums["captured"] - sums["refunded"]
    if held:
        yield Breach(3, checkout_id, f"{held} minor units are still held at the provider")
    if kept and not paid:
        yield Breach(3, checkout_id, f"failed, but {kept} minor units were captured and not refunded")
    if paid and sums["refunded"]:
        yield Breach(3, checkout_id, f"completed, but {sums['refunded']} minor units were refunded")


def stock_conserved(facts: Facts) -> Iterator[Breach]:
    """4. Stock is conserved: by place it is what the reservations say, and never below zero."""
    expected: dict[str, Counter[str]] = {"reserved": Counter(), "committed": Counter()}
    for row in facts.reservations.values():
        place = {"reserved": "reserved", "confirm_failed": "reserved", "committed": "committed"}.get(row.status)
        if place is not None:
            expected[place].update(row.units)
    for sku, units in facts.stock.items():
        if units.on_hand + units.reserved + units.committed != units.received or min(units) < 0:
            yield Breach(4, sku, f"{units} does not add up")
        for place, counts in expected.items():
            if getattr(units, place) != counts[sku]:
                yield Breach(4, sku, f"{getattr(units, place)} {place}, the reservations say {counts[sku]}")
    yield from _shelf_and_checkout(facts)


def _shelf_and_checkout(facts: Facts) -> Iterator[Breach]:
    for checkout_id, row in at_rest(facts).items():
        reservation = facts.reservations.get(checkout_id)
        held = reservation is not None and reservation.status in ("reserved", "confirm_failed", "committed")
        if row.status == "captured" and (reservation is None or reservation.status != "committed"):
            yield Breach(4, checkout_id, "completed, but its goods are not committed")
        if row.status != "captured" and held:
            yield Breach(4, checkout_id, f"{row.status}, but its goods are still set aside")


def committed_and_published(facts: Facts) -> Iterator[Breach]:
    """5. Every published event was committed by its service, and every committed event is published."""
    for service in SERVICES:
        if facts.outbox.get(service):
            yield Breach(5, service, f"{facts.outbox[service]} events are committed and not yet published")
    resting = at_rest(facts)
    for checkout_id in facts.published.keys() | resting.keys():
        judged = checkout_id in resting or checkout_id not in facts.checkouts
        if judged and not facts.may_lack_its_trail(checkout_id):
            yield from _event_faults(facts, checkout_id)


def _event_faults(facts: Facts, checkout_id: str) -> Iterator[Breach]:
    published = {kind: len(ids) for kind, ids in facts.published.get(checkout_id, {}).items()}
    committed = _committed_events(facts, checkout_id)
    for kind in sorted(published.keys() | committed.keys()):
        if kind in ("checkout.requested", "checkout.cancel_requested"):
            continue
        on_topic, in_trail = published.get(kind, 0), committed[kind]
        if on_topic < in_trail:
            yield Breach(5, checkout_id, f"{kind}: committed {in_trail} times, {on_topic} on the topic")
        if on_topic - _set_aside(facts, checkout_id, kind) > in_trail:
            yield Breach(
                5, checkout_id, f"{kind}: {on_topic} different events on the topic, committed {in_trail} times"
            )


def _set_aside(facts: Facts, checkout_id: str, kind: str) -> int:
    """How many events of this kind are a dead letter of every service that hears them, and so moved nothing."""
    listeners = [facts.set_aside[service] for service in SERVICES if kind in subscriptions(service)]
    said = facts.published.get(checkout_id, {}).get(kind, set())
    return len(said.intersection(*listeners)) if listeners else 0


def _committed_events(facts: Facts, checkout_id: str) -> Counter[str]:
    events: Counter[str] = Counter()
    for service, said in _SAID.items():
        for step in facts.trails[service].get(checkout_id, ()):
            if step.to_state in said and step.from_state != step.to_state:
                events[said[step.to_state]] += 1
            if service == "warehouse" and (step.from_state, step.to_state) == ("lapsed", "lapsed"):
                events["warehouse.confirm_failed"] += 1
    return events


def never_gone(facts: Facts) -> Iterator[Breach]:
    """6. A message is handled, waiting, or a dead letter: never gone."""
    for service in SERVICES:
        handled = facts.inbox[service]
        for message in facts.heard[service]:
            # another message under an identity that was handled is none that was handled
            known = handled.get(message.identity, set())
            if known.isdisjoint((None, message.content)) and message.refused_as not in handled:
                yield Breach(6, f"{service} {message.place}", f"message {message.identity} was never handled")
        for gone in facts.given_up.get(service, ()):
            yield Breach(6, f"{service}.dlq", f"{gone.origin} was given up, and its letter {gone.id} is not there")


def effect_once(facts: Facts) -> Iterator[Breach]:
    """7. One event has one effect, however often it was delivered or replayed."""
    for service, trails in facts.trails.items():
        for checkout_id, steps in trails.items():
            moves: Counter[tuple[UUID, str]] = Counter(
                (step.cause_id, step.to_state)
                for step in steps
                if step.to_state != step.from_state and not (service == "payment" and step.to_state in _TRIES)
            )
            for (cause, state), count in moves.items():
                if count > 1:
                    yield Breach(7, checkout_id, f"{service}: event {cause} led to {state} {count} times")


INVARIANTS: Final[tuple[Callable[[Facts], Iterator[Breach]], ...]] = (
    one_end,
    captured_once,
    nothing_held,
    stock_conserved,
    committed_and_published,
    never_gone,
    effect_once,
)


def breaches(facts: Facts) -> list[Breach]:
    """Every breach of every invariant."""
    return [breach for invariant in INVARIANTS for breach in invariant(facts)]


def _passed(facts: Facts, service: str, checkout_id: str, state: str) -> bool:
    return any(step.to_state == state for step in facts.trails[service].get(checkout_id, ()))


def _kinds(facts: Facts, checkout_id: str) -> Counter[str]:
    return Counter(entry.kind for entry in facts.ledger.get(checkout_id, ()))
