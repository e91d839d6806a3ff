"""The batch: many messages, one transaction, a fixed number of statements.

Read `Batch._attempt` for the life of a batch: known? load, decide, write, commit. Provider calls come after, outside.
`services/shell/verdict.py` tells the life of a single message in it.
"""

from collections.abc import Callable, Sequence
from datetime import datetime
from typing import Final
from uuid import UUID

import structlog
from psycopg2 import errorcodes
from sqlalchemy import Connection, Engine
from sqlalchemy.exc import DBAPIError

import outbox
from outbox import inbox
from outbox.inbox import HandledElsewhereError
from outbox.prepared import transaction
from outbox.relay import Probe, no_probe
from services.shell import queue, trail
from services.shell.case import Case, Desk
from services.shell.database import words_of
from services.shell.delivery import Delivery, refused_as
from services.shell.draft import Draft, unseen
from services.shell.service import World
from services.shell.verdict import Verdict

_AGAIN: Final = {
    errorcodes.SERIALIZATION_FAILURE,
    errorcodes.DEADLOCK_DETECTED,
    errorcodes.LOCK_NOT_AVAILABLE,
}
_DATA: Final = ("22", "23", "P0")
"""Classes of SQLSTATE that are about a row: data exception, constraint violation, refused by a trigger."""

log = structlog.get_logger("shell.batch")


class DatabaseUnavailableError(Exception):
    """The database can't take anything now. Nobody's message's fault: nothing moves until it is back."""


class NotStorableError(Exception):
    """A message, or what was decided about it, can't be written."""


