"""The life of one message: not ours any more, behind others, decided on, or left to its fate.

Read `Verdict.on`. A decision's outcome is a value (`schemas.decision.Decision`); an exception means that it could not
be decided, and is tried again as the policy says before it becomes a dead letter (`services/shell/fate.py`).
"""

from dataclasses import replace
from typing import Any

import structlog

from dlq.ledger import State
from dlq.policy import FaultClass
from schemas.codec import RegistryUnavailableError, SchemaPendingError, UndecodableError
from schemas.decision import Decision, NotAsked, UnsafeError
from services.shell.case import Case
from services.shell.delivery import Delivery
from services.shell.fate import Fate
from services.shell.replays import foreign
from services.shell.waiting import Status

log = structlog.get_logger("shell.verdict")


class Verdict:
    """Judges the messages of one batch, one after the other."""

    def __init__(self, case: Case) -> None:
        self._case = case
        self._draft = case.draft
        self._queue = case.queue
        self._fate = Fate(case)

    def on(self, delivery: Delivery) -> None:
        """One message."""
        stranger = foreign(delivery, self._queue, self._case.desk.service.name)
        if stranger is not None:
            self._refuse(delivery, stranger)
        elif delivery.key in self._draft.held:
            self._draft.postponed.append(delivery)
        elif delivery.place is not None and delivery.place[:2] in self._draft.stalled:
            self._draft.left.append(delivery)
        elif self._queue.is_foreign(delivery) or self._is_known_letter(delivery):
            self._draft.done.append(delivery)
        elif delivery.origin is not None and self._queue.is_behind(delivery):
            self._queue.park(delivery, self._case.now)
            self._draft.done.append(delivery)
        elif delivery.event is None:
            self._unreadable(delivery)
        else:
            self._decide(delivery)

    def not_storable(self, delivery: Delivery, error: Exception) -> None:
        """A message that can't be written."""
        self._fate.fail(delivery, FaultClass.NOT_STORABLE, self._case.fault(delivery, error))

    def _unreadable(self, delivery: Delivery) -> None:
        """For good, or as long as the registry does not give its schema."""
        defect = delivery.defect or UndecodableError("it can't be read")
        match defect:
            case SchemaPendingError(asked=True):
                kind = FaultClass.SCHEMA
            case SchemaPendingError() | RegistryUnavailableError():
                kind = FaultClass.REGISTRY
            case _:
                kind = FaultClass.UNDECODABLE
        self._fate.fail(delivery, kind, self._case.fault(delivery, defect))

    def _refuse(self, delivery: Delivery, stranger: Delivery) -> None:
        """A record of the retry topic that is no letter of ours: it becomes one, and whoever sent it is told."""
        if self._case.is_handled(stranger):
            self._draft.duplicates.append(stranger)
            return
        self._unreadable(stranger)
        row = replace(self._queue.row_of(stranger), letter_id=delivery.letter_id, replay=delivery.replay)
        self._case.tell(row, State.FAILED_AGAIN, "failed_again", str(stranger.defect))

    def _is_known_letter(self, delivery: Delivery) -> bool:
        """Whether it waits already, or a replay brings a letter that was resolved."""
        row = None if delivery.waiting is not None else self._queue.find(delivery.letter_id)
        if row is None or row.status is Status.DEAD:
            return False
        if row.status is Status.RESOLVED and delivery.replay.id:
            self._case.tell(replace(row, replay=delivery.replay), State.RESOLVED, "duplicate", "it was handled already")
        return True

    def _decide(self, delivery: Delivery) -> None:
        try:
            self._apply(delivery, self._decision(delivery))
        except RegistryUnavailableError:
            raise
        except UnsafeError as error:
            self._fate.fail(delivery, FaultClass.UNSAFE, self._case.fault(delivery, error))
        # a decision that breaks is tried again in case that what it met passes; its neighbours go on
        except Exception as error:
            log.exception("a decision broke", event_type=delivery.event_type, checkout=delivery.key)
            self._fate.fail(delivery, FaultClass.BUG, self._case.fault(delivery, error))

    def _decision(self, delivery: Delivery) -> Decision[Any]:
        """With the provider's answer, where there is one; told that it can't be asked, where its gate is shut."""
        if isinstance(delivery.answer, Exception):
            raise delivery.answer
        answer = () if delivery.answer is None else (delivery.answer,)
        decision = self._case.ask(delivery, *answer)
        delivery.call = decision.call or delivery.call
        if decision.call is None or self._case.desk.gates[decision.call.operation].admit():
            return decision
        delivery.answer = NotAsked()
        decision = self._case.ask(delivery, delivery.answer)
        if decision.call is not None:
            raise TypeError(f"{delivery.event_type}: a decision asks for a call that can't be made now")
        return decision

    def _apply(self, delivery: Delivery, decision: Decision[Any]) -> None:
        if decision.refusal is not None:
            fault = self._case.refusal(delivery, "Refused", decision.refusal)
            self._fate.fail(delivery, FaultClass.REFUSED, fault)
        elif decision.early is not None:
            self._fate.fail(delivery, FaultClass.EARLY, self._case.refusal(delivery, "TooEarly", decision.early))
        elif decision.waits is not None:
            self._fate.wait(delivery, decision)
        elif decision.call is not None:
            self._call(delivery, decision)
        else:
            self._handle(delivery, decision)

    def _call(self, delivery: Delivery, decision: Decision[Any]) -> None:
        """The intent is committed with the batch, the call is made after it."""
        try:
            self._case.write(delivery, decision)
        except Exception:
            self._case.desk.gates[decision.call.operation].leave()
            raise
        self._draft.calls.append((delivery, decision.call))
        self._draft.held.add(delivery.key)

    def _handle(self, delivery: Delivery, decision: Decision[Any]) -> None:
        # only a replay's outcome tells of it
        changed = bool(delivery.replay.id) and self._changes(delivery, decision)
        self._case.write(delivery, decision)
        self._draft.done.append(delivery)
        if delivery.place is not None:
            self._draft.fine.setdefault(delivery.place[:2], []).append(delivery.place[2])
        if delivery.replay.id:
            self._tell(delivery, decision, changed=changed)
        self._queue.resolve(delivery)
        self._queue.wake_early(delivery.key, self._case.now)
        self._fate.bury_compensated(delivery.key)

    def _changes(self, delivery: Delivery, decision: Decision[Any]) -> bool:
        return bool(decision.events) or decision.state != self._case.state(delivery.key)

    def _tell(self, delivery: Delivery, decision: Decision[Any], *, changed: bool) -> None:
        """What became of a replay, in the ledger and in its row, which a second replay will meet."""
        row = self._queue.row_of(delivery)
        if decision.late is not None:
            self._case.tell(row, State.TOO_LATE, "too_late", decision.late)
        else:
            self._case.tell(row, State.RESOLVED, "handled" if changed else "duplicate", "")
        self._queue.put(row)
