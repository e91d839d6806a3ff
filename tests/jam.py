"""A fault on demand in a service's database: a trigger that refuses rows, until it is taken away again."""

from collections.abc import Iterator
from contextlib import contextmanager
from uuid import uuid4

from tests.system import System

_FUNCTION = (
    "CREATE OR REPLACE FUNCTION jam() RETURNS trigger LANGUAGE plpgsql AS $$ BEGIN RAISE EXCEPTION 'jammed'; END $$"
)


@contextmanager
def jammed(system: System, service: str, table: str, verb: str, when: str) -> Iterator[None]:
    """Every row of `table` for which `when` (SQL) is true is refused at INSERT or UPDATE."""
    name = f"jam_{uuid4().hex[:8]}"
    system.execute(service, _FUNCTION)
    system.execute(
        service, f"CREATE TRIGGER {name} BEFORE {verb} ON {table} FOR EACH ROW WHEN ({when}) EXECUTE FUNCTION jam()"
    )
    try:
        yield
    finally:
        system.execute(service, f"DROP TRIGGER {name} ON {table}")
