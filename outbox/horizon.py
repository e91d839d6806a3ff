"""How far the outbox is settled: up to which `seq` every row is visible by now, or will never be.

Transactions commit in another order than they took their numbers, so "greater than the last one seen" would skip
rows. What makes a number final is the end of every transaction that could hold it:

1. A writer locks the table (RowExclusiveLock) before it takes a number, and lets go only after its rows are
   visible (or gone): Postgres gives locks back last.
2. `last` is the sequence's value, `writers` are those who hold that lock, asked for after `last`. Whoever has
   a number <= `last` is among them, or has ended.
3. Numbers are given in order, so whoever comes later has a number > `last`.
4. When none of `writers` holds the lock any more, every row <= `last` is visible to the next statement, or was
   rolled back.

A prepared transaction holds its locks on, under the name it had (since Postgres 14) and without a process. A
sequence with a CACHE gives its numbers in no order: then nothing is settled at all. Numbers must come from the
sequence: a row that is given an older one by hand is seen when a relay starts.

Source: CommitTransaction and GetLockStatusData in Postgres' xact.c and lock.c;
https://www.postgresql.org/docs/current/view-pg-locks.html
"""

from typing import Final

from psycopg2 import extensions

_SEQUENCE: Final = "pg_get_serial_sequence('outbox', 'seq')::regclass"
_GIVES_IN_ORDER: Final = f"SELECT seqcache = 1 AND seqincrement > 0 FROM pg_sequence WHERE seqrelid = {_SEQUENCE}"  # noqa: S608
_LAST: Final = f"SELECT coalesce(pg_sequence_last_value({_SEQUENCE}), 0)"
_WRITERS: Final = """
    SELECT virtualtransaction FROM pg_locks
    WHERE locktype = 'relation' AND relation = 'outbox'::regclass AND mode = 'RowExclusiveLock' AND granted
    AND database = (SELECT oid FROM pg_database WHERE datname = current_database())
    AND pid IS DISTINCT FROM pg_backend_pid()
"""


class Horizon:
    """What is settled, as far as the looks until now can tell."""

    def __init__(self, cursor: extensions.cursor) -> None:
        self._cursor = cursor
        cursor.execute(_GIVES_IN_ORDER)
        self._in_order = cursor.fetchone() == (True,)
        self._candidate = 0
        self._awaited: set[str] = set()
        self.settled = 0

    def look(self) -> None:
        """Look once; what is found while somebody writes is settled by a later look."""
        if not self._in_order:
            return
        last = self._last()
        # after `last`, in a statement of its own: see 2.
        writers = self._writers()
        self._awaited &= writers
        if not self._awaited:
            self.settled, self._candidate, self._awaited = self._candidate, last, writers
            if not writers:
                self.settled = last

    def _last(self) -> int:
        self._cursor.execute(_LAST)
        [(last,)] = self._cursor.fetchall()
        return int(last)

    def _writers(self) -> set[str]:
        """Who has written, and has not ended."""
        self._cursor.execute(_WRITERS)
        return {name for (name,) in self._cursor.fetchall()}
