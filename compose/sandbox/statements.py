"""Every SQL statement of the ledger, named. Columns stand in the order of the fields of the value they become."""

from dataclasses import fields
from operator import attrgetter
from typing import Any, Final

from compose.sandbox.idempotency import StoredKey
from compose.sandbox.model import Entry, Payment

BEGIN: Final = "BEGIN IMMEDIATE"
COMMIT: Final = "COMMIT"
ROLLBACK: Final = "ROLLBACK"

# a list goes in as one JSON parameter, so that a batch of any size is one statement
KEYS_OF_BATCH: Final = "SELECT * FROM keys WHERE key IN (SELECT value FROM json_each(?))"
PAYMENTS_OF_BATCH: Final = "SELECT * FROM payments WHERE payment_id IN (SELECT value FROM json_each(?))"

SAVE_PAYMENT: Final = """
INSERT INTO payments VALUES (NULL, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?)
ON CONFLICT (payment_id) DO UPDATE SET
    status = excluded.status,
    captured_minor = excluded.captured_minor,
    refunded_minor = excluded.refunded_minor
"""
ADD_ENTRY: Final = "INSERT INTO journal VALUES (NULL, ?, ?, ?, ?, ?, ?, ?)"
ADD_KEY: Final = "INSERT INTO keys VALUES (?, ?, ?, ?, ?, ?, ?, ?)"

DUE: Final = "SELECT * FROM payments WHERE status = 'authorized' AND capture_before_us <= ? LIMIT ?"
FORGET_KEYS: Final = "DELETE FROM keys WHERE key IN (SELECT key FROM keys WHERE created_at_us <= ? LIMIT ?)"

PAYMENT: Final = "SELECT * FROM payments WHERE payment_id = ?"
KEY: Final = "SELECT * FROM keys WHERE key = ?"
JOURNAL_PAGE: Final = "SELECT * FROM journal WHERE seq > ? ORDER BY seq LIMIT ?"
PAYMENTS_PAGE: Final = "SELECT * FROM payments WHERE number > ? ORDER BY number LIMIT ?"
PAYMENTS_OF_CHECKOUT_PAGE: Final = "SELECT * FROM payments WHERE number > ? AND checkout_id = ? ORDER BY number LIMIT ?"

# dataclasses.astuple copies every field deeply, at some ten times the price
payment_row = attrgetter(*(field.name for field in fields(Payment)))
entry_row = attrgetter(*(field.name for field in fields(Entry)))
key_row = attrgetter(*(field.name for field in fields(StoredKey)))


def payment(row: tuple[Any, ...]) -> Payment:
    """A row of `payments`; its first column is the number that pages go by."""
    return Payment(*row[1:])


def entry(row: tuple[Any, ...]) -> Entry:
    """A row of `journal`; its first column is the sequence number."""
    return Entry(*row[1:])


def stored_key(row: tuple[Any, ...]) -> StoredKey:
    """A row of `keys`."""
    return StoredKey(*row)
