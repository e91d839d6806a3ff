"""THE MAP: every event, who says it, who hears it and what each does with it.

Topics, subscriptions and the right to publish derive from it; a service whose handlers differ from it
refuses to start. "What happens when a payment is declined?" is the entry `payment.declined`.
"""

from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass
from functools import cache

from schemas.events import EVENTS

SHOP = "shop"
SERVICES = ("checkout", "payment", "warehouse")

EVENT_MAX_BYTES = 4 * 1024 * 1024
"""A topic takes up to 4 MiB, so that an oversized message reaches the dead letters and not just its sender's log."""
DEAD_LETTER_MAX_BYTES = EVENT_MAX_BYTES + 256 * 1024
"""A dead letter is the original and its headers."""


@dataclass(frozen=True, slots=True)
class Reaction:
    """One service's answer to an event: what it does in its transaction and what it may publish."""

    service: str
    does: str
    publishes: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True)
class Entry:
    """One event of the choreography; its type is its topic."""

    event: str
    said_by: str
    heard_by: tuple[Reaction, ...] = ()
    ends: bool = False


@dataclass(frozen=True, slots=True)
class Timer:
    """What a service does by itself when time has passed."""

    name: str
    service: str
    when: str
    does: str
    publishes: tuple[str, ...]


def _fails(does: str) -> tuple[Reaction, ...]:
    return (Reaction("checkout", does, ("checkout.failed",)),)


MAP: tuple[Entry, ...] = (
    Entry(
        "checkout.requested",
        SHOP,
        (
            Reaction(
                "checkout",
                "get or create the session, validate lines, totals, currency and limits",
                ("checkout.accepted", "checkout.failed"),
            ),
        ),
    ),
    Entry(
        "checkout.cancel_requested",
        SHOP,
        _fails("if not yet captured: state failed, reason CANCELLED; else record the wish"),
    ),
    Entry(
        "checkout.accepted",
        "checkout",
        (
            Reaction(
                "warehouse",
                "reserve stock for all lines, or none",
                ("warehouse.reserved", "warehouse.rejected"),
            ),
            Reaction(
                "payment",
                "record the payment to come, check that the payment method is the customer's; "
                "authorize if the reservation was heard first",
                ("payment.authorized", "payment.declined", "payment.delayed"),
            ),
        ),
    ),
    Entry(
        "warehouse.reserved",
        "warehouse",
        (
            Reaction(
                "payment",
                "authorize at the provider, key checkout:{checkout_id}:auth",
                ("payment.authorized", "payment.declined", "payment.delayed"),
            ),
        ),
    ),
    Entry(
        "warehouse.rejected",
        "warehouse",
        _fails("state failed with the warehouse's reason"),
    ),
    Entry(
        "payment.authorized",
        "payment",
        (Reaction("checkout", "create the order, state authorized", ("checkout.confirmed", "checkout.failed")),),
    ),
    Entry(
        "payment.declined",
        "payment",
        _fails("state failed with the bank's reason in the customer's words"),
    ),
    Entry(
        "checkout.confirmed",
        "checkout",
        (
            Reaction(
                "warehouse",
                "turn the reservation into a commitment",
                ("warehouse.confirmed", "warehouse.confirm_failed"),
            ),
        ),
    ),
    Entry(
        "warehouse.confirmed",
        "warehouse",
        (
            Reaction(
                "payment",
                "capture, key checkout:{checkout_id}:capture",
                ("payment.captured", "payment.capture_failed", "payment.delayed"),
            ),
            Reaction("checkout", "state capture_pending"),
        ),
    ),
    Entry(
        "warehouse.confirm_failed",
        "warehouse",
        _fails("cancel the order, state failed"),
    ),
    Entry(
        "payment.captured",
        "payment",
        (Reaction("checkout", "state captured", ("checkout.completed",)),),
    ),
    Entry(
        "payment.capture_failed",
        "payment",
        _fails("state capture_failed, cancel the order, state failed"),
    ),
    Entry(
        "payment.delayed",
        "payment",
        (
            Reaction(
                "checkout",
                "note that it waits; a capture that waits: state capture_failed until it is captured",
            ),
        ),
    ),
    Entry("checkout.completed", "checkout", ends=True),
    Entry(
        "checkout.failed",
        "checkout",
        (
            Reaction("warehouse", "release what is held", ("warehouse.released",)),
            Reaction(
                "payment",
                "void the authorization, refund if captured; keys ...:void, ...:refund",
                ("payment.voided", "payment.refunded"),
            ),
        ),
        ends=True,
    ),
    Entry(
        "warehouse.released",
        "warehouse",
        (
            Reaction(
                "checkout",
                "the answer to checkout.failed: note it, compensated once payment answered too; "
                "lapsed and not yet authorized: state failed, reason RESERVATION_LAPSED",
                ("checkout.failed",),
            ),
        ),
    ),
    Entry(
        "payment.voided",
        "payment",
        (Reaction("checkout", "note it; compensated once the warehouse answered too"),),
    ),
    Entry(
        "payment.refunded",
        "payment",
        (Reaction("checkout", "note it; compensated once the warehouse answered too"),),
    ),
)

