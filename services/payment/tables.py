"""The payment service's tables: as DDL for its migrations, and as states for its decisions."""

from typing import Any, Final

from services.payment.state import Payment, Status
from services.shell.states import StateTable

PAYMENTS_V1: Final = (
    # only the provider's token for a card is ever stored, never its number
    """
    CREATE TABLE payment_methods (
        payment_method_id text PRIMARY KEY,
        customer_id text NOT NULL,
        token text NOT NULL,
        created_at timestamptz NOT NULL DEFAULT now()
    )
    """,
    """
    CREATE TABLE payments (
        checkout_id text PRIMARY KEY,
        status text NOT NULL CHECK (status IN ('reserved_first', 'expected', 'authorizing', 'authorized', 'declined',
            'capturing', 'captured', 'capture_failed', 'voiding', 'voided', 'refunding', 'refunded', 'closed')),
        customer_id text NOT NULL,
        payment_method_id text NOT NULL,
        token text NOT NULL,
        currency text NOT NULL,
        amount_minor bigint NOT NULL CHECK (amount_minor >= 0),
        payment_id text UNIQUE,
        capture_before timestamptz,
        code text,
        version bigint NOT NULL,
        created_at timestamptz NOT NULL DEFAULT now(),
        updated_at timestamptz NOT NULL DEFAULT now()
    )
    """,
)

PAYMENTS_V2: Final = (
    "ALTER TABLE payments ADD COLUMN expires_at timestamptz",
    "ALTER TABLE payments DROP CONSTRAINT payments_status_check",
    "UPDATE payments SET status = 'capture_pending' WHERE status = 'capturing'",
    "UPDATE payments SET status = 'capture_refused' WHERE status = 'capture_failed'",
    """
    ALTER TABLE payments ADD CONSTRAINT payments_status_check CHECK (status IN ('reserved_first', 'expected',
        'authorizing', 'authorization_delayed', 'authorization_unknown', 'authorization_abandoned', 'authorized',
        'declined', 'capture_pending', 'capture_failed', 'capture_refused', 'capture_abandoned', 'captured', 'voiding',
        'voided', 'refunding', 'refunded', 'closed'))
    """,
)

# room on the page for the versions of a row
PAYMENTS_V3: Final = ("ALTER TABLE payments SET (fillfactor = 50)",)

RIGHTS: Final = {"payments": "SELECT, INSERT, UPDATE", "payment_methods": "SELECT"}
"""What the service's role needs of them."""

_TYPES: Final = {
    "checkout_id": "text",
    "status": "text",
    "customer_id": "text",
    "payment_method_id": "text",
    "token": "text",
    "currency": "text",
    "amount_minor": "bigint",
    "payment_id": "text",
    "capture_before": "timestamptz",
    "expires_at": "timestamptz",
    "code": "text",
}


def _payment(*, status: str, **values: Any) -> Payment:
    return Payment(status=Status(status), **values)


PAYMENTS: Final = StateTable("payments", _payment, _TYPES)
