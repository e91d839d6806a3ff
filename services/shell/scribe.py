"""Turns what was decided into outbox records: events, dead letters, ledger entries."""

from dataclasses import dataclass
from datetime import datetime
from importlib.metadata import version
from typing import Final

from uuid_utils.compat import uuid7

from dlq import letter as dead_letter
from dlq.kept import Cut
from dlq.ledger import Entry, State, moment
from dlq.letter import Disposition, Letter
from outbox.add import Record
from schemas.choreography import LEDGER_TOPIC
from schemas.codec import Codec
from schemas.envelope import Envelope, Header, event_headers, text_of, trace_headers
from schemas.events import Event
from schemas.trace import TraceContext
from services.shell.delivery import Delivery
from services.shell.waiting import Waiting

VERSION: Final = version("checkout-choreography")


@dataclass(frozen=True, slots=True)
class Scribe:
    """source: the service's name. group: its consumer group. baggage: names that are handed on."""

    codec: Codec
    source: str
    group: str
    topic_prefix: str = ""
    baggage: frozenset[str] = frozenset()

    def event(self, event: Event, cause: Delivery, at: datetime) -> Record:
        """An event as it will be published. Raises RegistryUnavailableError."""
        envelope = Envelope(event, uuid7(), at)
        return Record(
            topic=self.topic_prefix + event.TYPE,
            key=event.checkout_id,
            payload=self.codec.encode(envelope),
            type=event.TYPE,
            aggregatetype="checkout",
            headers=event_headers(envelope, self.source, text_of(cause.event_id), self._trace(cause)),
            id=envelope.event_id,
        )

    def letter(
        self,
        row: Waiting,
        disposition: Disposition,
        handler: str,
        at: datetime,
        *,
        compensated: bool = False,
        cut: Cut | None = None,
    ) -> Record:
        """A message that is given up, as a dead letter. compensated: what it should have done was undone instead."""
        letter = Letter(
            id=row.letter_id,
            event_id=row.event_id,
            lane=row.lane,
            service=self.source,
            group=self.group,
            handler=handler,
            handler_version=VERSION,
            disposition=disposition,
            fault=row.fault,
            attempts=row.attempts,
            timeouts=row.timeouts,
            first_failed_at=row.first_failed_at or at,
            failed_at=row.last_failed_at or at,
            origin=row.origin,
            operation=row.operation,
            compensation=dead_letter.COMPENSATED if compensated else dead_letter.NOT_COMPENSATED,
            replay=row.replay,
            cut=cut,
        )
        return dead_letter.record(letter, self.topic_prefix)

    def outcome(self, row: Waiting, state: State, outcome: str, why: str, at: datetime) -> Record:
        """What became of a replay, for the ledger: written in the transaction that handled it."""
        entry = Entry(
            service=self.source,
            letter=row.letter_id,
            state=state,
            at=moment(at),
            by=self.source,
            why=why,
            replay_id=row.replay.id,
            replay_count=row.replay.count,
            outcome=outcome,
            fingerprint=row.fault.fingerprint,
        )
        return Record(
            topic=self.topic_prefix + LEDGER_TOPIC,
            key=entry.key,
            payload=entry.value(),
            type="dlq.ledger",
            aggregatetype="dead_letter",
        )

    def _trace(self, cause: Delivery) -> list[Header]:
        """The trace to go on with. A replay starts a new one, and names the one in which its letter failed."""
        if not cause.replay.id:
            return trace_headers(cause.headers, cause.span, self.baggage)
        original = TraceContext.of(cause.headers)
        return trace_headers([], cause.span) + ([("linked_traceparent", original.traceparent)] if original else [])
