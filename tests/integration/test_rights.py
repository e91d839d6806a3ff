"""What a service's role may do in its database: read and write rows, and nothing to the tables or to the trail."""

from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Final

import pytest
from psycopg2 import errors
from sqlalchemy import Engine, text
from sqlalchemy.exc import ProgrammingError

from compose import setting_up
from outbox import inbox
from schemas.choreography import SERVICES
from services.shell.database import engine_of
from services.shell.rights import OwnerError
from tests.servers import TestServers
from tests.system import System, wait_for

REFUSED: Final = (
    "CREATE TABLE mine (id int)",
    "CREATE TEMPORARY TABLE mine (id int)",
    "CREATE SCHEMA mine",
    "ALTER TABLE outbox ADD COLUMN mine int",
    "ALTER TABLE audit_trail DROP COLUMN note",
    "DROP TABLE retries",
    "DROP TABLE inbox_other_days",
    "CREATE INDEX mine ON outbox (id)",
    "CREATE TRIGGER mine BEFORE INSERT ON outbox FOR EACH ROW EXECUTE FUNCTION suppress_redundant_updates_trigger()",
    "CREATE OR REPLACE FUNCTION insist(kept boolean, otherwise text) RETURNS void LANGUAGE sql AS ''",
    "TRUNCATE outbox",
    "TRUNCATE audit_trail",
    "UPDATE audit_trail SET note = 'it never was'",
    "DELETE FROM audit_trail",
    "DELETE FROM inbox",
    "SELECT * FROM alembic_version",
    "ALTER DEFAULT PRIVILEGES FOR ROLE {owner} GRANT ALL ON TABLES TO PUBLIC",
    "SET ROLE {owner}",
)
OWN: Final = {
    "checkout": ("DELETE FROM checkouts", "DROP TABLE checkouts"),
    "payment": (
        "DELETE FROM payments",
        "UPDATE payment_methods SET customer_id = 'me'",
        "INSERT INTO payment_methods VALUES ('m', 'me', 'tok_ok')",
    ),
    "warehouse": ("DELETE FROM reservations", "DELETE FROM stock", "INSERT INTO stock VALUES ('sku', 1, 1)"),
}


@pytest.fixture
def role(system: System, request: pytest.FixtureRequest) -> Iterator[Engine]:
    """A service's database, as the service has it."""
    engine = engine_of(system.servers.database_url(request.param))
    yield engine
    engine.dispose()


def run(engine: Engine, sql: str) -> None:
    with engine.begin() as db:
        db.execute(text(sql))


@pytest.mark.parametrize(
    ("role", "sql"),
    [(service, sql) for service in SERVICES for sql in (*REFUSED, *OWN[service])],
    indirect=["role"],
)
def test_a_services_role_is_refused(system: System, role: Engine, sql: str) -> None:
    with pytest.raises(ProgrammingError) as refused:
        run(role, sql.format(owner=f"{role.url.username}_owner"))
    assert isinstance(refused.value.orig, errors.InsufficientPrivilege)


def test_the_service_works_and_its_relay_finds_the_outbox_settled(system: System) -> None:
    request, refused = system.request(), system.request(method="refuses-capture")
    system.publish(request, refused)
    system.await_status("checkout", request.checkout_id, "captured")
    system.await_status("checkout", refused.checkout_id, "compensated")
    system.await_rest()
    system.assert_clean()
    with engine_of(system.servers.database_url("payment")).connect() as db:
        last = "SELECT pg_sequence_last_value(pg_get_serial_sequence('outbox', 'seq')::regclass)"
        assert db.execute(text(last)).scalar_one() > 0


@pytest.mark.parametrize("role", ["checkout"], indirect=True)
def test_it_makes_and_drops_the_days_of_the_inbox(system: System, role: Engine) -> None:
    def days() -> set[str]:
        sql = "SELECT relname FROM pg_inherits JOIN pg_class ON oid = inhrelid WHERE inhparent = 'inbox'::regclass"
        return {row.relname for row in system.rows("checkout", sql)} - {"inbox_other_days"}

    before = wait_for(days, "the service to have made its days")
    later = datetime.now(UTC).date() + timedelta(days=3)
    with role.begin() as db:
        inbox.maintain(db, later)
    assert days() - before == {f"inbox_{later + timedelta(days=n):%Y%m%d}" for n in range(5, inbox.AHEAD_DAYS + 1)}
    with role.begin() as db:
        inbox.maintain(db, later, keep_days=1)
    assert min(days()) == f"inbox_{later - timedelta(days=1):%Y%m%d}"


@pytest.mark.parametrize("role", ["checkout"], indirect=True)
def test_what_is_set_up_twice_has_the_same_rights(system: System, role: Engine) -> None:
    system.execute("checkout", f'GRANT UPDATE ON audit_trail TO "{system.name}_checkout"')
    run(role, "UPDATE audit_trail SET note = note")
    setting_up.migrate(system.servers)
    with pytest.raises(ProgrammingError, match="permission denied"):
        run(role, "UPDATE audit_trail SET note = note")


def test_an_installation_with_one_role_goes_on_and_can_be_handed_over(servers: TestServers, scratch: Path) -> None:
    with System(servers, scratch, services=()) as old:
        role, owner = f"{old.name}_checkout", f"{old.name}_checkout_owner"
        old.execute("checkout", f"REASSIGN OWNED BY {owner} TO {role}")
        old.execute("checkout", f"GRANT CONNECT ON DATABASE {old.name}_checkout TO {owner}")
        alone = old.servers.model_copy(update={"checkout_owner_database_url": old.servers.checkout_database_url})
        setting_up.migrate(alone)
        with pytest.raises(OwnerError, match=f'REASSIGN OWNED BY "{role}" TO "{owner}"'):
            setting_up.migrate(old.servers)
        old.execute("checkout", f"REASSIGN OWNED BY {role} TO {owner}")
        setting_up.migrate(old.servers)
        engine = engine_of(old.servers.database_url("checkout"))
        run(engine, "INSERT INTO fatal_messages VALUES ('t', 0, 0, 1)")
        with pytest.raises(ProgrammingError, match="must be owner"):
            run(engine, "DROP TABLE fatal_messages")
        engine.dispose()
