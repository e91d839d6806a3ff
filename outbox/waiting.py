"""The rows that wait in the shards of one relay: what its database session reads and deletes.

Rows are found by being there, from a floor upwards. Below the floor everything is settled (see `outbox.horizon`)
and nothing waits, apart from a few known rows of blocked keys. Without the floor a read would begin at the table's
first index entry, and walk over every row that was ever deleted while some old transaction keeps vacuum from removing
them. A key with a long queue holds the floor below its next row until it is through.
"""

import time
from collections.abc import Collection, Iterable, Iterator, Sequence
from typing import Any, Final, cast

from psycopg2 import extensions

from outbox.horizon import Horizon
from outbox.offered import Offered
from outbox.publishable import MAX_RECORD_BYTES, headers_from, size_defect, topic_defect
from outbox.sending import Failure, Head, Outgoing

_ASIDE_MOST: Final = 1000
"""Rows of blocked keys that may wait below the floor; with more of them it stays where it is."""
_LOOK_S: Final = 0.05
_LOOK_ROWS: Final = 50
_LOOK_IDLE_S: Final = 2.0
_SMALL: Final = 16 * 1024
"""Bytes of a row that is read together with a thousand others."""
_AT_ONCE: Final = 16 * 1024 * 1024
"""Bytes of larger rows that are read at once. One that alone is larger is read alone."""

_SESSION: Final = (
    # a delete that is lost is a duplicate, which inboxes drop
    "SET synchronous_commit = off",
    # The table's size changes too quickly for statistics. There is one right plan for each statement, which is to
    # follow the index of seq; these leave the planner no other.
    "SET plan_cache_mode = force_generic_plan",
    "SET enable_seqscan = off",
    "SET enable_bitmapscan = off",
    "SET enable_sort = off",
    "SET jit = off",
    # the first read may have to walk over all that vacuum could not remove
    "SET statement_timeout = '10min'",
)
# {only}: a condition on the rows of a relay that has not all of them
_PREPARE: Final = (
    """
    PREPARE outbox_heads (bigint, smallint[], text[], bigint) AS
    SELECT seq, id::text, aggregateid FROM outbox
    WHERE seq > $1 AND shard = ANY($2) AND aggregateid <> ALL($3) AND {only} ORDER BY seq LIMIT $4
    """,
    """
    PREPARE outbox_blocked (bigint, bigint, smallint[], text[], bigint) AS
    SELECT seq, aggregateid FROM outbox
    WHERE seq > $1 AND seq <= $2 AND shard = ANY($3) AND aggregateid = ANY($4) AND {only} ORDER BY seq LIMIT $5
    """,
    """
    PREPARE outbox_these (bigint[], smallint[]) AS
    SELECT seq, id::text, aggregateid FROM outbox WHERE seq = ANY($1) AND shard = ANY($2) AND {only} ORDER BY seq
    """,
    # Headers as text: who parses what the driver would parse decides when. Only small rows, without unpacking any: what
    # is compressed may be a hundred times as large.
    """
    PREPARE outbox_whole (bigint[], int) AS
    SELECT seq, topic, key, payload, headers::text FROM outbox WHERE seq = ANY($1)
    AND coalesce(octet_length(payload), 0)::bigint + coalesce(octet_length(key), 0) + octet_length(topic)
    + pg_column_size(headers) <= $2 AND pg_column_compression(headers) IS NULL
    """,
    """
    PREPARE outbox_sizes (bigint[], bigint) AS
    SELECT seq, left(topic, 300), coalesce(octet_length(payload), 0)::bigint + coalesce(octet_length(key), 0),
    CASE WHEN pg_column_size(headers) > $2 THEN pg_column_size(headers) ELSE octet_length(headers::text) END
    FROM outbox WHERE seq = ANY($1) ORDER BY seq
    """,
    """
    PREPARE outbox_large (bigint[]) AS
    SELECT seq, topic, key, payload, headers::text FROM outbox WHERE seq = ANY($1)
    """,
    "PREPARE outbox_drop (bigint[]) AS DELETE FROM outbox WHERE seq = ANY($1)",
)


