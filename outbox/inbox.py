"""The inbox: which events were handled, written in the transaction that handled them.

Old days leave by dropping their partition. An event that comes again after that is refused by the state it
finds, which is why every decision must also hold without the inbox.

An entry keeps a digest of its message's content beside the identity: a copy is dropped, another message under the same
identity is not a copy.
"""

from collections.abc import Iterable, Sequence
from datetime import date
from typing import Final, NamedTuple
from uuid import UUID

from psycopg2.errorcodes import UNIQUE_VIOLATION
from sqlalchemy import Connection, text
from sqlalchemy.exc import IntegrityError

from outbox.bulk import array
from outbox.copying import BulkCopy

KEEP_DAYS: Final = 30
AHEAD_DAYS: Final = 7

_SEEN = text(
    "SELECT event_id, content FROM inbox WHERE consumer = :consumer AND (event_id, occurred_on) IN"
    " (SELECT * FROM unnest(CAST(:ids AS uuid[]), CAST(:days AS date[])))"
)
# `outbox.ddl.INBOX_V3` says what it does
_MAINTAIN: Final = text("SELECT inbox_maintain(:today, :keep_days, :ahead_days)")
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
    db.execute(_MAINTAIN, {"today": today, "keep_days": keep_days, "ahead_days": AHEAD_DAYS})
