"""Postgres 18 on loopback TCP, with a database, a role and a password for each service."""

from __future__ import annotations

import shutil
import signal
import tempfile
from contextlib import closing, suppress
from pathlib import Path

import psutil
import psycopg2
from psycopg2 import sql
from psycopg2.extensions import ISOLATION_LEVEL_AUTOCOMMIT, connection, encrypt_password

from compose.stack import postgres_home
from compose.stack.errors import StackError
from compose.stack.ports import HOST
from compose.stack.processes import Account, Launch, base_environ, identify, kill, run, wait_for
from compose.stack.servers import Site

ADMIN = "postgres"
SERVICES = ("checkout", "payment", "warehouse")
OWNERS = {service: f"{service}_owner" for service in SERVICES}
"""Service -> the role that its database's tables belong to; the service's own reads and writes rows."""
ROLES = (*SERVICES, *OWNERS.values(), "registry")

_SETTINGS = {
    "listen_addresses": HOST,
    "unix_socket_directories": "",  # a socket's path has a length limit, a data folder's has none
    "max_connections": "300",
    "shared_buffers": "256MB",
    "wal_level": "logical",  # so that Debezium can take the relay's place
    "fsync": "on",  # said aloud: this is about money
    "synchronous_commit": "on",
    "timezone": "UTC",
    "log_timezone": "UTC",
    "log_line_prefix": "%m [%p] %q%u@%d ",
    # neither rows nor statements: a refused one may hold a payment method's token
    "log_error_verbosity": "terse",
    "log_min_error_statement": "panic",
}

_INITDB_LIMIT_S = 120
_ORPHANS_LIMIT_S = 2.0


class Postgres:
    """The database server."""

    name = "postgres"
    ports: tuple[str, ...] = ("postgres",)
    needs: tuple[str, ...] = ()
    stop_signal: int = signal.SIGINT  # "fast": ends sessions and writes a checkpoint; SIGTERM waits for the sessions

    def install(self, site: Site) -> None:
        """Nothing to download: the wheel has the programs."""

    def prepare(self, site: Site) -> None:
        """Make the cluster the first time; clear away what a killed server left."""
        folder = site.data / "postgres"
        if not folder.exists():
            _initdb(folder, site)
        _end_orphans(folder)
        _drop_stale_pid_file(folder)
        _configure(folder, site.state.ports["postgres"])

    def launch(self, site: Site) -> Launch:
        """Run the server itself (not by pg_ctl), so that its pid is known from the start."""
        folder = site.data / "postgres"
        runs_as = postgres_home.account()
        program = str(postgres_home.bin_dir(runs_as) / "postgres")
        argv = (program, "-D", postgres_home.data_argument(folder, runs_as))
        return Launch(argv, base_environ(site.environ), cwd=folder, account=runs_as)

    def is_ready(self, site: Site) -> bool:
        """Ready when the superuser can log in."""
        try:
            _connect(site, ADMIN).close()
        except psycopg2.OperationalError:
            return False
        return True

    def settle(self, site: Site) -> None:
        """Make the roles and databases that are missing."""
        with closing(_connect(site, ADMIN)) as admin:
            for role in ROLES:
                _ensure_role(admin, role, site.state.passwords[role])
            for database in (*SERVICES, "registry"):
                _ensure_database(admin, database, OWNERS.get(database, database))
        for service, owner in OWNERS.items():
            with closing(_connect(site, service)) as admin:
                _hand_over(admin, service, owner)


def _connect(site: Site, database: str) -> connection:
    admin = psycopg2.connect(
        host=HOST,
        port=site.state.ports["postgres"],
        user=ADMIN,
        password=site.state.passwords[ADMIN],
        dbname=database,
        connect_timeout=5,
    )
    admin.set_isolation_level(ISOLATION_LEVEL_AUTOCOMMIT)  # CREATE DATABASE refuses a transaction
    return admin


def _ensure_role(admin: connection, role: str, password: str) -> None:
    with admin.cursor() as cursor:
        cursor.execute("SELECT 1 FROM pg_roles WHERE rolname = %s", (role,))
        if cursor.fetchone() is None:
            # the verifier and not the password goes over the wire: a failing statement is logged as it is
            verifier = encrypt_password(password, role, scope=admin, algorithm="scram-sha-256")
            cursor.execute(sql.SQL("CREATE ROLE {} LOGIN PASSWORD %s").format(sql.Identifier(role)), (verifier,))


