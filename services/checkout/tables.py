"""The checkout service's tables: as DDL for its migrations, and as states for its decisions."""

from typing import Any, Final

from sqlalchemy import Row

from services.checkout.state import Checkout, Status
from services.shell.states import StateTable, field_names

CHECKOUTS_V1: Final = (
    """
    CREATE TABLE checkouts (
        checkout_id text PRIMARY KEY,
        status text NOT NULL CHECK (status IN ('cancelled_first', 'accepted', 'authorized', 'capture_pending',
            'capture_failed', 'captured', 'failed', 'compensated')),
        fingerprint text NOT NULL,
        customer_id text NOT NULL,
        currency text NOT NULL,
        total_minor bigint NOT NULL,
        expires_at timestamptz,
        accepted boolean NOT NULL,
        order_id uuid UNIQUE,
        code text,
        detail text NOT NULL,
        stock_let_go boolean NOT NULL,
        money_let_go boolean NOT NULL,
        version bigint NOT NULL,
        created_at timestamptz NOT NULL DEFAULT now(),
        updated_at timestamptz NOT NULL DEFAULT now()
    )
    """,
    "CREATE INDEX checkouts_deadline ON checkouts (expires_at) WHERE status = 'accepted'",
)

CHECKOUTS_V2: Final = ("ALTER TABLE checkouts ADD COLUMN delay text",)

_TYPES: Final = {
    "checkout_id": "text",
    "status": "text",
    "fingerprint": "text",
    "customer_id": "text",
    "currency": "text",
    "total_minor": "bigint",
    "expires_at": "timestamptz",
    "accepted": "boolean",
    "order_id": "uuid",
    "code": "text",
    "detail": "text",
    "delay": "text",
    "stock_let_go": "boolean",
    "money_let_go": "boolean",
}


def _checkout(row: Row[Any]) -> Checkout:
    values = {name: getattr(row, name) for name in field_names(Checkout)}
    return Checkout(**values | {"status": Status(row.status)})


CHECKOUTS: Final = StateTable(
    "checkouts", _checkout, _TYPES, {"order_id": lambda order_id: None if order_id is None else str(order_id)}
)
