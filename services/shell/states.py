"""Loads and saves the states of many checkouts with one statement each.

A state is a frozen dataclass whose fields are the columns of its table; `checkout_id` is the primary key. Loaded rows
stay locked until the transaction ends; `version` catches the one race that locks can't: two processes that create
the same row.
"""

from collections.abc import Callable, Collection, Iterable, Mapping, Sequence
from operator import attrgetter
from typing import Any, Final, Generic, Protocol, TypeVar

from sqlalchemy import Connection

from outbox.bulk import array
from outbox.copying import BulkCopy
from outbox.prepared import Prepared

_KEY: Final = "checkout_id"


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

    make: builds a state from its columns' values. columns: field -> Postgres type, `checkout_id` first. keep: how a
    field's value is written where the driver doesn't know its type.
    """

    def __init__(
        self, table: str, make: Callable[..., S], columns: Mapping[str, str], keep: Mapping[str, Keep] | None = None
    ) -> None:
        self._table, self._make, self._keep = table, make, keep or {}
        self._columns = dict(columns)
        self._names = tuple(columns)
        self._values_of = attrgetter(*self._names)
        # names come from this code; values are bound
        self._load = Prepared(
            f"{table}_load",
            f"SELECT {', '.join(columns)}, version FROM {table}"  # noqa: S608
            f" WHERE {_KEY} = ANY(:ids) ORDER BY {_KEY} FOR UPDATE",
            {"ids": "text[]"},
        )
        self._insert = BulkCopy(table, {**columns, "version": "bigint"})
        self._updates: dict[tuple[str, ...], Prepared] = {}

    def load(self, db: Connection, checkout_ids: Iterable[str]) -> "States[S]":
        """The states of `checkout_ids`, locked in the order of their ids, so that two batches can't deadlock."""
        ids = sorted(set(checkout_ids))
        rows = self._load.rows(db, {"ids": array("text", ids)}) if ids else []
        loaded = [(self._make(**dict(zip(self._names, row, strict=False))), row[-1]) for row in rows]
        return States(self, {state.checkout_id: (state, version) for state, version in loaded})

    def insert(self, db: Connection, states: Sequence[S]) -> None:
        """Write states that are new. The primary key refuses those that another process created meanwhile."""
        self._insert.run(db, [(*self._row(state), 1) for state in states])

    def update(self, db: Connection, states: Sequence[S], olds: Sequence[S], versions: Sequence[int]) -> None:
        """Write what differs between `states` and `olds`, and the next of `versions`; both are locked rows."""
        if not states:
            return
        new, old = self._by_column(states), self._by_column(olds)
        changed = tuple(name for name in self._names if new[name] != old[name])
        columns = {name: self._array(name, new[name]) for name in (_KEY, *changed)}
        columns["version"] = array("bigint", [version + 1 for version in versions])
        self._update(changed).send(db, columns)

    def _update(self, names: tuple[str, ...]) -> Prepared:
        """The statement that writes these columns: few differ in a batch, and the others' values need not travel."""
        if names not in self._updates:
            kinds = {_KEY: "text", **{name: self._columns[name] for name in names}, "version": "bigint"}
            sets = ", ".join(f"{name} = new.{name}" for name in (*names, "version"))
            self._updates[names] = Prepared(
                f"{self._table}_update_{len(self._updates)}",
                f"WITH saved AS (UPDATE {self._table} AS old SET {sets}, updated_at = now()"  # noqa: S608
                f" FROM unnest({', '.join(f':{name}' for name in kinds)}) AS new ({', '.join(kinds)})"
                f" WHERE old.{_KEY} = new.{_KEY} AND old.version = new.version - 1 RETURNING 1)"
                " SELECT insist(count(*) = cardinality(:version), 'another process changed one of these checkouts')"
                " FROM saved",
                {name: f"{kind}[]" for name, kind in kinds.items()},
            )
        return self._updates[names]

    def _by_column(self, states: Sequence[S]) -> dict[str, Sequence[Any]]:
        return dict(zip(self._names, zip(*map(self._values_of, states), strict=True), strict=True))

    def _array(self, name: str, values: Sequence[Any]) -> str:
        keep = self._keep.get(name)
        return array(self._columns[name], map(keep, values) if keep else values)

    def _row(self, state: S) -> Sequence[Any]:
        values: tuple[Any, ...] = self._values_of(state)
        if not self._keep:
            return values
        return [self._keep.get(name, _as_is)(value) for name, value in zip(self._names, values, strict=True)]


class States(Generic[S]):
    """The states that a batch works on, in memory."""

    def __init__(self, table: StateTable[S], loaded: dict[str, tuple[S, int]]) -> None:
        self._table = table
        self._loaded = loaded
        self._states = {key: state for key, (state, _) in loaded.items()}
        self._changed: set[str] = set()

    def get(self, checkout_id: str) -> S | None:
        """What is known of a checkout now, changes of this batch included."""
        return self._states.get(checkout_id)

    def known(self) -> Collection[S]:
        """Every state of the batch."""
        return self._states.values()

    def put(self, state: S) -> None:
        """The new state of a checkout."""
        self._states[state.checkout_id] = state
        self._changed.add(state.checkout_id)

    def save(self, db: Connection) -> None:
        """Write what changed: a statement for what is new, and one for what was there."""
        changed = sorted(self._changed)
        self._table.insert(db, [self._states[key] for key in changed if key not in self._loaded])
        olds = [self._loaded[key] for key in changed if key in self._loaded]
        states = [self._states[state.checkout_id] for state, _ in olds]
        self._table.update(db, states, [state for state, _ in olds], [version for _, version in olds])


def _as_is(value: Any) -> Any:
    return value
