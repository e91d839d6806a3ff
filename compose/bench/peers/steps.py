"""The checkout that every peer runs: which service hears what, and the SQL of each step.

A step is a generator: it yields a statement (Postgres' own `$1` placeholders) with its arguments, is sent the rows, and
returns the event to say, or None. So the steps know neither driver nor framework, and all peers do exactly the same to
the database. Each step is meant to run in one transaction and changes nothing when its state was reached before.
"""

import json
from collections import Counter
from collections.abc import Callable, Generator, Mapping, Sequence
from typing import Any, Final

Json = Mapping[str, Any]
Statement = tuple[str, tuple[object, ...]]
Rows = Sequence[Mapping[str, Any]]
Event = tuple[str, Json]
"""Name and value; the key is the value's `checkout_id`."""
Step = Generator[Statement, Rows, Event | None]

REQUESTED: Final = "checkout.requested"
ACCEPTED: Final = "checkout.accepted"
RESERVED: Final = "warehouse.reserved"
AUTHORIZED: Final = "payment.authorized"
CONFIRMED: Final = "checkout.confirmed"
COMMITTED: Final = "warehouse.confirmed"
CAPTURED: Final = "payment.captured"
COMPLETED: Final = "checkout.completed"
EVENTS: Final = (REQUESTED, ACCEPTED, RESERVED, AUTHORIZED, CONFIRMED, COMMITTED, CAPTURED, COMPLETED)

_HEARD: Final = "INSERT INTO inbox (event, checkout_id) VALUES ($1, $2) ON CONFLICT DO NOTHING RETURNING event"
_AUDIT: Final = "INSERT INTO audit_trail (checkout_id, from_state, to_state, cause) VALUES ($1, $2, $3, $4)"
_ACCEPT: Final = """
    INSERT INTO checkouts (checkout_id, status, customer_id, currency, total_minor)
    VALUES ($1, 'accepted', $2, $3, $4) ON CONFLICT DO NOTHING RETURNING checkout_id
"""
_ORDER: Final = "INSERT INTO orders (checkout_id) VALUES ($1)"
_MOVE_CHECKOUT: Final = """
    UPDATE checkouts SET status = $2, updated_at = now() WHERE checkout_id = $1 AND status = ANY($3::text[])
    RETURNING old.status AS was
"""
_LOCK_STOCK: Final = "SELECT sku, on_hand FROM stock WHERE sku = ANY($1::text[]) ORDER BY sku FOR UPDATE"
_RESERVE_STOCK: Final = """
    UPDATE stock SET on_hand = on_hand - line.units, reserved = reserved + line.units
    FROM unnest($1::text[], $2::bigint[]) AS line (sku, units) WHERE stock.sku = line.sku
"""
_COMMIT_STOCK: Final = """
    UPDATE stock SET reserved = reserved - line.units, committed = committed + line.units
    FROM unnest($1::text[], $2::bigint[]) AS line (sku, units) WHERE stock.sku = line.sku
"""
_RESERVE: Final = """
    INSERT INTO reservations (checkout_id, status, units) VALUES ($1, 'reserved', $2::text::jsonb)
    ON CONFLICT DO NOTHING RETURNING checkout_id
"""
_COMMIT: Final = """
    UPDATE reservations SET status = 'committed', updated_at = now() WHERE checkout_id = $1 AND status = 'reserved'
    RETURNING units::text AS units
"""
# what came first has left its row: the second of the two authorizes
_EXPECT: Final = """
    INSERT INTO payments (checkout_id, status, customer_id, payment_method_id, currency, amount_minor)
    VALUES ($1, 'expected', $2, $3, $4, $5)
    ON CONFLICT (checkout_id) DO UPDATE SET status = 'authorized', customer_id = excluded.customer_id,
        payment_method_id = excluded.payment_method_id, currency = excluded.currency,
        amount_minor = excluded.amount_minor, payment_id = $6, updated_at = now()
    WHERE payments.status = 'reserved_first' RETURNING status
"""
_AUTHORIZE: Final = """
    INSERT INTO payments (checkout_id, status) VALUES ($1, 'reserved_first')
    ON CONFLICT (checkout_id) DO UPDATE SET status = 'authorized', payment_id = $2, updated_at = now()
    WHERE payments.status = 'expected' RETURNING status
"""
_CAPTURE: Final = """
    UPDATE payments SET status = 'captured', updated_at = now() WHERE checkout_id = $1 AND status = 'authorized'
    RETURNING checkout_id
"""


def accept(heard: Json) -> Step:
    """Checkout: a new session; says all that the others need."""
    checkout_id = heard["checkout_id"]
    if (yield _ACCEPT, (checkout_id, heard["customer_id"], heard["currency"], heard["total_minor"])):
        yield _AUDIT, (checkout_id, None, "accepted", REQUESTED)
        return ACCEPTED, heard
    return None


