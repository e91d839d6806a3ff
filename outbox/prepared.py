"""Statements that a session plans once: for those that run with every batch, however small it is.

Planning costs more than a small batch's rows. It is done for sessions of an engine that says so (`prepares`); others
may be behind a pooler, where the next transaction's session is another one, and run the statement as it is.
Needs psycopg2.
"""

import re
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from typing import Any, Final

from sqlalchemy import Connection, Engine, event
from sqlalchemy.exc import DBAPIError
from sqlalchemy.orm import Session

from outbox.bulk import Database, driver_of

INDEXES_ONLY: Final = (
    "-c plan_cache_mode=force_generic_plan -c enable_seqscan=off -c enable_hashjoin=off -c enable_mergejoin=off"
    " -c jit=off"
)
"""Options of a session whose statements all look up keys: plans are made before the tables have any rows, for good."""
_PLACE: Final = re.compile(r"(?<!:):([a-z_]+)")
_KNOWN: Final = "prepared"
_WAITING: Final = "sent together"
_NEXT: Final = b";\n"


class Prepared:
    """One statement. name: unique in its sessions. sql: with `:parameter` places. kinds: their Postgres types.

    Arrays are given as text, by `outbox.bulk.array`.
    """

    def __init__(self, name: str, sql: str, kinds: Mapping[str, str]) -> None:
        self._name = name
        numbers = {parameter: f"${number}" for number, parameter in enumerate(kinds, start=1)}
        text = _PLACE.sub(lambda place: numbers[place.group(1)], sql)
        self._prepare = f"PREPARE {name} ({', '.join(kinds.values())}) AS {text}"
        self._execute = f"EXECUTE {name} ({', '.join(f'%({parameter})s' for parameter in kinds)})"
        self._plain = _PLACE.sub(lambda place: f"CAST(%({place.group(1)})s AS {kinds[place.group(1)]})", sql)

    def rows(self, db: Database, values: Mapping[str, Any]) -> list[tuple[Any, ...]]:
        """What it answers."""
        with driver_of(db, self._plain) as cursor:
            self._run(db, cursor, values)
            found: list[tuple[Any, ...]] = cursor.fetchall()
            return found

    def run(self, db: Database, values: Mapping[str, Any]) -> int:
        """How many rows it changed."""
        with driver_of(db, self._plain) as cursor:
            self._run(db, cursor, values)
            return int(cursor.rowcount)

    def send(self, db: Database, values: Mapping[str, Any]) -> None:
        """Run it, now or, within `transaction`, with the next one that is asked for its answer."""
        waiting = info_of(db).get(_WAITING)
        with driver_of(db, self._plain) as cursor:
            if waiting is None:
                self._run(db, cursor, values)
            else:
                waiting.append(cursor.mogrify(self._statement(db, cursor), values))

    def _run(self, db: Database, cursor: Any, values: Mapping[str, Any]) -> None:
        waiting = info_of(db).get(_WAITING)
        statement = cursor.mogrify(self._statement(db, cursor), values)
        if waiting:
            statement = _NEXT.join([*waiting, statement])
            waiting.clear()
        cursor.execute(statement)

    def _statement(self, db: Database, cursor: Any) -> str:
        known = info_of(db).get(_KNOWN)
        if known is None:
            return self._plain
        if self._name not in known:
            cursor.execute(self._prepare)
            known.add(self._name)
        return self._execute


@contextmanager
def transaction(engine: Engine) -> Iterator[Connection]:
    """A transaction in few round trips: BEGIN travels with its first statement, COMMIT with its last.

    What is only sent (`Prepared.send`) waits for the next statement that is asked for its answer, or for the end. An
    error is that of whichever of them failed; nothing is written then.
    engine: in autocommit, so that the driver begins nothing by itself, and one that `prepares`.
    """
    with engine.connect() as db:
        info = db.info
        info[_WAITING] = [b"BEGIN"]
        try:
            yield db
            info[_WAITING].append(b"COMMIT")
            with driver_of(db, "COMMIT") as cursor:
                flush(db, cursor)
        except BaseException:
            info[_WAITING] = []
            _roll_back(db)
            raise
        finally:
            info.pop(_WAITING, None)


def _roll_back(db: Connection) -> None:
    """A session that can't be rolled back must not be anybody's."""
    if db.invalidated:
        return
    try:
        with driver_of(db, "ROLLBACK") as cursor:
            cursor.execute("ROLLBACK")
    except DBAPIError:
        db.invalidate()


def _flush_first(db: Connection, cursor: Any, *_: Any) -> None:
    """Before a statement of SQLAlchemy's own goes what was sent before it."""
    flush(db, cursor)


def flush(db: Database, cursor: Any) -> None:
    """Send what waits."""
    waiting = info_of(db).get(_WAITING)
    if waiting:
        cursor.execute(_NEXT.join(waiting))
        waiting.clear()


def info_of(db: Database) -> dict[Any, Any]:
    """What is kept with the session."""
    return (db.connection() if isinstance(db, Session) else db).info


def prepares(engine: Engine) -> Engine:
    """Let an engine's future sessions keep their plans, and take part in a `transaction`.

    They must not be shared by a pooler of transactions.
    """

    def connected(_driver: Any, record: Any) -> None:
        record.info[_KNOWN] = set()

    event.listen(engine, "connect", connected)
    event.listen(engine, "before_cursor_execute", _flush_first)
    return engine
