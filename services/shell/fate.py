"""What becomes of a message that was not handled: it waits, is tried again, or is given up.

Whatever exhausts its tries ends as a dead letter. Where the service can announce that it gives up, it does so at once,
so that everybody lets go; the letter follows when nothing is held any more, and says `compensated`.
"""

from dataclasses import replace
from datetime import datetime
from typing import Any, Final

import structlog

from dlq.kept import writable
from dlq.ledger import State
from dlq.letter import Disposition, Fault, digest_of
from dlq.policy import Again, Dead, FaultClass
from schemas.decision import Decision, NotAsked, Unknown
from schemas.failures import Code
from services.shell.case import Case
from services.shell.delivery import Delivery
from services.shell.waiting import COMPENSATIONS, Status, Waiting

_OURS: Final = (FaultClass.PROVIDER, FaultClass.BUG, FaultClass.NOT_STORABLE)
"""Nobody else can know that the step will never be done, and nobody is freed from letting go.

Only these count for a flood: they cancel orders. What a shop sends that can't be read is that shop's matter.
"""

log = structlog.get_logger("shell.fate")


class Fate:
    """Of the messages of one batch."""

    def __init__(self, case: Case) -> None:
        self._case = case
        self._draft = case.draft
        self._queue = case.queue

    def wait(self, delivery: Delivery, decision: Decision[Any]) -> None:
        """The provider has to be asked later. What was not asked uses up no attempt."""
        if isinstance(delivery.answer, NotAsked):
            self._case.write(delivery, decision)
            row = self._case.row(delivery, self._case.refusal(delivery, "BreakerOpen", decision.waits or ""))
            # due as soon as its gate opens
            self._again(delivery, replace(row, next_attempt_at=self._case.now, deadline_at=self._until(decision)))
            return
        timed_out = isinstance(delivery.answer, Unknown) and delivery.answer.timed_out
        name = "ProviderTimeout" if timed_out else "ProviderUnavailable"
        fault = self._case.refusal(delivery, name, decision.waits or "")
        row = self._case.row(delivery, fault, tries=1, timeouts=int(timed_out))
        if self._judge(delivery, FaultClass.PROVIDER, replace(row, deadline_at=self._until(decision))):
            self._case.write(delivery, decision)

    def fail(self, delivery: Delivery, kind: FaultClass, fault: Fault) -> None:
        """It could not be decided."""
        if delivery.origin is None:
            # nothing was consumed, so nothing is lost: the timer fires again
            log.error("a timer could not be decided", reason=fault.message, error=fault.error_class, key=delivery.key)
            self._draft.done.append(delivery)
        elif not self._is_flood(delivery, kind):
            row = self._case.row(delivery, fault, tries=int(kind is not FaultClass.REGISTRY))
            self._judge(delivery, kind, replace(row, early=kind is FaultClass.EARLY, deadline_at=None))

    def bury_compensated(self, lane: str) -> None:
        """Letters of what was given up follow when everything was let go."""
        given_up = self._queue.compensating(lane)
        if not given_up:
            return
        state = self._case.state(lane)
        if state is not None and self._case.desk.service.let_go(state):
            for row in given_up:
                self._bury(row, compensated=True)

    def _judge(self, delivery: Delivery, kind: FaultClass, row: Waiting) -> bool:
        """Try again as the policy says, or give up; whether it is tried again."""
        if kind in _OURS and row.operation in COMPENSATIONS:
            kind = FaultClass.COMPENSATION
        desk, now = self._case.desk, self._case.now
        match desk.policy.next_step(kind, row.attempts, row.since or now, now, desk.chance()):
            case Again(at):
                self._again(delivery, replace(row, next_attempt_at=at))
                self._draft.retried.append((kind.value, row.attempts))
                return True
            case Dead(disposition):
                self._give_up(delivery, kind, replace(row, disposition=disposition.value, next_attempt_at=None))
        return False

    def _again(self, delivery: Delivery, row: Waiting) -> None:
        self._queue.put(row)
        self._draft.done.append(delivery)
        log.info(
            "waits", reason=row.fault.message, error=row.fault.error_class, event_type=row.event_type, key=row.lane,
            attempts=row.attempts, again_at=str(row.next_attempt_at),
        )  # fmt: skip

    def _is_flood(self, delivery: Delivery, kind: FaultClass) -> bool:
        """When most of a partition fails, something is wrong with more than the messages: they stay in Kafka."""
        if delivery.place is None or kind not in _OURS:
            return False
        topic, partition, offset = delivery.place
        fine = len(self._draft.fine.get((topic, partition), ()))
        if self._case.desk.flood.may_fail((topic, partition), offset, fine):
            return False
        self._draft.stalled.add((topic, partition))
        self._draft.left.append(delivery)
        return True

    def _give_up(self, delivery: Delivery, kind: FaultClass, row: Waiting) -> None:
        self._draft.done.append(delivery)
        decision = self._case.give_up(delivery, _code(kind, row)) if kind in _OURS else None
        if decision is None or not decision.events:
            self._bury(row)
            return
        self._case.write(delivery, decision)
        self._queue.put(replace(row, status=Status.COMPENSATING))
        self.bury_compensated(delivery.key)

    def _bury(self, row: Waiting, *, compensated: bool = False) -> None:
        """The letter, and what a replay is told; an alert where something stays held."""
        desk, handler = self._case.desk, self._case.handler(row.event_type)
        origin, cut = writable(row.origin, desk.mask)
        row = replace(row, origin=origin, digest=digest_of(origin))
        letter = desk.scribe.letter(
            row, Disposition(row.disposition), handler, self._case.now, compensated=compensated, cut=cut
        )
        self._draft.records.append(letter)
        if row.replay.id:
            self._case.tell(row, State.FAILED_AGAIN, "failed_again", row.fault.message)
        self._queue.put(replace(row, status=Status.DEAD, next_attempt_at=None))
        self._draft.dead.append(row)
        say = log.critical if row.operation in COMPENSATIONS else log.error
        say(
            "dead letter", reason=row.fault.message, disposition=row.disposition, error=row.fault.error_class,
            event_type=row.event_type, operation=row.operation, key=row.lane, fingerprint=row.fault.fingerprint,
        )  # fmt: skip

    def _until(self, decision: Decision[Any]) -> datetime | None:
        return decision.until if decision.until is not None and decision.until > self._case.now else None


def _code(kind: FaultClass, row: Waiting) -> Code:
    """What a checkout fails with when its message is given up: a bug, a time-out and an outage are different things."""
    if kind is not FaultClass.PROVIDER:
        return Code.INTERNAL_ERROR
    return Code.PAYMENT_TIMED_OUT if row.fault.error_class == "ProviderTimeout" else Code.PAYMENT_UNAVAILABLE