class Waiting:
    """The rows of the shards that the relay owns. session: in autocommit, for this object alone.

    `heads`, `whole`, `drop` are one or two statements each, whatever the number of rows; large rows are read in parts.
    only: SQL, a condition on the rows that are the relay's.
    """

    def __init__(self, session: extensions.connection, offered: Offered, only: str = "true") -> None:
        self._cursor = session.cursor()
        for statement in (*_SESSION, *_PREPARE):
            self._cursor.execute(statement.replace("{only}", only))
        self._horizon = Horizon(self._cursor)
        self._offered = offered
        self._shards: frozenset[int] = frozenset()
        self._floor = 0
        self._aside: dict[int, str] = {}
        self._dropped = 0
        self._looked_at = -_LOOK_IDLE_S

    @property
    def settled(self) -> int:
        """Up to which seq every row is visible by now, or will never be."""
        return self._horizon.settled

    def own(self, shards: Collection[int]) -> None:
        """From now on these shards. What was not owned before was somebody else's to know: look from the beginning."""
        if not self._shards.issuperset(shards):
            self._from_the_beginning()
        self._shards = self._offered.shards = frozenset(shards)

    def heads(self, blocked: Sequence[str], limit: int) -> list[Head]:
        """The first `limit` rows by seq, without those of `blocked` keys."""
        self._look()
        rows = self._fetch("heads", self._floor, _array(self._shards), list(blocked), limit)
        self._raise_floor(rows[0][0] - 1 if rows else self._horizon.settled, blocked)
        return [*self._from_aside(blocked), *rows]

    def whole(self, heads: Sequence[Head]) -> Iterator[Iterable[Outgoing | Failure]]:
        """What goes out: of rows that this process has just committed from memory, of others from the table.

        In parts, each to be taken to its end before the next one: first all that is small, then as many large rows at a
        time as are to be held at once.
        """
        missing: dict[int, Head] = {}
        yield self._small(heads, missing)
        if missing:
            yield from self._large(missing)

    def _small(self, heads: Sequence[Head], missing: dict[int, Head]) -> Iterator[Outgoing | Failure]:
        """One by one: a thousand at once are work for the garbage collector. missing: what is not among them."""
        offered = self._offered.take([name for _, name, _ in heads])
        for head in heads:
            seq, name, key = head
            record = offered.get(name)
            if record is None or record.key != key:
                missing[seq] = head
            else:
                # as the table would give it, whatever kind of bytes and pairs the caller has
                headers: list[tuple[str, str | bytes | None]] = [(name, value) for name, value in record.headers]
                yield Outgoing(head, record.topic, _bytes(record.kafka_key), _bytes(record.payload), headers)
        if missing:
            for row in self._fetch("whole", _array(missing), _SMALL):
                yield _outgoing(missing.pop(row[0]), row)

    def _large(self, heads: dict[int, Head]) -> Iterator[list[Outgoing | Failure]]:
        """Those of these rows that are still there. What no record can hold is not read."""
        refused: list[Outgoing | Failure] = []
        sizes: dict[int, int] = {}
        for seq, topic, content, headers in self._fetch("sizes", _array(heads), MAX_RECORD_BYTES):
            if defect := size_defect(content, headers):
                refused.append(Failure(heads[seq], topic, defect))
            else:
                sizes[seq] = content + headers
        for part in [*parts(sizes, _AT_ONCE)] or [[]]:
            yield refused + [_outgoing(heads[row[0]], row) for row in self._fetch("large", _array(part))]
            refused = []

    def drop(self, seqs: Sequence[int]) -> None:
        """Delete rows that the broker has."""
        self._cursor.execute("EXECUTE outbox_drop (%s)", (_array(seqs),))
        self._dropped += len(seqs)
        if self._aside:
            for seq in seqs:
                self._aside.pop(seq, None)

    def _look(self) -> None:
        """Often while rows are deleted, seldom while nothing happens."""
        now = time.monotonic()
        if now - self._looked_at >= (_LOOK_S if self._dropped >= _LOOK_ROWS else _LOOK_IDLE_S):
            self._horizon.look()
            self._looked_at, self._dropped = now, 0
            if self._horizon.settled < self._floor:
                # somebody has set the sequence back
                self._from_the_beginning()

    def _from_the_beginning(self) -> None:
        self._floor = 0
        self._aside.clear()

    def _raise_floor(self, empty_to: int, blocked: Sequence[str]) -> None:
        """Up to `empty_to`: what waits below is of blocked keys, and is remembered. Not beyond what is settled."""
        floor = min(empty_to, self._horizon.settled)
        if floor <= self._floor:
            return
        if blocked:
            room = _ASIDE_MOST - len(self._aside)
            passed = self._fetch("blocked", self._floor, floor, _array(self._shards), list(blocked), room + 1)
            if len(passed) > room:
                return
            self._aside.update(passed)
        self._floor = floor

    def _from_aside(self, blocked: Sequence[str]) -> list[Head]:
        """The rows below the floor whose keys may go again."""
        still = set(blocked)
        free = [seq for seq, key in self._aside.items() if key not in still]
        if not free:
            return []
        rows = self._fetch("these", _array(free), _array(self._shards))
        for seq in set(free).difference(seq for seq, *_ in rows):
            # taken out by hand, or with its shard by another relay
            del self._aside[seq]
        return rows

    def _fetch(self, statement: str, *values: Any) -> list[tuple[Any, ...]]:
        places = ", ".join(["%s"] * len(values))
        self._cursor.execute(f"EXECUTE outbox_{statement} ({places})", values)
        return self._cursor.fetchall()


def _bytes(stored: bytes | memoryview | None) -> bytes | None:
    return None if stored is None else bytes(stored)


def _outgoing(head: Head, row: tuple[Any, ...]) -> Outgoing | Failure:
    """A row of the table as it goes out, or why it can't."""
    _, topic, key, payload, stored = row
    if defect := topic_defect(topic):
        return Failure(head, topic, defect)
    try:
        headers = cast("list[tuple[str, str | bytes | None]]", headers_from(stored))
        return Outgoing(head, topic, _bytes(key), _bytes(payload), headers)
    except ValueError as error:
        return Failure(head, topic, str(error))


def parts(sizes: dict[int, int], most: int) -> Iterator[list[int]]:
    """The keys of `sizes` in their order, in parts of at most `most` together, or one alone."""
    part, size = list[int](), 0
    for seq, bytes_ in sizes.items():
        if part and size + bytes_ > most:
            yield part
            part, size = [], 0
        part.append(seq)
        size += bytes_
    if part:
        yield part


def _array(numbers: Iterable[int]) -> str:
    """One literal for all of them: Postgres parses it in a fraction of the time that an ARRAY[...] takes."""
    return f"{{{','.join(map(str, numbers))}}}"
