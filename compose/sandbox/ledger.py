"""The durable ledger: a batch of commands becomes one transaction, whatever its size.

One batch costs two reads and three writes, each one statement. Effect, journal entry and stored answer of a
request commit together: a crash leaves all of them or none.
"""

import json
import os
import secrets
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Final

from compose.sandbox import errors, statements, tables
from compose.sandbox.decisions import Moment, Outcome, decide, notice_expiry
from compose.sandbox.idempotency import Reply, StoredKey, replay, reply
from compose.sandbox.model import Authorize, Command, Entry, Payment, operation_of

TIDY_LIMIT: Final = 1000  # rows a tidy touches at a time, so that no request waits long behind it


@dataclass(frozen=True, slots=True)
class Work:
    """One request to execute: its key, its command, and the 5xx to store in place of the answer, if any."""

    key: str
    fingerprint: str
    command: Command
    error_after: int | None = None


@dataclass(slots=True)
class Writes:
    """What a batch leaves behind; a payment that was touched twice is written once, as it ended."""

    payments: dict[str, Payment] = field(default_factory=dict)
    entries: list[Entry] = field(default_factory=list)
    keys: list[StoredKey] = field(default_factory=list)

    def add(self, payment: Payment, entries: Iterable[Entry]) -> None:
        """Note a payment's new state and what the journal says of it."""
        self.payments[payment.payment_id] = payment
        self.entries.extend(entries)


class Ledger:
    """The ledger of one server process: the one connection that writes."""

    def __init__(self, path: Path, *, authorization_ttl_us: int, key_ttl_us: int) -> None:
        self._lock = tables.lock(path)
        self._connection = tables.connect(path)
        self._authorization_ttl_us = authorization_ttl_us
        self._key_ttl_us = key_ttl_us

    def apply(self, batch: Sequence[Work], now_us: int) -> list[Reply]:
        """Execute a batch in order, inside a transaction that `commit` ends. Replies in the batch's order.

        Raises sqlite3.Error when the ledger can't be written; `rollback` then leaves no trace of the batch.
        """
        self._connection.execute(statements.BEGIN)
        stored = self._keys(batch)
        payments = self._payments(batch)
        writes = Writes()
        replies = [self._execute(work, stored.get(work.key), payments, writes, now_us) for work in batch]
        self._save(writes)
        return replies

    def tidy(self, now_us: int) -> None:
        """In the same transaction: write down authorizations that expired, forget keys past their time."""
        due = self._connection.execute(statements.DUE, (now_us, TIDY_LIMIT)).fetchall()
        writes = Writes()
        for row in due:
            payment, entries = notice_expiry(statements.payment(row), now_us)
            writes.add(payment, entries)
        self._save(writes)
        self._connection.execute(statements.FORGET_KEYS, (now_us - self._key_ttl_us, TIDY_LIMIT))

    def commit(self) -> None:
        """Make the open transaction durable. Waits for the disk: to be called in a thread."""
        self._connection.execute(statements.COMMIT)

    def rollback(self) -> None:
        """Undo the open transaction, if there is one."""
        if self._connection.in_transaction:
            self._connection.execute(statements.ROLLBACK)

    def close(self) -> None:
        """Close the file, which folds the write-ahead log into it, and let others have it."""
        self._connection.close()
        os.close(self._lock)

    def _execute(
        self,
        work: Work,
        stored: StoredKey | None,
        payments: dict[str, Payment],
        writes: Writes,
        now_us: int,
    ) -> Reply:
        if stored is not None:
            return replay(stored, work.fingerprint)
        moment = Moment(now_us, work.key, "pay_" + secrets.token_hex(12), self._authorization_ttl_us)
        payment = None if isinstance(work.command, Authorize) else payments.get(work.command.payment_id)
        outcome = decide(work.command, payment, moment)
        if outcome.payment is None:
            return reply(outcome.answer)
        payments[outcome.payment.payment_id] = outcome.payment
        writes.add(outcome.payment, outcome.entries)
        answered = _answered(work, outcome)
        writes.keys.append(_stored(work, outcome.payment, answered, now_us))
        return answered

    def _keys(self, batch: Iterable[Work]) -> dict[str, StoredKey]:
        named = json.dumps([work.key for work in batch])
        found = map(statements.stored_key, self._connection.execute(statements.KEYS_OF_BATCH, (named,)))
        return {stored.key: stored for stored in found}

    def _payments(self, batch: Iterable[Work]) -> dict[str, Payment]:
        named = json.dumps([work.command.payment_id for work in batch if not isinstance(work.command, Authorize)])
        found = map(statements.payment, self._connection.execute(statements.PAYMENTS_OF_BATCH, (named,)))
        return {payment.payment_id: payment for payment in found}

    def _save(self, writes: Writes) -> None:
        payments = map(statements.payment_row, writes.payments.values())
        self._connection.executemany(statements.SAVE_PAYMENT, payments)
        self._connection.executemany(statements.ADD_ENTRY, map(statements.entry_row, writes.entries))
        self._connection.executemany(statements.ADD_KEY, map(statements.key_row, writes.keys))


def _answered(work: Work, outcome: Outcome) -> Reply:
    return reply(outcome.answer if work.error_after is None else errors.provider_failed(work.error_after))


def _stored(work: Work, payment: Payment, answered: Reply, now_us: int) -> StoredKey:
    return StoredKey(
        work.key,
        work.fingerprint,
        operation_of(work.command),
        answered.status,
        answered.body.decode(),
        payment.payment_id,
        payment.checkout_id,
        now_us,
    )
