"""The batch: many messages, one transaction, a fixed number of statements.

Read `Batch._attempt` for the life of a message: known? load, decide, write, commit. Provider calls come after, outside.
"""

from collections.abc import Callable, Sequence
from datetime import datetime
from typing import Final

import structlog
from psycopg2 import errorcodes
from sqlalchemy import Engine
from sqlalchemy.exc import DBAPIError

import outbox
from dlq.letter import Disposition
from outbox import inbox
from outbox.inbox import HandledElsewhereError
from outbox.relay import Probe, no_probe
from schemas.codec import RegistryUnavailableError
from services.shell import trail
from services.shell.delivery import Delivery
from services.shell.draft import Draft, Scribe, unseen
from services.shell.service import Service, World

_AGAIN: Final = {
    errorcodes.SERIALIZATION_FAILURE,
    errorcodes.DEADLOCK_DETECTED,
    errorcodes.LOCK_NOT_AVAILABLE,
}
_DATA: Final = ("22", "23")
"""Classes of SQLSTATE that are about the values of a row: data exception, constraint violation."""

log = structlog.get_logger("shell.batch")


class DatabaseUnavailableError(Exception):
    """The database can't take anything now. Nobody's message's fault: nothing moves until it is back."""


class Batch:
    """Settles batches of deliveries for one service.

    clock: the time now, UTC. probe: see `outbox.relay.Probe`.
    """

    def __init__(
        self,
        service: Service,
        engine: Engine,
        scribe: Scribe,
        clock: Callable[[], datetime],
        probe: Probe = no_probe,
    ) -> None:
        self._service = service
        self._engine = engine
        self._scribe = scribe
        self._clock = clock
        self._probe = probe

    def settle(self, deliveries: Sequence[Delivery]) -> Draft:
        """Handle `deliveries` in one transaction; what can't be written because of one of them is split from it.

        Returns what is done, postponed (its key waits for a call) and the calls to make.
        Raises DatabaseUnavailableError, RegistryUnavailableError: nothing was done, ask again later.
        """
        while True:
            try:
                return self._attempt(deliveries)
            except HandledElsewhereError as race:
                log.info("looking again", reason=str(race))
            except DBAPIError as error:
                if not _retry_at_once(error):
                    return self._isolate(deliveries, str(error.orig).strip())
            # psycopg2 refuses a NUL in a string before the server sees it
            except ValueError as error:
                return self._isolate(deliveries, str(error))

    def _attempt(self, deliveries: Sequence[Delivery]) -> Draft:
        draft, now = Draft(), self._clock()
        self._probe("before_transaction")
        with self._engine.begin() as db:
            handled = inbox.seen(db, self._scribe.group, [d.seen for d in deliveries if d.origin is not None])
            fresh, duplicates = unseen(deliveries, handled)
            world = self._service.load(db, [d.event for d in fresh if d.event is not None])
            for delivery in fresh:
                self._decide(world, delivery, draft, now)
            world.save(db)
            trail.add(db, draft.steps)
            outbox.add(db, *draft.records)
            inbox.add(db, self._scribe.group, [d.seen for d in draft.inbox_ids()])
            self._probe("before_commit")
        self._probe("after_commit")
        draft.duplicates = len(duplicates)
        draft.done += duplicates
        return draft

    def _decide(self, world: World, delivery: Delivery, draft: Draft, now: datetime) -> None:
        if delivery.key in draft.held:
            draft.postponed.append(delivery)
            return
        if delivery.event is None:
            self._give_up(delivery, Disposition.UNDECODABLE, "Undecodable", delivery.defect or "", draft, now)
            return
        try:
            self._apply(world, delivery, draft, now)
        except RegistryUnavailableError:
            raise
        # a decision that breaks would break again: the message is set aside, its neighbours go on
        except Exception as error:
            log.exception("a decision broke", event_type=delivery.event.TYPE, checkout=delivery.key)
            self._give_up(delivery, Disposition.FATAL, type(error).__name__, str(error), draft, now)

    def _apply(self, world: World, delivery: Delivery, draft: Draft, now: datetime) -> None:
        event = delivery.event
        if event is None:
            raise ValueError("an unreadable message has no decision")
        handler, view = self._service.handlers[event.TYPE], world.view(event)
        answer = () if delivery.answer is None else (delivery.answer,)
        decision = handler(view, event, now, *answer)
        if decision.refusal is not None:
            self._give_up(delivery, Disposition.FATAL, "Refused", decision.refusal, draft, now)
            return
        self._service.check_answer(event.TYPE, decision.events)
        records = [self._scribe.event(said, delivery, now) for said in decision.events]
        old = world.current(delivery.key)
        if decision.state is not None and decision.state != old:
            world.keep(decision.state)
        draft.trace(old, decision, delivery, now)
        draft.records += records
        if decision.call is None:
            draft.done.append(delivery)
        else:
            draft.calls.append((delivery, decision.call))
            draft.held.add(delivery.key)

    def _give_up(
        self, delivery: Delivery, why: Disposition, error: str, message: str, draft: Draft, now: datetime
    ) -> None:
        draft.done.append(delivery)
        if delivery.origin is None:
            # nothing was consumed, so nothing is lost: the timer fires again
            log.error("a timer could not be decided", reason=message, error=error, key=delivery.key)
            return
        log.error("dead letter", reason=message, disposition=why.value, error=error, key=delivery.key)
        draft.records.append(self._scribe.letter(delivery, why, error, message, now))
        draft.dead += 1

    def _isolate(self, deliveries: Sequence[Delivery], reason: str) -> Draft:
        """Halve until the message that can't be written stands alone; that one is a dead letter."""
        if len(deliveries) == 1:
            return self._bury(deliveries[0], reason)
        half = len(deliveries) // 2
        first = self.settle(deliveries[:half])
        # a key whose call is out now must not be decided on in the second half
        rest = [d for d in deliveries[half:] if d.key not in first.held]
        first.postponed += [d for d in deliveries[half:] if d.key in first.held]
        return _joined(first, self.settle(rest)) if rest else first

    def _bury(self, delivery: Delivery, reason: str) -> Draft:
        draft, now = Draft(), self._clock()
        self._give_up(delivery, Disposition.FATAL, "NotStorable", reason, draft, now)
        with self._engine.begin() as db:
            outbox.add(db, *draft.records)
            inbox.add(db, self._scribe.group, [d.seen for d in draft.inbox_ids()])
        return draft


def _retry_at_once(error: DBAPIError) -> bool:
    """True: a race, look again. False: a row's fault. Raises DatabaseUnavailableError for everything else."""
    code: str | None = getattr(error.orig, "pgcode", None)
    if code in _AGAIN:
        return True
    if code is not None and code.startswith(_DATA) and not error.connection_invalidated:
        return False
    raise DatabaseUnavailableError(str(error.orig).strip()) from error


def _joined(first: Draft, second: Draft) -> Draft:
    first.done += second.done
    first.calls += second.calls
    first.postponed += second.postponed
    first.held |= second.held
    first.duplicates += second.duplicates
    first.dead += second.dead
    first.steps += second.steps
    first.records += second.records
    return first