class Batch:
    """Settles batches of deliveries for one service.

    desk: what a verdict needs besides the batch. clock: the time now, UTC. probe: see `outbox.relay.Probe`.
    """

    def __init__(self, engine: Engine, desk: Desk, clock: Callable[[], datetime], probe: Probe = no_probe) -> None:
        self._service = desk.service
        self._engine = engine
        self._desk = desk
        self._clock = clock
        self._probe = probe
        self._doubtful = False

    def settle(self, deliveries: Sequence[Delivery]) -> Draft:
        """Handle `deliveries` in one transaction; what can't be written because of one of them is split from it.

        Returns what is done, postponed (its key waits for a call) and the calls to make.
        Messages are taken for new, with nothing waiting before them: inbox and retry table refuse a batch for which
        that isn't so, and only then are they asked. Redeliveries and failures are rare and come together, so after a
        batch that had some they are asked first.
        Raises DatabaseUnavailableError, RegistryUnavailableError: nothing was done, ask again later.
        """
        return self._settle(deliveries, doubtful=self._doubtful)

    def _settle(self, deliveries: Sequence[Delivery], *, doubtful: bool) -> Draft:
        while True:
            draft = Draft()
            try:
                self._attempt(deliveries, draft, doubtful=doubtful)
            except HandledElsewhereError as race:
                self._take_back(draft)
                log.info("looking again", reason=str(race))
                doubtful = True
            except (DBAPIError, ValueError) as error:
                self._take_back(draft)
                again = isinstance(error, DBAPIError) and (_is_beaten(error) or _retry_at_once(error))
                if doubtful and not again:
                    return self._isolate(deliveries, words_of(error))
                doubtful = True
            except BaseException:
                self._take_back(draft)
                raise
            else:
                return draft

    def _attempt(self, deliveries: Sequence[Delivery], draft: Draft, *, doubtful: bool) -> None:
        now = self._clock()
        self._probe("before_transaction")
        with transaction(self._engine) as db:
            handled = self._handled(db, deliveries) if doubtful else {}
            fresh, duplicates = unseen(deliveries, handled)
            waiting = queue.load(db, fresh, self._desk.me, look=doubtful)
            world = self._service.load(db, [d.event for d in fresh if d.event is not None])
            if self._desk.tracing:
                self._desk.tracing.begin(fresh)
            verdict = Verdict(Case(self._desk, world, waiting, draft, now, handled))
            for delivery in fresh:
                self._desk.mark(delivery.place)
                verdict.on(delivery)
            self._desk.mark(None)
            duplicates += draft.duplicates
            self._save(db, draft, waiting, world, now)
            self._probe("before_commit")
        self._probe("after_commit")
        self._doubtful = bool(duplicates) or not waiting.is_empty
        for partition, offsets in draft.fine.items():
            self._desk.flood.fine(partition, offsets)
        if self._desk.tracing:
            self._desk.tracing.settled(draft)
        draft.duplicates = duplicates

    def _save(self, db: Connection, draft: Draft, waiting: queue.Queue, world: World | None, now: datetime) -> None:
        """Write what was decided."""
        trail.add(db, draft.steps)
        outbox.add(db, *draft.records)
        inbox.add(db, self._desk.scribe.group, [d.seen for d in draft.inbox_ids()])
        waiting.save(db, now)
        if world is not None:
            world.save(db)

    def _handled(self, db: Connection, deliveries: Sequence[Delivery]) -> dict[UUID, int | None]:
        """What of it the inbox has, also as messages that were refused for what they claim to be."""
        taken = [d for d in deliveries if d.place is not None]
        asked = [d.seen for d in taken] + [seen for d in taken for seen in refused_as(d)]
        return inbox.seen(db, self._desk.scribe.group, asked)

    def _isolate(self, deliveries: Sequence[Delivery], reason: str) -> Draft:
        """Halve until the message that can't be written stands alone; that one is set aside."""
        if len(deliveries) == 1:
            return self._set_aside(deliveries[0], reason)
        half = len(deliveries) // 2
        first = self._settle(deliveries[:half], doubtful=True)
        # a key whose call is out now must not be decided on in the second half
        rest = [d for d in deliveries[half:] if d.key not in first.held]
        first.postponed += [d for d in deliveries[half:] if d.key in first.held]
        try:
            if rest:
                first.join(self._settle(rest, doubtful=True))
        except BaseException:
            # the first half is committed, and its messages come again
            self._take_back(first)
            raise
        return first

    def _set_aside(self, delivery: Delivery, reason: str) -> Draft:
        """A message whose handling can't be written: tried again later, or given up.

        That it is given up can be announced, unless that can't be written either.
        """
        try:
            return self._write_fate(delivery, reason, announce=True)
        except (DBAPIError, ValueError) as error:
            if isinstance(error, DBAPIError) and _retry_at_once(error):
                return self._set_aside(delivery, reason)
            log.warning("it can't be announced", key=delivery.key, reason=words_of(error))
            return self._write_fate(delivery, reason, announce=False)

    def _write_fate(self, delivery: Delivery, reason: str, *, announce: bool) -> Draft:
        draft, now = Draft(), self._clock()
        with transaction(self._engine) as db:
            waiting = queue.load(db, [delivery], self._desk.me, look=True)
            known = [delivery.event] if delivery.event is not None and announce else []
            world = self._service.load(db, known) if known else None
            case = Case(self._desk, world, waiting, draft, now)
            Verdict(case).not_storable(delivery, NotStorableError(reason))
            self._save(db, draft, waiting, world, now)
        return draft

    def _take_back(self, draft: Draft) -> None:
        """Calls that were admitted and will not be made: their decisions were rolled back."""
        for _, call in draft.calls:
            self._desk.gates[call.operation].leave()


def _is_beaten(error: DBAPIError) -> bool:
    """Whether a key is there already: of an event that was handled before, or of a state that somebody just made."""
    constraint: str = getattr(getattr(error.orig, "diag", None), "constraint_name", None) or ""
    return getattr(error.orig, "pgcode", None) == errorcodes.UNIQUE_VIOLATION and constraint.endswith("_pkey")


def _retry_at_once(error: DBAPIError) -> bool:
    """True: a race, look again. False: a row's fault. Raises DatabaseUnavailableError for everything else."""
    code: str | None = getattr(error.orig, "pgcode", None)
    if code in _AGAIN:
        return True
    if code is not None and code.startswith(_DATA) and not error.connection_invalidated:
        return False
    raise DatabaseUnavailableError(words_of(error)) from error
