"""The checkout service's tables: as DDL for its migrations, and as states for its decisions."""

from typing import Any, Final

from services.checkout.state import Checkout, Status
from services.shell.states import StateTable

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

# an update that changes no indexed column stays on its page: the deadline's index must not know the status, and an
# order's id, which is made from its checkout's, needs no index to be the only one
CHECKOUTS_V3: Final = (
    "DROP INDEX checkouts_deadline",
    "ALTER TABLE checkouts DROP CONSTRAINT checkouts_order_id_key",
    """
    ALTER TABLE checkouts ADD COLUMN due_at timestamptz
        GENERATED ALWAYS AS (CASE WHEN status = 'accepted' THEN expires_at END) STORED
    """,
    "CREATE INDEX checkouts_due ON checkouts (due_at) WHERE due_at IS NOT NULL",
    "ALTER TABLE checkouts SET (fillfactor = 50)",
)

# rows that are older know no payment: theirs is not compared
CHECKOUTS_V6: Final = ("ALTER TABLE checkouts ADD COLUMN payment_id text",)

RIGHTS: Final = {"checkouts": "SELECT, INSERT, UPDATE"}
"""What the service's role needs of them."""

_TYPES: Final = {
    "checkout_id": "text",
    "status": "text",
    "created_at": "timestamptz",
    "fingerprint": "text",
    "customer_id": "text",
    "currency": "text",
    "total_minor": "bigint",
    "expires_at": "timestamptz",
    "accepted": "boolean",
    "order_id": "uuid",
    "payment_id": "text",
    "code": "text",
    "detail": "text",
    "delay": "text",
    "stock_let_go": "boolean",
    "money_let_go": "boolean",
}


def _checkout(*, status: str, **values: Any) -> Checkout:
    return Checkout(status=Status(status), **values)


CHECKOUTS: Final = StateTable("checkouts", _checkout, _TYPES)
