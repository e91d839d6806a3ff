"""Loads and saves the states of many checkouts with one statement each.

A state is a frozen dataclass whose fields are the columns of its table; `checkout_id` is the primary key. Loaded rows
stay locked until the transaction ends; `version` catches the one race that locks can't: two processes that create
the same row.
"""

from collections.abc import Callable, Iterable, Mapping
from dataclasses import fields
from typing import Any, Generic, Protocol, TypeVar

from sqlalchemy import Connection, Row, text

from outbox.bulk import BulkInsert
from outbox.inbox import HandledElsewhereError


class HasCheckoutId(Protocol):
    """What every state has."""

    @property
    def checkout_id(self) -> str:
        """The primary key."""

    @property
    def status(self) -> str:
        """The state's name, for the audit trail."""


S = TypeVar("S", bound=HasCheckoutId)
Keep = Callable[[Any], Any]


class StateTable(Generic[S]):
    """One table of states.

    make: builds a state from a row. columns: field -> Postgres type. keep: how a field's value is written where
    the driver doesn't know its type.
    """

    def __init__(
        self, table: str, make: Callable[[Row[Any]], S], columns: Mapping[str, str], keep: Mapping[str, Keep]
    ) -> None:
        names = list(columns)
        rest = [name for name in names if name != "checkout_id"]
        updates = ", ".join(f"{name} = excluded.{name}" for name in [*rest, "version"])
        self._names, self._make, self._keep = names, make, keep
        # names come from this code; values are bound
        self._load = text(
            f"SELECT {', '.join(names)}, version FROM {table}"  # noqa: S608
            " WHERE checkout_id = ANY(:ids) ORDER BY checkout_id FOR UPDATE"
        )
        self._upsert = BulkInsert(
            table,
            {**columns, "version": "bigint"},
            f"ON CONFLICT (checkout_id) DO UPDATE SET {updates}, updated_at = now()"
            f" WHERE {table}.version = excluded.version - 1",
        )

    def load(self, db: Connection, checkout_ids: Iterable[str]) -> "States[S]":
        """The states of `checkout_ids`, locked in the order of their ids, so that two batches can't deadlock."""
        rows = db.execute(self._load, {"ids": sorted(set(checkout_ids))}).all()
        return States(self, {row.checkout_id: (self._make(row), row.version) for row in rows})

    def save(self, db: Connection, states: Iterable[tuple[S, int]]) -> None:
        """Write (state, new version). Raises HandledElsewhereError when another process created one of them."""
        rows = sorted((*self._values(state), version) for state, version in states)
        if self._upsert.run(db, rows) != len(rows):
            raise HandledElsewhereError("another process created one of these checkouts meanwhile")

    def _values(self, state: S) -> list[Any]:
        return [self._keep.get(name, _as_is)(getattr(state, name)) for name in self._names]


class States(Generic[S]):
    """The states that a batch works on, in memory."""

    def __init__(self, table: StateTable[S], loaded: dict[str, tuple[S, int]]) -> None:
        self._table = table
        self._versions = {key: version for key, (_, version) in loaded.items()}
        self._states = {key: state for key, (state, _) in loaded.items()}
        self._changed: set[str] = set()

    def get(self, checkout_id: str) -> S | None:
        """What is known of a checkout now, changes of this batch included."""
        return self._states.get(checkout_id)

    def known(self) -> list[S]:
        """Every state of the batch."""
        return list(self._states.values())

    def put(self, state: S) -> None:
        """The new state of a checkout."""
        self._states[state.checkout_id] = state
        self._changed.add(state.checkout_id)

    def save(self, db: Connection) -> None:
        """Write what changed, with one statement."""
        self._table.save(db, ((self._states[key], self._versions.get(key, 0) + 1) for key in sorted(self._changed)))


def _as_is(value: Any) -> Any:
    return value


def field_names(state: type[Any]) -> list[str]:
    """The fields of a state, which are its table's columns."""
    return [f.name for f in fields(state)]
