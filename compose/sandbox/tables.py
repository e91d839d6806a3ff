"""The ledger's tables, and the one place where its SQLite file is opened."""

import fcntl
import os
import sqlite3
from pathlib import Path
from typing import Final

SCHEMA_VERSION: Final = 1

SCHEMA: Final = """
CREATE TABLE payments (
    number INTEGER PRIMARY KEY,
    payment_id TEXT NOT NULL UNIQUE,
    checkout_id TEXT NOT NULL,
    customer TEXT,
    payment_method TEXT NOT NULL,
    currency TEXT NOT NULL,
    amount_minor INTEGER NOT NULL CHECK (amount_minor > 0),
    status TEXT NOT NULL,
    created_at_us INTEGER NOT NULL,
    capture_before_us INTEGER NOT NULL,
    captured_minor INTEGER NOT NULL CHECK (captured_minor BETWEEN 0 AND amount_minor),
    refunded_minor INTEGER NOT NULL CHECK (refunded_minor BETWEEN 0 AND captured_minor),
    CHECK ((captured_minor > 0) = (status IN ('captured', 'refunded')))
);
CREATE INDEX payments_by_checkout ON payments (checkout_id, number);
CREATE INDEX payments_held ON payments (capture_before_us) WHERE status = 'authorized';

CREATE TABLE journal (
    seq INTEGER PRIMARY KEY,
    at_us INTEGER NOT NULL,
    kind TEXT NOT NULL,
    payment_id TEXT NOT NULL,
    checkout_id TEXT NOT NULL,
    amount_minor INTEGER NOT NULL,
    currency TEXT NOT NULL,
    idempotency_key TEXT
);
CREATE TRIGGER journal_is_never_changed BEFORE UPDATE ON journal
    BEGIN SELECT RAISE(ABORT, 'the journal is append-only'); END;
CREATE TRIGGER journal_is_never_shortened BEFORE DELETE ON journal
    BEGIN SELECT RAISE(ABORT, 'the journal is append-only'); END;

CREATE TABLE keys (
    key TEXT PRIMARY KEY,
    fingerprint TEXT NOT NULL,
    operation TEXT NOT NULL,
    status INTEGER NOT NULL,
    response TEXT NOT NULL,
    payment_id TEXT NOT NULL,
    checkout_id TEXT NOT NULL,
    created_at_us INTEGER NOT NULL
) WITHOUT ROWID;
CREATE INDEX keys_by_age ON keys (created_at_us);
"""


class LedgerError(Exception):
    """The ledger can't be opened; the message says which file and why, in one line."""


def lock(path: Path) -> int:
    """Claim the ledger for this process, until it ends. Raises LedgerError if another server has it.

    Two servers on one ledger would each believe a key free that the other is executing. The lock is a file
    beside the ledger, because closing a second descriptor of the database itself would drop SQLite's own locks.
    """
    try:
        descriptor = os.open(path.with_name(path.name + ".lock"), os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
    except OSError as error:
        raise LedgerError(f"ledger {path}: {error.strerror}") from error
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        os.close(descriptor)
        raise LedgerError(f"ledger {path}: another sandbox provider is using it") from None
    return descriptor


def connect(path: Path) -> sqlite3.Connection:
    """Open the ledger, making its tables if it is new. Raises LedgerError for a file that isn't one."""
    try:
        connection = sqlite3.connect(
            path,
            timeout=0.2,  # nobody else writes; who reads doesn't block in WAL
            isolation_level=None,  # transactions are begun and ended by name
            check_same_thread=False,  # commits run in a thread, while no statement does
        )
        connection.execute("PRAGMA journal_mode = WAL")
        connection.execute("PRAGMA synchronous = FULL")  # an answered request survives a power cut
        _make_tables(connection)
    except sqlite3.Error as error:
        raise LedgerError(f"ledger {path}: {error}") from error
    return connection


def _make_tables(connection: sqlite3.Connection) -> None:
    (version,) = connection.execute("PRAGMA user_version").fetchone()
    if version == 0:
        connection.executescript(f"BEGIN;{SCHEMA}PRAGMA user_version = {SCHEMA_VERSION};COMMIT;")
    elif version != SCHEMA_VERSION:
        raise sqlite3.DatabaseError(f"schema version {version}, this provider reads {SCHEMA_VERSION}")
