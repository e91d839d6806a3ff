"""What the audit knows: plain values, so that its rules are functions without I/O."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import NamedTuple
from uuid import UUID

from schemas.choreography import SERVICES


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
    """A message on a topic that a service hears. identity, refused_as: what its inbox may have it as."""

    identity: UUID
    content: int
    refused_as: UUID
    place: str


class LetterFact(NamedTuple):
    """A dead letter: its id, and the place of the message that it holds (topic/partition/offset)."""

    id: str
    origin: str


@dataclass(slots=True)
class Facts:
    """Everything, by checkout_id, by service or by sku.

    published: checkout_id -> event type -> the events on the topics, each by identity and content. heard: by service.
    set_aside: those that are a dead letter of a service.
    inbox: identity -> contents, by service; None for what was handled before contents were kept. outbox: rows not yet
    published, by service. letters: on its topic, by service. given_up: letters that a service wrote and that are not
    there. waiting: messages in its retry table. foreign_letters: records on the dead-letter topics that no service
    wrote. trail_kept_s: how long the trail of a checkout at rest is kept at least; None: for ever.
    """

    checkouts: dict[str, CheckoutRow] = field(default_factory=dict)
    payments: dict[str, PaymentRow] = field(default_factory=dict)
    reservations: dict[str, ReservationRow] = field(default_factory=dict)
    stock: dict[str, StockRow] = field(default_factory=dict)
    trails: dict[str, dict[str, list[TrailRow]]] = field(default_factory=dict)
    ledger: dict[str, list[LedgerEntry]] = field(default_factory=dict)
    published: dict[str, dict[str, set[tuple[UUID, int]]]] = field(default_factory=dict)
    heard: dict[str, list[Heard]] = field(default_factory=dict)
    set_aside: dict[str, set[tuple[UUID, int]]] = field(
        default_factory=lambda: {service: set() for service in SERVICES}
    )
    inbox: dict[str, dict[UUID, set[int | None]]] = field(default_factory=dict)
    outbox: dict[str, int] = field(default_factory=dict)
    letters: dict[str, set[LetterFact]] = field(default_factory=dict)
    written: dict[str, set[str]] = field(default_factory=dict)
    given_up: dict[str, set[LetterFact]] = field(default_factory=dict)
    waiting: dict[str, int] = field(default_factory=dict)
    trail_kept_s: float | None = None

    def may_lack_its_trail(self, checkout_id: str) -> bool:
        """Whether `checkout prune` may have deleted a checkout's trail, so that nothing can be asked of it."""
        row = self.checkouts.get(checkout_id)
        if self.trail_kept_s is None or row is None:
            return False
        return not is_under_way(row) and row.age_s > self.trail_kept_s

    @property
    def foreign_letters(self) -> int:
        """Records on the dead-letter topics that are no letter of a service's own, nor an edit of one."""
        none: set[str] = set()
        return sum(
            letter.id not in self.written.get(service, none)
            for service, letters in self.letters.items()
            for letter in letters
        )


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
