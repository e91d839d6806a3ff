"""A service's batches on its real database without its process: what full batches cost, whatever the machine."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any, Final, Self
from uuid import uuid4

from psycopg2 import Error
from psycopg2.extensions import cursor
from sqlalchemy import Engine, event, text
from uuid_utils.compat import uuid7

from compose.settings import Servers
from schemas.codec import Codec
from schemas.envelope import Envelope, event_headers, trace_headers
from schemas.events import Event
from schemas.kafka.record import KafkaRecord
from services.shell.batch import Batch
from services.shell.calls import LOOKUP
from services.shell.case import Desk
from services.shell.delivery import Delivery
from services.shell.draft import Draft
from services.shell.engine import make_engine
from services.shell.flood import Flood
from services.shell.gate import Gate, Gates
from services.shell.scribe import Scribe
from services.shell.service import Service
from services.shell.settings import Settings, policy

_UNCOUNTED: Final = ("PREPARE", "BEGIN", "COMMIT", "ROLLBACK")


@dataclass(slots=True)
class Cost:
    """What the database was asked for, and what it wrote ahead."""

    statements: int = 0
    transactions: int = 0
    wal_bytes: int = 0

    def __add__(self, other: Self) -> Self:
        """Both."""
        return type(self)(
            self.statements + other.statements,
            self.transactions + other.transactions,
            self.wal_bytes + other.wal_bytes,
        )


def count_statements(engine: Engine, cost: Cost) -> None:
    """Count what goes over the engine's future connections; COPY goes past SQLAlchemy, so the driver counts."""

    def seen(sent: str) -> None:
        cost.statements += statements_in(sent)
        cost.transactions += sent.endswith("COMMIT")

    watch(engine, seen)


def watch(engine: Engine, seen: Callable[[str], None]) -> None:
    """Call `seen` with everything that is sent over the engine's future connections, a round trip at a time.

    Of what failed it hears all but the COMMIT at its end.
    """

    class Watching(cursor):
        def execute(self, *arguments: Any) -> None:
            sent = arguments[0] if isinstance(arguments[0], str) else arguments[0].decode()
            try:
                super().execute(*arguments)
            except Error:
                seen(sent.removesuffix("COMMIT"))
                raise
            seen(sent)

        def copy_expert(self, *arguments: Any) -> None:
            seen(arguments[0])
            super().copy_expert(*arguments)

    def connected(driver: Any, _record: Any) -> None:
        driver.cursor_factory = Watching

    event.listen(engine, "connect", connected)


def statements_in(sent: str) -> int:
    """How many statements are sent together. Plans, made once in a session, and a transaction's frame don't count."""
    return sent.count("EXECUTE ") or int(not sent.startswith(_UNCOUNTED))


class Batches:
    """One service."""

    def __init__(self, service: Service, settings: Settings, servers: Servers, codec: Codec) -> None:
        prefix = servers.topic_prefix
        self.cost = Cost()
        self.engine = make_engine(servers.database_url(service.name), service.name)
        count_statements(self.engine, self.cost)
        self._codec, self._prefix, self._offset = codec, prefix, 0
        self._gates = Gates(Gate(name, 1, 3600.0, 100_000) for name in (*service.operations, LOOKUP))
        scribe = Scribe(codec, service.name, prefix + service.name, prefix)
        desk = Desk(service, scribe, policy(settings), self._gates, Flood(0, 1), uuid4())
        self._batch = Batch(self.engine, desk, lambda: datetime.now(UTC))

    def settle(self, events: Sequence[Event], answer: Callable[[Any], object] | None = None) -> Cost:
        """One batch; where it asks the provider, another one with the answers. What they cost."""
        before = Cost(self.cost.statements, self.cost.transactions)
        began = self._wal()
        draft = self._settle([self._delivery(event) for event in events])
        if answer is not None:
            for delivery, call in draft.calls:
                delivery.answer = answer(call)
            self._settle([delivery for delivery, _ in draft.calls])
        # the two questions about the WAL are ours
        statements = self.cost.statements - before.statements - 1
        return Cost(statements, self.cost.transactions - before.transactions, self._wal() - began)

    def close(self) -> None:
        """Give the connections back."""
        self.engine.dispose()

    def _settle(self, deliveries: Sequence[Delivery]) -> Draft:
        draft = self._batch.settle(deliveries)
        for _, call in draft.calls:
            self._gates[call.operation].leave()
        return draft

    def _delivery(self, heard: Event) -> Delivery:
        now = datetime.now(UTC)
        envelope = Envelope(heard, uuid7(), now)
        self._offset += 1
        origin = KafkaRecord(
            topic=self._prefix + heard.TYPE,
            partition=0,
            offset=self._offset,
            timestamp=now,
            key=heard.checkout_id.encode(),
            value=self._codec.encode(envelope),
            headers=event_headers(envelope, "bench", envelope.event_id, trace_headers([])),
        )
        place = (origin.topic, origin.partition, origin.offset)
        identity = str(envelope.event_id)
        return Delivery(heard.checkout_id, heard, envelope.event_id, now, origin, place, letter_id=identity)

    def _wal(self) -> int:
        with self.engine.connect() as db:
            found = db.execute(text("SELECT pg_current_wal_insert_lsn() - '0/0'")).scalar_one()
        return int(found)
