"""The audit trail: every change of every checkout's state, written in the transaction that changed it."""

from collections.abc import Sequence
from datetime import datetime
from typing import Final, NamedTuple
from uuid import UUID

from sqlalchemy import Connection

from outbox.copying import BulkCopy

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

# the one index that it is read by is its key as well
TRAIL_V2: Final = (
    "ALTER TABLE audit_trail DROP CONSTRAINT audit_trail_pkey",
    "DROP INDEX audit_trail_checkout",
    "ALTER TABLE audit_trail ADD PRIMARY KEY (checkout_id, seq)",
)

# whoever reads the trail finds the trace, and what a timer causes later goes on with it
TRAIL_V3: Final = ("ALTER TABLE audit_trail ADD COLUMN traceparent text",)

_COPY: Final = BulkCopy(
    "audit_trail",
    {
        "checkout_id": "text",
        "from_state": "text",
        "to_state": "text",
        "cause_type": "text",
        "cause_id": "uuid",
        "note": "text",
        "at": "timestamptz",
        "traceparent": "text",
    },
)


class Step(NamedTuple):
    """One row: from which state to which, because of which event, when (UTC). traceparent: where a trace is kept."""

    checkout_id: str
    from_state: str | None
    to_state: str
    cause_type: str
    cause_id: UUID
    note: str
    at: datetime
    traceparent: str | None = None


def add(db: Connection, steps: Sequence[Step]) -> None:
    """Write `steps`, in their order, with one COPY."""
    _COPY.run(db, steps)