ENDS: frozenset[str] = frozenset(entry.event for entry in MAP if entry.ends)
"""What a shop waits for: one of them for every checkout."""

TIMERS: tuple[Timer, ...] = (
    Timer(
        "timer.deadline_passed",
        "checkout",
        "the checkout's deadline passed before the money was authorized",
        "state failed, reason EXPIRED; where the payment was delayed PAYMENT_UNAVAILABLE or PAYMENT_TIMED_OUT",
        ("checkout.failed",),
    ),
    Timer(
        "timer.reservation_lapsed",
        "warehouse",
        "a reservation's time to live passed before it was confirmed",
        "release it",
        ("warehouse.released",),
    ),
)


class MapError(Exception):
    """A service and the map disagree."""


def topics() -> list[str]:
    """Every event topic."""
    return [entry.event for entry in MAP]


def dead_letter_topic(service: str) -> str:
    """Where `service` puts what it can't handle."""
    return f"{service}.dlq"


def retry_topic(service: str) -> str:
    """Where a dead letter of `service` is put to be handled again; nobody else hears it."""
    return f"{service}.retry"


LEDGER_TOPIC = "dlq.ledger"
"""The state of every dead letter; compacted, key `<service>/<letter id>`."""
DLQ_AUDIT_TOPIC = "dlq.audit"
"""Who did what to which dead letters, and why; append-only, kept for ever."""


def subscriptions(service: str, choreography: Sequence[Entry] = MAP) -> list[str]:
    """The events that `service` hears."""
    return [e.event for e in choreography if any(r.service == service for r in e.heard_by)]


def may_publish(service: str, choreography: Sequence[Entry] = MAP) -> frozenset[str]:
    """The events that `service`, or the shop, says."""
    return frozenset(e.event for e in choreography if e.said_by == service)


@cache
def reactions(service: str) -> Mapping[str, frozenset[str]]:
    """For each event or timer that `service` handles: the events that it may answer with."""
    heard = {e.event: frozenset(r.publishes) for e in MAP for r in e.heard_by if r.service == service}
    return heard | {t.name: frozenset(t.publishes) for t in TIMERS if t.service == service}


def check_handlers(service: str, handlers: Collection[str]) -> None:
    """Refuse to go on when a service's handlers are not exactly those that the map gives it.

    Raises MapError naming what is missing and what is too much.
    """
    expected, have = set(reactions(service)), set(handlers)
    if expected == have:
        return
    missing, extra = sorted(expected - have), sorted(have - expected)
    raise MapError(
        f"{service}'s handlers differ from schemas/choreography.py: "
        f"missing {missing or 'none'}, not in the map {extra or 'none'}"
    )


def check_map() -> None:
    """Every event of the map has a class, every class an entry, every answer a publisher that may say it."""
    if set(topics()) != set(EVENTS):
        raise MapError(f"the map and schemas/events.py differ: {sorted(set(topics()) ^ set(EVENTS))}")
    for service in SERVICES:
        for heard, answers in reactions(service).items():
            foreign = answers - may_publish(service)
            if foreign:
                raise MapError(f"{service} answers {heard} with {sorted(foreign)}, which it does not say")
