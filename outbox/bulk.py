"""Many rows in one statement: the columns travel as arrays, so a batch of 500 costs the statements of a batch of 5."""

from collections.abc import Mapping, Sequence
from typing import Any

from sqlalchemy import Connection, CursorResult, text
from sqlalchemy.orm import Session

Database = Connection | Session
"""Whatever holds the caller's transaction."""


class BulkInsert:
    """`INSERT INTO table SELECT * FROM unnest(...)`.

    columns: name -> Postgres type, in the order of the rows' values. Values of json columns are text.
    then: what follows, such as an ON CONFLICT clause or RETURNING.
    """

    def __init__(self, table: str, columns: Mapping[str, str], then: str = "") -> None:
        arrays = ", ".join(f"CAST(:{name} AS {kind}[])" for name, kind in columns.items())
        names = ", ".join(columns)
        self._names = tuple(columns)
        # every name comes from this code, every value is bound
        self._statement = text(f"INSERT INTO {table} ({names}) SELECT * FROM unnest({arrays}) {then}")  # noqa: S608

    def run(self, db: Database, rows: Sequence[Sequence[Any]]) -> int:
        """Insert `rows`; the number of rows written. No statement at all for no rows."""
        if not rows:
            return 0
        columns = {name: list(values) for name, values in zip(self._names, zip(*rows, strict=True), strict=True)}
        result = db.execute(self._statement, columns)
        return result.rowcount if isinstance(result, CursorResult) else 0
