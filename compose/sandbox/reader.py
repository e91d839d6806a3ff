"""Reading the ledger: what is committed, and nothing that isn't yet."""

from pathlib import Path

from compose.sandbox import statements, tables
from compose.sandbox.idempotency import StoredKey
from compose.sandbox.model import Entry, Payment


class Reader:
    """A connection of its own: what the writer has not committed doesn't show in it."""

    def __init__(self, path: Path) -> None:
        self._connection = tables.connect(path)

    def payment(self, payment_id: str) -> Payment | None:
        """One payment, if there is such a one."""
        row = self._connection.execute(statements.PAYMENT, (payment_id,)).fetchone()
        return statements.payment(row) if row else None

    def key(self, key: str) -> StoredKey | None:
        """The stored answer of a key, if its request was executed."""
        row = self._connection.execute(statements.KEY, (key,)).fetchone()
        return statements.stored_key(row) if row else None

    def journal(self, after: int, limit: int) -> list[tuple[int, Entry]]:
        """Up to `limit` entries with a sequence number above `after`, in order."""
        rows = self._connection.execute(statements.JOURNAL_PAGE, (after, limit))
        return [(row[0], statements.entry(row)) for row in rows]

    def payments(self, checkout_id: str | None, after: int, limit: int) -> list[tuple[int, Payment]]:
        """Up to `limit` payments numbered above `after`, all or one checkout's, in the order they were made."""
        if checkout_id is None:
            rows = self._connection.execute(statements.PAYMENTS_PAGE, (after, limit))
        else:
            rows = self._connection.execute(statements.PAYMENTS_OF_CHECKOUT_PAGE, (after, checkout_id, limit))
        return [(row[0], statements.payment(row)) for row in rows]

    def close(self) -> None:
        """Close the connection."""
        self._connection.close()
