"""What the audit knows: plain values, so that its rules are functions without I/O."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import NamedTuple
from uuid import UUID


class CheckoutRow(NamedTuple):
    """A checkout as its service has it. age_s: since its last change."""

    status: str
    accepted: bool
    total_minor: int
    currency: str
    code: str | None
    age_s: float


class PaymentRow(NamedTuple):
    """A payment as its service has it."""

    status: str
    payment_id: str | None
    amount_minor: int


class ReservationRow(NamedTuple):
    """A reservation as its service has it."""

    status: str
    units: Mapping[str, int]


class StockRow(NamedTuple):
    """A product's units by place."""

    received: int
    on_hand: int
    reserved: int
    committed: int


class TrailRow(NamedTuple):
    """One row of a service's audit trail."""

    from_state: str | None
    to_state: str
    cause_id: UUID


class LedgerEntry(NamedTuple):
    """One entry of the provider's own journal."""

    kind: str
    payment_id: str | None
    amount_minor: int
    currency: str


class Heard(NamedTuple):
    """A message on a topic that a service hears."""

    event_id: UUID
    place: str


@dataclass(slots=True)
class Facts:
    """Everything, by checkout_id, by service or by sku.

    published: checkout_id -> event type -> ids of the events on the topics. heard, inbox: by service.
    outbox: rows not yet published, by service. letters: ids of dead letters, by service. given_up: ids of messages that
    a service gave up and whose letters are not there. waiting: messages in its retry table.
    """

    checkouts: dict[str, CheckoutRow] = field(default_factory=dict)
    payments: dict[str, PaymentRow] = field(default_factory=dict)
    reservations: dict[str, ReservationRow] = field(default_factory=dict)
    stock: dict[str, StockRow] = field(default_factory=dict)
    trails: dict[str, dict[str, list[TrailRow]]] = field(default_factory=dict)
    ledger: dict[str, list[LedgerEntry]] = field(default_factory=dict)
    published: dict[str, dict[str, set[UUID]]] = field(default_factory=dict)
    heard: dict[str, list[Heard]] = field(default_factory=dict)
    inbox: dict[str, set[UUID]] = field(default_factory=dict)
    outbox: dict[str, int] = field(default_factory=dict)
    letters: dict[str, set[UUID]] = field(default_factory=dict)
    given_up: dict[str, set[UUID]] = field(default_factory=dict)
    waiting: dict[str, int] = field(default_factory=dict)


class Breach(NamedTuple):
    """A broken invariant (its number in the README) and the offender: a checkout, product or message."""

    invariant: int
    offender: str
    what: str


Breaches = Sequence[Breach]

UNDER_WAY = ("accepted", "authorized", "capture_pending", "capture_failed")


def is_under_way(row: CheckoutRow) -> bool:
    """Whether a checkout still has to move: not ended, or ended and not everybody has let go yet."""
    return row.status in UNDER_WAY or (row.status == "failed" and row.accepted)
