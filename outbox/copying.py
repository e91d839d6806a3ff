"""Rows that conflict with nothing, the fastest way in: COPY for many, a prepared INSERT for few. Needs psycopg2."""

from collections.abc import Callable, Mapping, Sequence
from io import StringIO
from typing import Any, Final

from outbox.bulk import Database, array, driver_of, instant, text_of
from outbox.prepared import Prepared, flush

_FEW: Final = 50
"""COPY takes a round trip more, which so few rows don't earn back."""
_CHUNK: Final = 1 << 20


class BulkCopy:
    """Writes into one table. columns: name -> Postgres type, in the order of the rows' values."""

    def __init__(self, table: str, columns: Mapping[str, str]) -> None:
        self._columns = tuple(columns.items())
        self._writers = [_LINE.get(kind, str) for kind in columns.values()]
        names, places = ", ".join(columns), ", ".join(f":{name}" for name in columns)
        self._statement = f"COPY {table} ({names}) FROM STDIN"
        self._insert = Prepared(
            f"{table}_insert",
            f"INSERT INTO {table} ({names}) SELECT * FROM unnest({places})",  # noqa: S608 - names from this code
            {name: f"{kind}[]" for name, kind in columns.items()},
        )

    def run(self, db: Database, rows: Sequence[Sequence[Any]]) -> None:
        """Write `rows`, or nothing at all. Raises sqlalchemy's DBAPIError, ValueError for a NUL in a text."""
        if not rows:
            return
        if len(rows) <= _FEW:
            columns = zip(self._columns, zip(*rows, strict=True), strict=True)
            self._insert.send(db, {name: array(kind, values) for (name, kind), values in columns})
        else:
            self._copy(db, rows)

    def _copy(self, db: Database, rows: Sequence[Sequence[Any]]) -> None:
        columns = [_column(w, values) for w, values in zip(self._writers, zip(*rows, strict=True), strict=True)]
        lines = "\n".join(map("\t".join, zip(*columns, strict=True)))
        if "\0" in lines:
            raise ValueError("a text contains NUL, which Postgres can't store")
        with driver_of(db, self._statement) as cursor:
            flush(db, cursor)
            cursor.copy_expert(self._statement, StringIO(lines), _CHUNK)


def _column(write: Callable[[Any], str], values: Sequence[Any]) -> Sequence[str]:
    """Values as COPY writes them; what is the same in every row, like the time of a batch, is written once."""
    first = values[0]
    if first is not None and values.count(first) == len(values):
        return [write(first)] * len(values)
    return [r"\N" if value is None else write(value) for value in values]


def _escaped(value: str) -> str:
    if "\\" in value:
        value = value.replace("\\", "\\\\")
    if "\n" in value or "\t" in value or "\r" in value:
        value = value.replace("\n", "\\n").replace("\t", "\\t").replace("\r", "\\r")
    return value


def _hex(value: bytes) -> str:
    return f"\\\\x{value.hex()}"


_LINE: Final[Mapping[str, Callable[[Any], str]]] = {
    "text": _escaped,
    "json": _escaped,
    "jsonb": _escaped,
    "bytea": _hex,
    "uuid": text_of,
    "timestamptz": instant,
}
