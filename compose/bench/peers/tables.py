"""The peers' tables: one database for each service, or all of it in one where the peer has one process."""

from typing import Final

PARTITIONS: Final = 6

_EVERYWHERE: Final = (
    """
    CREATE TABLE inbox (
        event text NOT NULL,
        checkout_id text NOT NULL,
        handled_at timestamptz NOT NULL DEFAULT now(),
        PRIMARY KEY (event, checkout_id)
    )
    """,
    """
    CREATE TABLE audit_trail (
        id bigint GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
        checkout_id text NOT NULL,
        from_state text,
        to_state text NOT NULL,
        cause text NOT NULL,
        at timestamptz NOT NULL DEFAULT now()
    )
    """,
)

_OF: Final = {
    "checkout": (
        """
        CREATE TABLE checkouts (
            checkout_id text PRIMARY KEY,
            status text NOT NULL,
            customer_id text NOT NULL,
            currency text NOT NULL,
            total_minor bigint NOT NULL,
            created_at timestamptz NOT NULL DEFAULT now(),
            updated_at timestamptz NOT NULL DEFAULT now()
        )
        """,
        """
        CREATE TABLE orders (
            order_id uuid PRIMARY KEY DEFAULT gen_random_uuid(),
            checkout_id text NOT NULL UNIQUE,
            created_at timestamptz NOT NULL DEFAULT now()
        )
        """,
    ),
    "payment": (
        """
        CREATE TABLE payments (
            checkout_id text PRIMARY KEY,
            status text NOT NULL,
            customer_id text,
            payment_method_id text,
            currency text,
            amount_minor bigint,
            payment_id text UNIQUE,
            created_at timestamptz NOT NULL DEFAULT now(),
            updated_at timestamptz NOT NULL DEFAULT now()
        )
        """,
    ),
    "warehouse": (
        """
        CREATE TABLE stock (
            sku text PRIMARY KEY,
            on_hand bigint NOT NULL CHECK (on_hand >= 0),
            reserved bigint NOT NULL DEFAULT 0 CHECK (reserved >= 0),
            committed bigint NOT NULL DEFAULT 0 CHECK (committed >= 0)
        ) WITH (fillfactor = 50)
        """,
        """
        CREATE TABLE reservations (
            checkout_id text PRIMARY KEY,
            status text NOT NULL,
            units jsonb NOT NULL,
            created_at timestamptz NOT NULL DEFAULT now(),
            updated_at timestamptz NOT NULL DEFAULT now()
        )
        """,
        # 10,000 products with plenty of units each
        "INSERT INTO stock (sku, on_hand) SELECT 'sku-' || n, 10000000 FROM generate_series(1, 10000) AS n",
    ),
}

SERVICES: Final = tuple(_OF)


def statements(*services: str) -> tuple[str, ...]:
    """What makes the tables of these services in one database, stock included."""
    if not services:
        return ()
    return _EVERYWHERE + tuple(statement for service in services for statement in _OF[service])
