"""What a batch will write, while its decisions are made in memory."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime
from typing import Any, Final, NamedTuple
from uuid import UUID

from outbox.add import Record
from schemas.decision import Decision
from schemas.events import Event
from schemas.trace import TraceContext
from services.shell.delivery import Call, Delivery, conflicting
from services.shell.trail import Step
from services.shell.waiting import Waiting

Partition = tuple[str, int]
_LISTS: Final = (
    "records", "steps", "done", "calls", "postponed", "left", "duplicates", "retried", "dead", "ends", "timed",
)  # fmt: skip


class Timed(NamedTuple):
    """A checkout that came to an end: its state then, since when it ran, and in which trace, where one is kept."""

    state: str
    began: datetime
    trace: TraceContext | None


@dataclass(slots=True)
class Draft:
    """The rows of one transaction, and what remains to be done after it.

    done: settled for good, or taken over by the retry table. calls: to be made after the commit. postponed: their key
    waits for a call. fine: offsets that were handled, by partition. stalled: partitions that must stop. left:
    deliveries of those, which stay in Kafka. duplicates: deliveries that are known already. retried: (class of fault,
    attempt), dead: rows that became letters, ends: what it says for good, timed: ends of what somebody times; for the
    metrics.
    """

    records: list[Record] = field(default_factory=list)
    steps: list[Step] = field(default_factory=list)
    done: list[Delivery] = field(default_factory=list)
    calls: list[tuple[Delivery, Call]] = field(default_factory=list)
    postponed: list[Delivery] = field(default_factory=list)
    held: set[str] = field(default_factory=set)
    stalled: set[Partition] = field(default_factory=set)
    left: list[Delivery] = field(default_factory=list)
    fine: dict[Partition, list[int]] = field(default_factory=dict)
    duplicates: list[Delivery] = field(default_factory=list)
    retried: list[tuple[str, int]] = field(default_factory=list)
    dead: list[Waiting] = field(default_factory=list)
    ends: list[Event] = field(default_factory=list)
    timed: list[Timed] = field(default_factory=list)

    def trace(self, old: Any | None, decision: Decision[Any], cause: Delivery, at: datetime) -> None:
        """The audit trail of a decision: each state on the way, or a note where the state stays."""
        new = decision.state
        if new is None or cause.event is None:
            return
        before = None if old is None else str(old.status)
        after = str(new.status)
        stations = [*decision.via, after] if before != after or decision.via else [after] if decision.note else []
        note = decision.note or getattr(new, "detail", "") or ""
        kept = cause.trace.traceparent.decode() if cause.trace else None
        for station in stations:
            self.steps.append(Step(new.checkout_id, before, station, cause.event.TYPE, cause.event_id, note, at, kept))
            before = station

    def inbox_ids(self) -> Sequence[Delivery]:
        """Settled deliveries that came from Kafka; a timer's is guarded by its state, what waited by its row."""
        return [delivery for delivery in self.done if delivery.place is not None]

    def join(self, other: "Draft") -> None:
        """What another transaction of the same batch did."""
        for name in _LISTS:
            getattr(self, name).extend(getattr(other, name))
        self.held |= other.held
        self.stalled |= other.stalled


def unseen(deliveries: Sequence[Delivery], handled: Mapping[UUID, int | None]) -> tuple[list[Delivery], list[Delivery]]:
    """(fresh, duplicates): what was handled before or stands twice in the batch is a duplicate.

    Another message under the same identity is none: it is fresh, as a message that can't be handled.
    What comes from the retry table is in the inbox, as it was taken over, and is no duplicate.
    """
    fresh: list[Delivery] = []
    duplicates: list[Delivery] = []
    known = dict(handled)
    for delivery in deliveries:
        if delivery.waiting is not None:
            fresh.append(delivery)
            continue
        identity, _, content = delivery.seen
        if identity in known and known[identity] not in (None, content):
            delivery = conflicting(delivery)  # noqa: PLW2901 - from here on it is another message
            identity, _, content = delivery.seen
        (duplicates if identity in known else fresh).append(delivery)
        known.setdefault(identity, content)
    return fresh, duplicates
