"""compose/initdb on a real Postgres: every service gets a database of its own, and nobody that of another."""

import os
import subprocess
from collections.abc import Iterator
from contextlib import closing
from pathlib import Path

import psycopg2
import pytest

from compose.make_env import PASSWORDS
from compose.stack import postgres_home
from compose.stack.ports import HOST, free_port
from compose.stack.postgres import ADMIN, Postgres
from compose.stack.processes import spawn, stop, wait_for
from compose.stack.servers import Site
from compose.stack.state import State
from tests.compose.composition import ROOT

SCRIPT = ROOT / "compose" / "initdb" / "10-databases.sql"
SERVICES = ("checkout", "payment", "warehouse")
OWNERS = {f"{service}_owner": service for service in SERVICES} | {"registry": "registry"}
"""Role -> the database that is its own."""
ROLES = OWNERS | {service: service for service in SERVICES}
"""Role -> the database that it opens."""
GIVEN = {name: f"secret of {name}" for name in PASSWORDS}


def run_script(port: int, password: str, given: dict[str, str]) -> subprocess.CompletedProcess[str]:
    """Run the script as the image's entry point does."""
    psql = postgres_home.bin_dir(postgres_home.account()) / "psql"
    options = ("-v", "ON_ERROR_STOP=1", "--no-psqlrc", "-U", ADMIN, "-h", HOST, "-p", str(port), "-f", str(SCRIPT))
    environ = {"PATH": os.environ["PATH"], "PGPASSWORD": password, **given}
    return subprocess.run([psql, *options], env=environ, capture_output=True, text=True, check=False, timeout=60)


@pytest.fixture(scope="module")
def empty(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Site]:
    """A Postgres in which nothing was made yet."""
    server, folder = Postgres(), tmp_path_factory.mktemp("databases")
    site = Site(folder, folder, State(ports={"postgres": free_port(())}), os.environ, lambda _: None)
    site.state.ensure_passwords([ADMIN])
    server.prepare(site)
    process = spawn(server.launch(site), folder / "postgres.log")
    try:
        assert wait_for(lambda: server.is_ready(site), 60), (folder / "postgres.log").read_text()
        yield site
    finally:
        stop([(process, server.stop_signal)], 30)


@pytest.fixture(scope="module")
def made(empty: Site) -> Site:
    """The same after the script."""
    refused = run_script(empty.state.ports["postgres"], empty.state.passwords[ADMIN], {})
    assert refused.returncode != 0, "a missing password has to stop it"
    done = run_script(empty.state.ports["postgres"], empty.state.passwords[ADMIN], GIVEN)
    assert done.returncode == 0, done.stderr
    return empty


def connect(site: Site, role: str, database: str, password: str | None = None) -> None:
    """Log in and make a table; raises psycopg2.Error."""
    given = GIVEN[f"{role.upper()}_DB_PASSWORD"] if password is None else password
    port = site.state.ports["postgres"]
    login = psycopg2.connect(host=HOST, port=port, user=role, password=given, dbname=database)
    with closing(login) as db, db.cursor() as cursor:
        cursor.execute("CREATE TABLE mine (id int)")


@pytest.mark.parametrize("role", OWNERS)
def test_an_owner_can_make_tables_in_its_own_database(made: Site, role: str) -> None:
    connect(made, role, OWNERS[role])


@pytest.mark.parametrize("service", SERVICES)
def test_a_service_opens_its_database_and_makes_no_table_there(made: Site, service: str) -> None:
    with pytest.raises(psycopg2.errors.InsufficientPrivilege):
        connect(made, service, service)


@pytest.mark.parametrize("role", ROLES)
def test_a_role_opens_no_other_database(made: Site, role: str) -> None:
    for other in {*ROLES.values(), ADMIN, "template1"} - {ROLES[role]}:
        with pytest.raises(psycopg2.OperationalError, match="permission denied for database"):
            connect(made, role, other)


def test_a_role_needs_its_own_password(made: Site) -> None:
    with pytest.raises(psycopg2.OperationalError, match="password authentication failed"):
        connect(made, "payment", "payment", GIVEN["CHECKOUT_DB_PASSWORD"])


def test_the_script_is_all_that_is_there_and_the_server_logs_no_password(made: Site) -> None:
    assert [path.name for path in SCRIPT.parent.iterdir()] == [SCRIPT.name]
    log = Path(made.data / "postgres.log").read_text()
    assert not any(password in log for password in GIVEN.values())
