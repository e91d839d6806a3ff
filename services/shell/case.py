"""What the messages of one batch are judged with: what was loaded, and what will be written."""

import random
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field, replace
from datetime import datetime
from typing import Any
from uuid import UUID

from dlq.faults import fault_of, refusal
from dlq.ledger import State
from dlq.letter import Fault
from dlq.policy import Policy
from schemas.cards import masked, masked_bytes
from schemas.choreography import ENDS
from schemas.decision import Decision
from schemas.kafka.record import Place
from services.shell.delivery import Delivery
from services.shell.draft import Draft, Timed
from services.shell.flood import Flood
from services.shell.gate import Gates
from services.shell.queue import Queue
from services.shell.scribe import Scribe
from services.shell.service import Service, World
from services.shell.tracing import Tracing
from services.shell.waiting import COMPENSATIONS, Waiting


def unmarked(_place: Place | None) -> None:
    """Where no process has to be protected from its messages."""


@dataclass(frozen=True)
class Desk:
    """What every batch needs. me: this process's name on the rows that it has claimed. chance: 0 to 1.

    tracing: None where nobody keeps traces. mark: told which message is decided on, and None when none is.
    mask: takes out of a letter's bytes what must not be kept.
    """

    service: Service
    scribe: Scribe
    policy: Policy
    gates: Gates
    flood: Flood
    me: UUID
    tracing: Tracing | None = None
    mark: Callable[[Place | None], None] = unmarked
    mask: Callable[[bytes], bytes] = masked_bytes
    chance: Callable[[], float] = field(default=random.random)


@dataclass(frozen=True)
class Case:
    """One batch. world: None where nothing can be decided. handled: what the inbox has of it, where it was asked."""

    desk: Desk
    world: World | None
    queue: Queue
    draft: Draft
    now: datetime
    handled: Mapping[UUID, int | None] = field(default_factory=dict)

    def is_handled(self, delivery: Delivery) -> bool:
        """Whether the inbox has it, as far as it was asked."""
        return delivery.seen.event_id in self.handled

    def ask(self, delivery: Delivery, *answer: object) -> Decision[Any]:
        """The service's decision."""
        event = delivery.event
        if event is None or self.world is None:
            raise ValueError("an unreadable message has no decision")
        return self.desk.service.handlers[event.TYPE](self.world.view(event), event, self.now, *answer)

    def give_up(self, delivery: Delivery, code: str) -> Decision[Any] | None:
        """The service's announcement that it can't handle an event; None where it has none for this one."""
        event, announce = delivery.event, self.desk.service.giving_up.get(delivery.event_type)
        if event is None or announce is None or self.world is None:
            return None
        return announce(self.world.view(event), event, self.now, code)

    def state(self, lane: str) -> Any | None:
        """What the service knows of a checkout now."""
        return self.world.current(lane) if self.world else None

    def write(self, delivery: Delivery, decision: Decision[Any]) -> None:
        """The decision's state, events and steps. Raises before it has changed anything."""
        if self.world is None:
            raise ValueError("nothing was loaded")
        self.desk.service.check_answer(delivery.event_type, decision.events)
        records = [self.desk.scribe.event(said, delivery, self.now) for said in decision.events]
        old = self.world.current(delivery.key)
        if decision.state is not None and decision.state is not old and decision.state != old:
            self.world.keep(decision.state)
        self.draft.trace(old, decision, delivery, self.now)
        self.draft.records += records
        self._note_ends(old, decision, delivery)

    def _note_ends(self, old: Any | None, decision: Decision[Any], delivery: Delivery) -> None:
        """For the metrics."""
        self.draft.ends += [said for said in decision.events if said.TYPE in ENDS]
        new = decision.state
        if new is not None and (old is None or old.status != new.status):
            began = self.desk.service.began(new)
            if began is not None:
                self.draft.timed.append(Timed(str(new.status), began, delivery.trace))

    def tell(self, row: Waiting, state: State, outcome: str, why: str) -> None:
        """What became of a replay."""
        self.draft.records.append(self.desk.scribe.outcome(row, state, outcome, why, self.now))

    def row(self, delivery: Delivery, fault: Fault, *, tries: int = 0, timeouts: int = 0) -> Waiting:
        """The row of a delivery that failed just now."""
        delivery.fault = fault
        row = self.queue.row_of(delivery)
        return replace(
            row,
            event_type=self.event_type(delivery),
            operation=self._operation(delivery),
            gate=delivery.call.operation if delivery.call else "",
            fault=fault,
            attempts=row.attempts + tries,
            timeouts=row.timeouts + timeouts,
            first_failed_at=row.first_failed_at or self.now,
            since=row.since or self.now,
            last_failed_at=self.now,
        )

    def _operation(self, delivery: Delivery) -> str:
        """What operators call it; a void that turned out to be a refund is one."""
        called = delivery.call.operation if delivery.call else ""
        return called if called in COMPENSATIONS else self.desk.service.duties.get(delivery.event_type, "")

    def event_type(self, delivery: Delivery) -> str:
        """The event's type, also of what can't be read."""
        return delivery.event_type.removeprefix(self.desk.scribe.topic_prefix)

    def handler(self, event_type: str) -> str:
        """The function that handles an event."""
        return self.desk.service.handler_name(event_type)

    def fault(self, delivery: Delivery, error: Exception) -> Fault:
        """What went wrong, from an exception."""
        event_type = self.event_type(delivery)
        found = fault_of(error, event_type, self.handler(event_type))
        return replace(found, message=masked(found.message), stack=masked(found.stack))

    def refusal(self, delivery: Delivery, error_class: str, message: str) -> Fault:
        """What went wrong, in a decision's words."""
        event_type = self.event_type(delivery)
        return refusal(error_class, masked(message), event_type, self.handler(event_type))