def _ensure_database(admin: connection, database: str, owner: str) -> None:
    name = sql.Identifier(database)
    with admin.cursor() as cursor:
        cursor.execute("SELECT 1 FROM pg_database WHERE datname = %s", (database,))
        if cursor.fetchone() is None:
            cursor.execute(sql.SQL("CREATE DATABASE {} OWNER {}").format(name, sql.Identifier(owner)))
        # a service's role can open its own database only, and makes no table there, not even a temporary one
        cursor.execute(sql.SQL("REVOKE CONNECT, TEMPORARY ON DATABASE {} FROM PUBLIC").format(name))
        if owner != database:
            cursor.execute(sql.SQL("GRANT CONNECT ON DATABASE {} TO {}").format(name, name))


def _hand_over(admin: connection, service: str, owner: str) -> None:
    """A database from before there was an owner: what is in it, and it itself, was the service's."""
    with admin.cursor() as cursor:
        cursor.execute(sql.SQL("REASSIGN OWNED BY {} TO {}").format(sql.Identifier(service), sql.Identifier(owner)))


def _initdb(folder: Path, site: Site) -> None:
    """Make the cluster under another name and rename it: a folder that exists is a whole one."""
    new = folder.with_suffix(".new")
    shutil.rmtree(new, ignore_errors=True)
    new.mkdir(mode=0o700)
    runs_as = postgres_home.account()
    postgres_home.hand_over(new, runs_as)
    with tempfile.NamedTemporaryFile("w") as password:
        password.write(site.state.passwords[ADMIN])
        password.flush()
        postgres_home.hand_over(Path(password.name), runs_as)
        _run_initdb(new, password.fileno(), runs_as, base_environ(site.environ))
    new.rename(folder)


def _run_initdb(new: Path, password: int, runs_as: Account | None, environ: dict[str, str]) -> None:
    program = str(postgres_home.bin_dir(runs_as) / "initdb")
    where = ("-D", postgres_home.data_argument(new, runs_as))
    # by a descriptor: the account can't be counted on to reach the file by its path
    login = ("-U", ADMIN, "--auth=scram-sha-256", f"--pwfile=/dev/fd/{password}")
    # the collation of bytes: the same order of strings on every machine
    text = ("--encoding=UTF8", "--locale=C", "--locale-provider=builtin", "--builtin-locale=C.UTF-8")
    launch = Launch((program, *where, *login, *text), environ, cwd=new, account=runs_as)
    done = run(launch, _INITDB_LIMIT_S, pass_fds=(password,))
    if done.returncode != 0:
        raise StackError(f"can't make the Postgres cluster in {new}: {done.stderr.strip()}")


def _configure(folder: Path, port: int) -> None:
    """Write the configuration for today's port; a setting of the user's own belongs into ALTER SYSTEM."""
    lines = [f"{name} = '{value}'" for name, value in (_SETTINGS | {"port": str(port)}).items()]
    (folder / "postgresql.conf").write_text("\n".join(["# written before every start", *lines, ""]))


def _end_orphans(folder: Path) -> None:
    """Wait for the backends of a killed server: as long as they live, a new one is refused the memory they share."""
    if not wait_for(lambda: not _inhabitants(folder), _ORPHANS_LIMIT_S):
        for orphan in _inhabitants(folder):
            kill(identify(orphan.pid))


def _inhabitants(folder: Path) -> list[psutil.Process]:
    """The Postgres processes whose working directory is this folder."""
    found = []
    for process in psutil.process_iter(["name"]):
        with suppress(psutil.Error):  # it ended, or it's another user's and so none of ours
            if process.info["name"] == "postgres" and process.cwd() == str(folder):
                found.append(process)
    return found


def _drop_stale_pid_file(folder: Path) -> None:
    """Remove the pid file of a killed server: its pid may be another program's by now, which Postgres takes for it."""
    (folder / "postmaster.pid").unlink(missing_ok=True)
