"""In the relay's place where a Debezium connector publishes: deletes the rows that the brokers have.

The connector reads inserts from the database's log and confirms to its replication slot how far the brokers have them.
So a row is deleted when it was seen committed, and the slot has since passed the place where the log was then. What is
in the table is what is not known to be published, as with the relay: where a connector is gone for good the relay takes
its place again, and nothing is lost. Rows of dead letters are a relay's business here too (see `outbox.letters`).

The slot passes a place only when something comes after it that the connector reads: in a quiet database that is its own
heartbeat (`heartbeat.action.query` in compose/debezium/outbox.properties).

Source: https://www.postgresql.org/docs/current/view-pg-replication-slots.html (confirmed_flush_lsn);
https://debezium.io/documentation/reference/stable/connectors/postgresql.html
"""

import threading
from collections.abc import Callable, Iterable
from contextlib import closing
from typing import Final, NamedTuple

import psycopg2
import structlog
from psycopg2 import extensions
from sqlalchemy import Engine

from outbox.add import Record
from outbox.letters import LETTERS_SQL
from outbox.session import own_session

_LOOK_S: Final = 0.2
_RECONNECT_S: Final = 0.5
_MOST: Final = 20_000
_LOCK: Final = 0x6F7577
"""One sweeper for each database is enough. The numbers before it are those of relays and of the inbox."""

_TRY: Final = "SELECT pg_try_advisory_lock(%s, 0)"
_CONFIRMED: Final = """
    SELECT (confirmed_flush_lsn - '0/0')::bigint FROM pg_replication_slots
    WHERE slot_name = %s AND database = current_database()
"""
_ROWS: Final = f"SELECT seq FROM outbox WHERE NOT ({LETTERS_SQL}) ORDER BY seq LIMIT %s"  # noqa: S608 - of this code
_HERE: Final = "SELECT (pg_current_wal_insert_lsn() - '0/0')::bigint"
_DROP: Final = "DELETE FROM outbox WHERE seq = ANY(%s)"

log = structlog.get_logger("outbox.sweeper")


class _Mark(NamedTuple):
    """Rows that were committed when the log was at `place`."""

    place: int
    seqs: list[int]


class Sweeper:
    """Run one in each process that would run a relay; one of them works, and another one when it is gone.

    engine: the database of the outbox, by psycopg2. slot: the connector's. on_published: told how many rows were found
    published. connected: whether there is such a slot.
    """

    def __init__(self, engine: Engine, slot: str, *, on_published: Callable[[int], None] = lambda _: None) -> None:
        self._engine = engine
        self._slot = slot
        self._on_published = on_published
        self._stop = threading.Event()
        self._mark: _Mark | None = None
        self.connected = False
        self.settled = 0
        """As of a relay; nothing is known of it here."""

    @property
    def missing(self) -> str:
        """What keeps events from being published, as far as it can be seen here; "" when nothing does."""
        return "" if self.connected else f"no replication slot {self._slot}: no connector publishes"

    def offer(self, records: Iterable[Record]) -> None:
        """Nothing: the connector reads what was committed from the log."""

    def stop(self) -> None:
        """Ask `run` to return. What is left is swept by the next process."""
        self._stop.set()

    def run(self) -> None:
        """Sweep until stopped. A lost database is waited for."""
        while not self._stop.is_set():
            try:
                with closing(own_session(self._engine)) as session:
                    self._sweep(session)
            except psycopg2.Error as error:
                self.connected, self._mark = False, None
                log.warning("outbox database unavailable", error=str(error).strip())
                self._stop.wait(_RECONNECT_S)

    def _sweep(self, session: extensions.connection) -> None:
        with session.cursor() as cursor:
            # a delete that is lost is made again
            cursor.execute("SET synchronous_commit = off")
            owner = False
            while not self._stop.is_set():
                owner = owner or bool(_answer(cursor, _TRY, _LOCK))
                self.turn(cursor, owner=owner)
                self._stop.wait(_LOOK_S)

    def turn(self, cursor: extensions.cursor, *, owner: bool = True) -> None:
        """Look once, and delete what the slot has passed since the last look. owner: whether this one deletes."""
        confirmed = _answer(cursor, _CONFIRMED, self._slot)
        self._tell_whether(confirmed is not None)
        if confirmed is None:
            # what was marked by a slot that is gone may not have been published
            self._mark = None
            return
        if not owner:
            return
        # beyond, not at: a new slot begins where the log is, and its connector has read nothing yet
        if self._mark is not None and confirmed > self._mark.place:
            self._drop(cursor, self._mark.seqs)
            self._mark = None
        if self._mark is None:
            self._mark = self._look(cursor)

    def _tell_whether(self, there: bool) -> None:
        if self.connected and not there:
            log.error("the replication slot is gone: nothing is published", slot=self._slot)
        self.connected = there

    def _look(self, cursor: extensions.cursor) -> _Mark | None:
        """The rows that are committed now, and then the place: it is behind all of them."""
        cursor.execute(_ROWS, (_MOST,))
        seqs = [seq for (seq,) in cursor.fetchall()]
        return _Mark(int(_answer(cursor, _HERE) or 0), seqs) if seqs else None

    def _drop(self, cursor: extensions.cursor, seqs: list[int]) -> None:
        cursor.execute(_DROP, (seqs,))
        if cursor.rowcount > 0:
            self._on_published(cursor.rowcount)


def _answer(cursor: extensions.cursor, question: str, *values: object) -> int | None:
    """The one value of the one row; None without a row."""
    cursor.execute(question, values)
    row = cursor.fetchone()
    return None if row is None else row[0]