def reserve(heard: Json) -> Step:
    """Warehouse: set every line aside, or none."""
    checkout_id = heard["checkout_id"]
    units = Counter[str]()
    for line in heard["lines"]:
        units[line["sku"]] += line["quantity"]
    on_hand = {row["sku"]: row["on_hand"] for row in (yield _LOCK_STOCK, (sorted(units),))}
    if any(on_hand.get(sku, 0) < wanted for sku, wanted in units.items()):
        return None
    if (yield _RESERVE, (checkout_id, json.dumps(units))):
        yield _RESERVE_STOCK, (list(units), list(units.values()))
        yield _AUDIT, (checkout_id, None, "reserved", ACCEPTED)
        return RESERVED, {"checkout_id": checkout_id}
    return None


def expect_payment(heard: Json) -> Step:
    """Payment: record the payment to come; authorize if the reservation was heard first."""
    checkout_id = heard["checkout_id"]
    details = (heard["customer_id"], heard["payment_method_id"], heard["currency"], heard["total_minor"])
    rows = yield _EXPECT, (checkout_id, *details, _provider_says_yes(checkout_id))
    return (yield from _payment_heard(checkout_id, rows, "reserved_first", ACCEPTED))


def authorize(heard: Json) -> Step:
    """Payment: authorize, or note the reservation if the payment isn't known yet."""
    checkout_id = heard["checkout_id"]
    rows = yield _AUTHORIZE, (checkout_id, _provider_says_yes(checkout_id))
    return (yield from _payment_heard(checkout_id, rows, "expected", RESERVED))


def _payment_heard(checkout_id: str, rows: Rows, other: str, cause: str) -> Step:
    """other: the payment's state where the other of the two events was heard before."""
    if not rows:
        return None
    status = rows[0]["status"]
    second = status == "authorized"
    yield _AUDIT, (checkout_id, other if second else None, status, cause)
    return (AUTHORIZED, {"checkout_id": checkout_id}) if second else None


def _provider_says_yes(checkout_id: str) -> str:
    """The provider in this process: its payment id, at once."""
    return f"pay_{checkout_id}"


def create_order(heard: Json) -> Step:
    """Checkout: the order."""
    checkout_id = heard["checkout_id"]
    if (yield _MOVE_CHECKOUT, (checkout_id, "authorized", ["accepted"])):
        yield _ORDER, (checkout_id,)
        yield _AUDIT, (checkout_id, "accepted", "authorized", AUTHORIZED)
        return CONFIRMED, {"checkout_id": checkout_id}
    return None


def commit_stock(heard: Json) -> Step:
    """Warehouse: turn the reservation into a commitment."""
    checkout_id = heard["checkout_id"]
    rows = yield _COMMIT, (checkout_id,)
    if not rows:
        return None
    units = json.loads(rows[0]["units"])
    # in the order in which everybody locks, or two checkouts wait for each other
    yield _LOCK_STOCK, (sorted(units),)
    yield _COMMIT_STOCK, (list(units), list(units.values()))
    yield _AUDIT, (checkout_id, "reserved", "committed", CONFIRMED)
    return COMMITTED, {"checkout_id": checkout_id}


def capture(heard: Json) -> Step:
    """Payment: capture."""
    checkout_id = heard["checkout_id"]
    if (yield _CAPTURE, (checkout_id,)):
        yield _AUDIT, (checkout_id, "authorized", "captured", COMMITTED)
        return CAPTURED, {"checkout_id": checkout_id}
    return None


def note_capture_pending(heard: Json) -> Step:
    """Checkout: the goods are committed, the money is on its way; nothing to say."""
    checkout_id = heard["checkout_id"]
    # nothing where the money came first
    if (yield _MOVE_CHECKOUT, (checkout_id, "capture_pending", ["authorized"])):
        yield _AUDIT, (checkout_id, "authorized", "capture_pending", COMMITTED)
    return None


def complete(heard: Json) -> Step:
    """Checkout: the end."""
    checkout_id = heard["checkout_id"]
    # payment and checkout hear of the commitment at the same time: the money may come before the note that it will
    moved = yield _MOVE_CHECKOUT, (checkout_id, "captured", ["authorized", "capture_pending"])
    if not moved:
        return None
    yield _AUDIT, (checkout_id, moved[0]["was"], "captured", CAPTURED)
    return COMPLETED, {"checkout_id": checkout_id}


HEARD_BY: Final[Mapping[str, Mapping[str, Callable[[Json], Step]]]] = {
    "checkout": {
        REQUESTED: accept,
        AUTHORIZED: create_order,
        COMMITTED: note_capture_pending,
        CAPTURED: complete,
    },
    "payment": {ACCEPTED: expect_payment, RESERVED: authorize, COMMITTED: capture},
    "warehouse": {ACCEPTED: reserve, CONFIRMED: commit_stock},
}


def once(service: str, event: str, heard: Json) -> Step:
    """What a service does on an event, unless its inbox has it already."""
    if (yield _HEARD, (event, heard["checkout_id"])):
        return (yield from HEARD_BY[service][event](heard))
    return None
