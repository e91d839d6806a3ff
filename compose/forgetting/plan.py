"""What of a customer is at rest and can be forgotten, what is still under way, and how many rows that is."""

from collections.abc import Iterable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

from sqlalchemy import Connection, text

from compose.forgetting.names import Names
from compose.forgetting.tables import CHANGES, METHODS, MOVING, NAMING, OWN, UNPUBLISHED, WAITING
from compose.settings import Servers
from schemas.choreography import SERVICES
from services.shell.database import engine_of

Rows = dict[str, dict[str, int]]
"""Service -> table -> rows."""


@dataclass(frozen=True, slots=True)
class Plan:
    """own: the customer's checkouts at rest. others: those of other customers that named one of the methods, at rest.

    under_way: checkout (or the key of a message that waits) -> why. rows: what is to be changed.
    """

    names: Names
    own: tuple[str, ...]
    others: tuple[str, ...]
    under_way: Mapping[str, tuple[str, ...]]
    rows: Rows

    @property
    def is_empty(self) -> bool:
        """Whether no table has anything to forget."""
        return not any(any(tables.values()) for tables in self.rows.values())

    def values(self, pseudonym: str) -> dict[str, Any]:
        """What the statements of `CHANGES` are given."""
        return {
            "customer": self.names.customer,
            "methods": list(self.names.methods),
            "pattern": self.names.pattern,
            "own": list(self.own),
            "rest": [*self.own, *self.others],
            "moving": bool(self.under_way),
            "pseudonym": pseudonym,
        }


@contextmanager
def transaction(servers: Servers, service: str) -> Iterator[Connection]:
    """A transaction in a service's database, as the owner of its tables where there is one."""
    engine = engine_of(servers.owner_database_url(service), connect_args={"connect_timeout": 5})
    try:
        with engine.begin() as db:
            db.execute(text("SET LOCAL lock_timeout = '10s'"))
            yield db
    finally:
        engine.dispose()


def make_plan(servers: Servers, customer: str) -> Plan:
    """Look, and change nothing. Raises sqlalchemy's DBAPIError.

    What has ended no longer moves, so that what is found at rest here still is when it is forgotten.
    """
    names, own, naming = _whose(servers, customer)
    under_way: dict[str, list[str]] = {}
    for service in SERVICES:
        with transaction(servers, service) as db:
            for checkout_id, why in _moving(db, service, names, own | naming):
                under_way.setdefault(checkout_id, []).append(why)
    plan = Plan(
        names,
        tuple(sorted(own - under_way.keys())),
        tuple(sorted(naming - own - under_way.keys())),
        {checkout_id: tuple(why) for checkout_id, why in sorted(under_way.items())},
        {},
    )
    return Plan(plan.names, plan.own, plan.others, plan.under_way, _counted(servers, plan))


def _whose(servers: Servers, customer: str) -> tuple[Names, set[str], set[str]]:
    """The customer's names, checkouts, and the checkouts that name one of the payment methods."""
    with transaction(servers, "checkout") as db:
        own = set(db.execute(OWN["checkout"], {"customer": customer}).scalars())
    with transaction(servers, "payment") as db:
        methods = tuple(sorted(db.execute(METHODS, {"customer": customer}).scalars()))
        own |= set(db.execute(OWN["payment"], {"customer": customer}).scalars())
        naming = set(db.execute(NAMING, {"methods": list(methods)}).scalars())
    return Names(customer, methods), own, naming


def _moving(db: Connection, service: str, names: Names, ids: Iterable[str]) -> Iterator[tuple[str, str]]:
    """(checkout, why) of what this service still has to do."""
    values = {"ids": sorted(ids), "avro": names.avro}
    for checkout_id, status in db.execute(MOVING[service], values):
        yield checkout_id, f"{service}: {status}"
    for lane, event_type in db.execute(WAITING, values):
        yield lane, f"{service}: {event_type} waits to be tried again"
    for key, topic in db.execute(UNPUBLISHED, values):
        yield key, f"{service}: a record for {topic} is not published yet"


def _counted(servers: Servers, plan: Plan) -> Rows:
    rows: Rows = {}
    for service, changes in CHANGES.items():
        with transaction(servers, service) as db:
            rows[service] = {change.table: change.count(db, plan.values("")) for change in changes}
    return rows
