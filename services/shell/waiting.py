"""The retry table: messages that failed and are tried again, and those that wait behind them.

A row holds the message as it lay in Kafka. Rows of one lane are handled in their order: a row without a time of its own
waits behind another one. `early` rows wait for another event of their lane, so they hold nobody up.
`failed_compensation` shows what an operator has to know of captures, voids, refunds and releases.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime
from enum import StrEnum
from types import SimpleNamespace
from typing import Any, Final
from uuid import UUID

from dlq.letter import NO_FAULT, NO_REPLAY, Fault, Replay
from outbox.add import dump_headers, load_headers
from schemas.kafka.record import KafkaRecord

COMPENSATIONS: Final = ("void", "refund", "release")
"""What undoes something: never given up quietly."""
SHOWN: Final = ("capture", *COMPENSATIONS)

NEW: Final = 2**62


class Status(StrEnum):
    """compensating: given up, and its letter follows once everything was let go."""

    PENDING = "pending"
    COMPENSATING = "compensating"
    RESOLVED = "resolved"
    DEAD = "dead"


@dataclass(frozen=True, slots=True, kw_only=True)
class Waiting:
    """One row. seq is above `NEW` before the row is written; disposition is "" until it is given up.

    operation: what it makes the service do, for operators; gate: the provider operation that it waits for.
    since: the first failure since it came from Kafka or from a replay; first_failed_at is the first one of all.
    digest: of the letter's key and value, once it is one.
    """

    letter_id: str
    event_id: UUID
    lane: str
    event_type: str
    origin: KafkaRecord
    status: Status = Status.PENDING
    seq: int = NEW
    operation: str = ""
    gate: str = ""
    early: bool = False
    attempts: int = 0
    timeouts: int = 0
    fault: Fault = NO_FAULT
    disposition: str = ""
    first_failed_at: datetime | None = None
    since: datetime | None = None
    last_failed_at: datetime | None = None
    next_attempt_at: datetime | None = None
    deadline_at: datetime | None = None
    claimed_by: UUID | None = None
    replay: Replay = NO_REPLAY
    digest: str = ""

    @property
    def holds_up(self) -> bool:
        """Whether later messages of its lane wait for it."""
        return self.status is Status.PENDING and not self.early

    @property
    def order(self) -> tuple[bool, int]:
        """Its place in its lane. A replay goes first: what waits came after the letter had been given up."""
        return not self.replay.id, self.seq


COLUMNS: Final = {
    "letter_id": "uuid",
    "event_id": "uuid",
    "lane": "text",
    "event_type": "text",
    "operation": "text",
    "gate": "text",
    "status": "text",
    "early": "boolean",
    "attempts": "integer",
    "timeouts": "integer",
    "error_class": "text",
    "error_message": "text",
    "error_stack": "text",
    "fingerprint": "text",
    "disposition": "text",
    "first_failed_at": "timestamptz",
    "since": "timestamptz",
    "last_failed_at": "timestamptz",
    "next_attempt_at": "timestamptz",
    "deadline_at": "timestamptz",
    "topic": "text",
    "at_partition": "integer",
    "at_offset": "bigint",
    "at_time": "timestamptz",
    "key": "bytea",
    "value": "bytea",
    "headers": "jsonb",
    "replay_id": "text",
    "replay_count": "integer",
    "edit_of": "text",
    "edit_root": "text",
    "digest": "text",
}
"""What is written; whoever writes a row gives up its claim on it."""
_NAMES: Final = (*COLUMNS, "seq", "claimed_by")
READ: Final = ", ".join(_NAMES)
"""What `waiting_from` needs of a row."""


def values_of(row: Waiting) -> tuple[Any, ...]:
    """A row's values in the order of `COLUMNS`. What is dead lies in Kafka: its bytes aren't kept twice."""
    fault, origin, over = row.fault, row.origin, row.status in (Status.DEAD, Status.RESOLVED)
    return (
        row.letter_id,
        str(row.event_id),
        row.lane,
        row.event_type,
        row.operation,
        row.gate,
        row.status.value,
        row.early,
        row.attempts,
        row.timeouts,
        _storable(fault.error_class),
        _storable(fault.message),
        _storable(fault.stack),
        fault.fingerprint,
        row.disposition,
        row.first_failed_at,
        row.since,
        row.last_failed_at,
        row.next_attempt_at,
        row.deadline_at,
        origin.topic,
        origin.partition,
        origin.offset,
        origin.timestamp,
        origin.key,
        None if over else origin.value,
        "[]" if over else dump_headers(origin.headers),
        row.replay.id,
        row.replay.count,
        row.replay.edit_of,
        row.replay.edit_root,
        row.digest,
    )


def waiting_from(values: Sequence[Any]) -> Waiting:
    """A row of `READ`."""
    row: Any = SimpleNamespace(**dict(zip(_NAMES, values, strict=True)))
    names = ("lane", "event_type", "seq", "operation", "gate", "early", "attempts", "timeouts", "disposition")
    times = ("first_failed_at", "since", "last_failed_at", "next_attempt_at", "deadline_at", "claimed_by")
    return Waiting(
        letter_id=str(row.letter_id),
        event_id=row.event_id,
        origin=_origin(row),
        status=Status(row.status),
        fault=Fault(row.error_class, row.error_message, row.error_stack, row.fingerprint),
        replay=Replay(row.replay_id, row.replay_count, row.edit_of, row.edit_root),
        digest=row.digest,
        **{name: getattr(row, name) for name in (*names, *times)},
    )


def _origin(row: Any) -> KafkaRecord:
    return KafkaRecord(
        topic=row.topic,
        partition=row.at_partition,
        offset=row.at_offset,
        timestamp=row.at_time,
        key=None if row.key is None else bytes(row.key),
        value=None if row.value is None else bytes(row.value),
        headers=[(name, _bytes(value)) for name, value in load_headers(row.headers)],
    )


def _bytes(value: str | bytes | None) -> bytes | None:
    return value.encode() if isinstance(value, str) else value


def _storable(text: str) -> str:
    """Postgres' text has no NUL."""
    return text.replace("\0", "\\0")
