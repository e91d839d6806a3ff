"""Which rows of an outbox don't leave, and why: for people. Asks by the same functions as the relay."""

from collections.abc import Iterator
from dataclasses import dataclass, replace
from itertools import islice
from typing import Any, Final

from sqlalchemy import Connection, text

from outbox.add import SHARDS
from outbox.publishable import headers_from, size_defect, topic_defect

_READ_BYTES: Final = 64 * 1024
"""Headers of a row that are read together with those of many others."""
_AT_ONCE: Final = 500
_LAST: Final = text("SELECT coalesce(pg_sequence_last_value(pg_get_serial_sequence('outbox', 'seq')::regclass), 0)")
_ROWS: Final = text(
    """
    SELECT seq, left(topic, 300) AS topic, left(aggregateid, 300) AS key, shard,
    coalesce(octet_length(payload), 0)::bigint + coalesce(octet_length(key), 0) AS content,
    octet_length(headers::text) AS headers_bytes,
    CASE WHEN octet_length(headers::text) <= :read THEN headers::text END AS headers,
    CASE WHEN isfinite(created_at) THEN extract(epoch FROM now() - created_at) ELSE 0 END AS age_s
    FROM outbox WHERE seq <= :last ORDER BY seq
    """
)
_HEADERS: Final = text("SELECT headers::text FROM outbox WHERE seq = :seq")
_BEHIND: Final = text(
    """
    SELECT stuck.seq, count(*) FROM unnest(CAST(:seqs AS bigint[]), CAST(:keys AS text[])) AS stuck (seq, key)
    JOIN outbox ON left(outbox.aggregateid, 300) = stuck.key AND outbox.seq > stuck.seq GROUP BY stuck.seq
    """
)
_COUNT: Final = text("SELECT count(*) FROM outbox WHERE seq <= :last")
_WAITING: Final = text(
    "SELECT count(*), coalesce(extract(epoch FROM now() - min(created_at) FILTER (WHERE isfinite(created_at))), 0)"
    " FROM outbox"
)
_OLD: Final = "newer rows have left: the broker refuses it, or there is no such topic; the service's log says which"


@dataclass(frozen=True, slots=True)
class Stuck:
    """A row that doesn't leave. key: the ordering key, its first 300 characters. behind: later rows of its key.

    unpublishable: whether no relay can ever publish it; else it is only old. why: a sentence.
    """

    seq: int
    topic: str
    key: str
    age_s: float
    why: str
    unpublishable: bool
    behind: int = 0


def stuck_rows(db: Connection, older_than_s: float, most: int) -> list[Stuck]:
    """The first `most` of them, by seq. db: in a transaction of isolation REPEATABLE READ.

    Unpublishable rows, and the first row of a key that is older than `older_than_s` while newer rows have left.
    """
    last = int(db.execute(_LAST).scalar_one())
    rows = int(db.execute(_COUNT, {"last": last}).scalar_one())
    found = list(islice(_found(db, last, rows, older_than_s), most))
    if not found:
        return []
    asked = {"seqs": [row.seq for row in found], "keys": [row.key for row in found]}
    behind = {int(seq): int(count) for seq, count in db.execute(_BEHIND, asked)}
    return [replace(row, behind=behind.get(row.seq, 0)) for row in found]


def _found(db: Connection, last: int, rows: int, older_than_s: float) -> Iterator[Stuck]:
    waiting: set[str] = set()
    reading = db.execute(_ROWS, {"read": _READ_BYTES, "last": last}, execution_options={"yield_per": _AT_ONCE})
    for number, row in enumerate(reading, start=1):
        age_s = float(row.age_s)
        # more numbers were given to later rows than there are such rows: some have left, or were rolled back
        overtaken = age_s > older_than_s and last - row.seq > rows - number
        why = row_defect(db, row)
        if why or (overtaken and row.key not in waiting):
            yield Stuck(row.seq, row.topic, row.key, age_s, why or _OLD, unpublishable=bool(why))
        if why or overtaken:
            waiting.add(row.key)


def row_defect(db: Connection, row: Any) -> str:
    """Why no relay can publish a row of `_ROWS`; "" where one can."""
    if not 0 <= row.shard < SHARDS:
        return f"its shard is {row.shard}, and no relay has that one: there are {SHARDS}, from 0 on"
    if row.seq <= 0:
        return "relays read from seq 1 on"
    defect = topic_defect(row.topic) or size_defect(row.content, row.headers_bytes)
    if defect:
        return defect
    stored = row.headers if row.headers is not None else db.execute(_HEADERS, {"seq": row.seq}).scalar_one()
    return headers_defect(stored)


def headers_defect(stored: str) -> str:
    """Why these are no headers; "" where they are."""
    try:
        headers_from(stored)
    except ValueError as error:
        return str(error)
    return ""


def waiting_rows(db: Connection) -> tuple[int, float]:
    """How many rows there are, and the age of the oldest in seconds."""
    count, age_s = db.execute(_WAITING).one()
    return int(count), float(age_s)
