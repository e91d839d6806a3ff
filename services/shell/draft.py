"""What a batch will write, while its decisions are made in memory."""

from collections.abc import Sequence
from dataclasses import dataclass, field
from datetime import datetime
from typing import Any
from uuid import UUID

from uuid_utils.compat import uuid7

from dlq import letter as dead_letter
from dlq.letter import Disposition, Letter
from outbox.add import Record
from schemas.codec import Codec
from schemas.decision import Decision
from schemas.envelope import Envelope, event_headers, trace_headers
from schemas.events import Event
from services.shell.delivery import Delivery
from services.shell.trail import Step


@dataclass(frozen=True, slots=True)
class Scribe:
    """Turns what was decided into outbox records. source: the service's name. group: its consumer group."""

    codec: Codec
    source: str
    group: str
    topic_prefix: str = ""

    def event(self, event: Event, cause: Delivery, at: datetime) -> Record:
        """An event as it will be published. Raises RegistryUnavailableError."""
        envelope = Envelope(event, uuid7(), at)
        return Record(
            topic=self.topic_prefix + event.TYPE,
            key=event.checkout_id,
            payload=self.codec.encode(envelope),
            type=event.TYPE,
            aggregatetype="checkout",
            headers=event_headers(envelope, self.source, cause.event_id, trace_headers(cause.headers)),
            id=envelope.event_id,
        )

    def letter(self, given_up: Delivery, disposition: Disposition, error: str, message: str, at: datetime) -> Record:
        """A delivery as a dead letter. Raises ValueError for a timer's, which has no message to keep."""
        origin = given_up.origin
        if origin is None:
            raise ValueError(f"a timer of {self.source} has no message to keep")
        letter = Letter(
            event_id=given_up.event_id,
            lane=given_up.key,
            service=self.source,
            group=self.group,
            disposition=disposition,
            error_class=error,
            message=message,
            topic=origin.topic,
            partition=origin.partition,
            offset=origin.offset,
            timestamp=origin.timestamp,
            failed_at=at,
            key=origin.key,
            value=origin.value,
            headers=given_up.headers,
        )
        return dead_letter.record(letter, self.topic_prefix)


@dataclass(slots=True)
class Draft:
    """The rows of one transaction, and what remains to be done after it."""

    records: list[Record] = field(default_factory=list)
    steps: list[Step] = field(default_factory=list)
    done: list[Delivery] = field(default_factory=list)
    calls: list[tuple[Delivery, object]] = field(default_factory=list)
    postponed: list[Delivery] = field(default_factory=list)
    held: set[str] = field(default_factory=set)
    duplicates: int = 0
    dead: int = 0

    def trace(self, old: Any | None, decision: Decision[Any], cause: Delivery, at: datetime) -> None:
        """The audit trail of a decision: each state on the way, or a note where the state stays."""
        new = decision.state
        if new is None or cause.event is None:
            return
        before = None if old is None else str(old.status)
        after = str(new.status)
        stations = [*decision.via, after] if before != after else [after] if decision.note else []
        note = decision.note or getattr(new, "detail", "") or ""
        for station in stations:
            self.steps.append(Step(new.checkout_id, before, station, cause.event.TYPE, cause.event_id, note, at))
            before = station

    def inbox_ids(self) -> Sequence[Delivery]:
        """Settled deliveries that came from Kafka; a timer's is guarded by its state."""
        return [delivery for delivery in self.done if delivery.origin is not None]


def unseen(deliveries: Sequence[Delivery], handled: set[UUID]) -> tuple[list[Delivery], list[Delivery]]:
    """(fresh, duplicates): what was handled before or stands twice in the batch is a duplicate."""
    fresh: list[Delivery] = []
    duplicates: list[Delivery] = []
    known = set(handled)
    for delivery in deliveries:
        (duplicates if delivery.event_id in known else fresh).append(delivery)
        known.add(delivery.event_id)
    return fresh, duplicates
