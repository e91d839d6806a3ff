"""The audit trail: every change of every checkout's state, written in the transaction that changed it."""

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Final
from uuid import UUID

from sqlalchemy import Connection

from outbox.bulk import BulkInsert

TRAIL_V1: Final = (
    """
    CREATE TABLE audit_trail (
        seq bigint GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
        checkout_id text NOT NULL,
        from_state text,
        to_state text NOT NULL,
        cause_type text NOT NULL,
        cause_id uuid NOT NULL,
        note text NOT NULL DEFAULT '',
        at timestamptz NOT NULL
    )
    """,
    "CREATE INDEX audit_trail_checkout ON audit_trail (checkout_id, seq)",
)

_INSERT: Final = BulkInsert(
    "audit_trail",
    {
        "checkout_id": "text",
        "from_state": "text",
        "to_state": "text",
        "cause_type": "text",
        "cause_id": "uuid",
        "note": "text",
        "at": "timestamptz",
    },
)


@dataclass(frozen=True, slots=True)
class Step:
    """One row: from which state to which, because of which event, when (UTC)."""

    checkout_id: str
    from_state: str | None
    to_state: str
    cause_type: str
    cause_id: UUID
    note: str
    at: datetime


def add(db: Connection, steps: Sequence[Step]) -> None:
    """Write `steps`, in their order, with one statement."""
    rows = [(s.checkout_id, s.from_state, s.to_state, s.cause_type, str(s.cause_id), s.note, s.at) for s in steps]
    _INSERT.run(db, rows)
