"""The warehouse's tables: as DDL for its migrations, and as states for its decisions."""

import json
from typing import Any, Final

from services.shell.states import StateTable
from services.warehouse.decisions import Reservation, Status

STOCK_V1: Final = (
    """
    CREATE TABLE stock (
        sku text PRIMARY KEY,
        received bigint NOT NULL CHECK (received >= 0),
        on_hand bigint NOT NULL CHECK (on_hand >= 0),
        reserved bigint NOT NULL DEFAULT 0 CHECK (reserved >= 0),
        committed bigint NOT NULL DEFAULT 0 CHECK (committed >= 0),
        on_hold boolean NOT NULL DEFAULT false,
        updated_at timestamptz NOT NULL DEFAULT now(),
        CONSTRAINT stock_is_conserved CHECK (on_hand + reserved + committed = received)
    ) WITH (fillfactor = 50)
    """,
    """
    CREATE TABLE reservations (
        checkout_id text PRIMARY KEY,
        status text NOT NULL CHECK (status IN ('reserved', 'rejected', 'confirm_failed', 'committed', 'lapsed',
            'released', 'closed')),
        units jsonb NOT NULL,
        expires_at timestamptz,
        version bigint NOT NULL,
        created_at timestamptz NOT NULL DEFAULT now(),
        updated_at timestamptz NOT NULL DEFAULT now()
    )
    """,
    "CREATE INDEX reservations_expiry ON reservations (expires_at) WHERE status = 'reserved'",
)

# an update that changes no indexed column stays on its page: the timer's index must not know the status
STOCK_V3: Final = (
    "DROP INDEX reservations_expiry",
    """
    ALTER TABLE reservations ADD COLUMN due_at timestamptz
        GENERATED ALWAYS AS (CASE WHEN status = 'reserved' THEN expires_at END) STORED
    """,
    "CREATE INDEX reservations_due ON reservations (due_at) WHERE due_at IS NOT NULL",
    "ALTER TABLE reservations SET (fillfactor = 70)",
)

# a version that stays on its page needs no entry of its own in the index: while somebody's snapshot keeps all of them,
# whoever writes a product has to look through the entries, for the primary key's sake
STOCK_V6: Final = ("ALTER TABLE stock SET (fillfactor = 10)",)

RIGHTS: Final = {"reservations": "SELECT, INSERT, UPDATE", "stock": "SELECT, UPDATE"}
"""What the service's role needs of them."""


def _reservation(*, status: str, **values: Any) -> Reservation:
    return Reservation(status=Status(status), **values)


RESERVATIONS: Final = StateTable(
    "reservations",
    _reservation,
    {"checkout_id": "text", "status": "text", "units": "jsonb", "expires_at": "timestamptz"},
    {"units": json.dumps},
)
