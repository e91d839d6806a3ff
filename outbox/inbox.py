"""The inbox: which events were handled, written in the transaction that handled them.

Old days leave by dropping their partition. An event that comes again after that is refused by the state it
finds, which is why every decision must also hold without the inbox.

An entry keeps a digest of its message's content beside the identity: a copy is dropped, another message under the same
identity is not a copy.
"""

from collections.abc import Iterable, Sequence
from datetime import date, timedelta
from typing import Final, NamedTuple
from uuid import UUID

from psycopg2.errorcodes import UNIQUE_VIOLATION
from sqlalchemy import Connection, text
from sqlalchemy.exc import IntegrityError

from outbox.bulk import array
from outbox.copying import BulkCopy

KEEP_DAYS: Final = 30
AHEAD_DAYS: Final = 7
_MAINTENANCE_LOCK: Final = 0x6F7576

_SEEN = text(
    "SELECT event_id, content FROM inbox WHERE consumer = :consumer AND (event_id, occurred_on) IN"
    " (SELECT * FROM unnest(CAST(:ids AS uuid[]), CAST(:days AS date[])))"
)
_COPY: Final = BulkCopy("inbox", {"event_id": "uuid", "occurred_on": "date", "content": "bigint", "consumer": "text"})


class HandledElsewhereError(Exception):
    """One of these events was handled before, by whoever: roll back and look again."""


class Seen(NamedTuple):
    """The identity of a delivery, the day it says it occurred, and a digest of its content (64 bits, signed)."""

    event_id: UUID
    occurred_on: date
    content: int = 0


def seen(db: Connection, consumer: str, deliveries: Sequence[Seen]) -> dict[UUID, int | None]:
    """The identities among `deliveries` that `consumer` has handled, and their contents; one statement.

    None: handled before contents were kept.
    """
    if not deliveries:
        return {}
    ids, days = array("uuid", [d.event_id for d in deliveries]), array("date", [d.occurred_on for d in deliveries])
    found = db.execute(_SEEN, {"consumer": consumer, "ids": ids, "days": days})
    return {UUID(str(event_id)): content for event_id, content in found}


def add(db: Connection, consumer: str, deliveries: Iterable[Seen]) -> None:
    """Remember `deliveries` as handled. One statement.

    Raises HandledElsewhereError when one was there already: the transaction is lost then.
    """
    rows = [(*delivery, consumer) for delivery in sorted(deliveries)]
    try:
        _COPY.run(db, rows)
    except IntegrityError as error:
        if getattr(error.orig, "pgcode", "") != UNIQUE_VIOLATION:
            raise
        raise HandledElsewhereError(f"{consumer}: an event of this batch was handled before") from error


def maintain(db: Connection, today: date, keep_days: int = KEEP_DAYS) -> None:
    """Make the partitions of the coming days, drop those older than `keep_days`. Any copy may call it, any time."""
    if not db.execute(text("SELECT pg_try_advisory_xact_lock(:key)"), {"key": _MAINTENANCE_LOCK}).scalar_one():
        return
    db.execute(text("SET LOCAL lock_timeout = '2s'"))  # DROP waits for readers; handlers must not wait for DROP
    have = _partitions(db)
    for day in (today + timedelta(days=n) for n in range(-1, AHEAD_DAYS + 1)):
        if _name(day) not in have:
            _create(db, day)
    oldest = _name(today - timedelta(days=keep_days))
    for name in have:
        if name.startswith("inbox_2") and name < oldest:
            db.execute(text(f"DROP TABLE {name}"))


def _partitions(db: Connection) -> set[str]:
    found = db.execute(text("SELECT inhrelid::regclass::text FROM pg_inherits WHERE inhparent = 'inbox'::regclass"))
    return set(found.scalars())


def _create(db: Connection, day: date) -> None:
    """A partition for `day`, with the rows that a publisher with a fast clock has already put elsewhere."""
    moved = db.execute(
        text("DELETE FROM inbox_other_days WHERE occurred_on = :day RETURNING event_id, content, consumer"),
        {"day": day},
    ).all()
    upper = day + timedelta(days=1)
    db.execute(text(f"CREATE TABLE {_name(day)} PARTITION OF inbox FOR VALUES FROM ('{day}') TO ('{upper}')"))
    _COPY.run(db, [(row.event_id, day, row.content, row.consumer) for row in moved])


def _name(day: date) -> str:
    return f"inbox_{day:%Y%m%d}"
