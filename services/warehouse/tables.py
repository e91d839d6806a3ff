"""The warehouse's tables: as DDL for its migrations, and as states for its decisions."""

import json
from typing import Any, Final

from sqlalchemy import Row

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


def _reservation(row: Row[Any]) -> Reservation:
    return Reservation(
        checkout_id=row.checkout_id, status=Status(row.status), units=row.units, expires_at=row.expires_at
    )


RESERVATIONS: Final = StateTable(
    "reservations",
    _reservation,
    {"checkout_id": "text", "status": "text", "units": "jsonb", "expires_at": "timestamptz"},
    {"units": json.dumps},
)
