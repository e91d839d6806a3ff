"""What holds for the servers whatever becomes of them: tested on the real ones."""

from __future__ import annotations

import os
import re
import signal
import stat
import subprocess
import sys
from collections.abc import Mapping
from contextlib import closing
from pathlib import Path

import psutil
import psycopg2
import pytest
from confluent_kafka import Consumer, Producer
from confluent_kafka.admin import AdminClient
from confluent_kafka.cimpl import NewTopic
from confluent_kafka.schema_registry import Schema, SchemaRegistryClient

from compose.stack import Stack, StackError
from compose.stack.processes import Launch, wait_for
from compose.stack.provider import Provider
from compose.stack.servers import Site

from .conftest import processes_of

_ENDS_LIMIT_S = 40


def _connect(url: str) -> psycopg2.extensions.connection:
    return psycopg2.connect(url.replace("+psycopg2", ""), connect_timeout=5)


def _publish(env: Mapping[str, str], topic: str, value: bytes) -> None:
    admin = AdminClient({"bootstrap.servers": env["KAFKA_BOOTSTRAP_SERVERS"]})
    admin.create_topics([NewTopic(topic, 1)])[topic].result(20)
    producer = Producer({"bootstrap.servers": env["KAFKA_BOOTSTRAP_SERVERS"], "acks": "all"})
    producer.produce(topic, value)
    assert producer.flush(20) == 0


def _read(env: Mapping[str, str], topic: str) -> bytes | None:
    """The first record of a topic, read as a member of a KIP-848 group."""
    settings = {"group.id": f"reads-{topic}", "group.protocol": "consumer", "auto.offset.reset": "earliest"}
    consumer = Consumer({"bootstrap.servers": env["KAFKA_BOOTSTRAP_SERVERS"], **settings})
    try:
        consumer.subscribe([topic])
        message = consumer.poll(20)
        assert message is not None
        assert message.error() is None
        return message.value()
    finally:
        consumer.close()


def test_down_leaves_no_process_and_up_finds_everything_again(stack: Stack) -> None:
    env = stack.env()
    _publish(env, "kept", b"a record")
    with SchemaRegistryClient({"url": env["SCHEMA_REGISTRY_URL"]}) as registry:
        registered = registry.register_schema("kept-value", Schema('{"type": "string"}', "AVRO"))
    with _connect(env["WAREHOUSE_OWNER_DATABASE_URL"]) as warehouse, warehouse.cursor() as cursor:
        cursor.execute("CREATE TABLE kept AS SELECT 42 AS answer")
    warehouse.close()

    stack.down()
    assert processes_of(stack.data_dir) == []
    assert {server.state for server in stack.status()} == {"stopped"}
    stack.down()

    assert stack.up() == env
    assert _read(env, "kept") == b"a record"
    with SchemaRegistryClient({"url": env["SCHEMA_REGISTRY_URL"]}) as registry:
        assert registry.get_latest_version("kept-value").schema_id == registered
    with _connect(env["WAREHOUSE_OWNER_DATABASE_URL"]) as warehouse, warehouse.cursor() as cursor:
        cursor.execute("SELECT answer FROM kept")
        assert cursor.fetchone() == (42,)
    warehouse.close()


def test_up_repairs_what_was_killed(stack: Stack) -> None:
    env = stack.env()
    _publish(env, "survives", b"the crash")
    before = {server.name: server.pid for server in stack.status()}
    _freeze_a_session(env["CHECKOUT_DATABASE_URL"])  # it outlives its server, and holds on to the shared memory
    for victim in ("kafka", "postgres"):
        os.kill(before[victim] or 0, signal.SIGKILL)
    assert wait_for(lambda: [s.name for s in stack.status() if s.state == "stopped"] == ["postgres", "kafka"], 10)

    assert stack.up() == env

    after = {server.name: server.pid for server in stack.status()}
    assert [name for name in before if after[name] != before[name]] == ["postgres", "kafka"]
    assert _read(env, "survives") == b"the crash"


def _freeze_a_session(url: str) -> None:
    session = _connect(url)
    os.kill(session.info.backend_pid, signal.SIGSTOP)
    session.close()


def test_postgres_starts_though_its_pid_file_names_somebody_elses_process(stack: Stack) -> None:
    stack.stop_server("postgres", kill=True)
    file = stack.data_dir / "postgres" / "postmaster.pid"
    _, *rest = file.read_text().splitlines(keepends=True)
    with subprocess.Popen(("sleep", "60"), user=file.stat().st_uid) as other:
        file.write_text("".join([f"{other.pid}\n", *rest]))
        stack.start_server("postgres")
        assert other.poll() is None
        other.kill()


@pytest.mark.parametrize("name", ["kafka", "postgres"])
def test_one_server_stops_and_starts_while_the_others_run(stack: Stack, name: str) -> None:
    env = stack.env()
    others = [server for server in stack.status() if server.name != name]
    stack.stop_server(name, kill=True)
    assert [server.name for server in stack.status() if server.state == "stopped"] == [name]
    stack.start_server(name)
    assert {server.state for server in stack.status()} == {"running"}
    assert [server.pid for server in stack.status() if server.name != name] == [server.pid for server in others]
    assert stack.env() == env


def test_a_services_role_opens_its_own_database_only(stack: Stack) -> None:
    env = stack.env()
    for service in ("checkout", "payment", "warehouse"):
        _connect(env[f"{service.upper()}_DATABASE_URL"]).close()
    for other in ("checkout", "warehouse", "registry"):
        with pytest.raises(psycopg2.OperationalError, match="permission denied for database"):
            _connect(re.sub(r"/\w+$", f"/{other}", env["PAYMENT_DATABASE_URL"]))
    with closing(_connect(env["PAYMENT_DATABASE_URL"])) as db, db.cursor() as cursor:
        for table in ("TABLE", "TEMPORARY TABLE"):
            with pytest.raises(psycopg2.errors.InsufficientPrivilege):
                cursor.execute(f"CREATE {table} mine (id int)")
            db.rollback()
    with pytest.raises(psycopg2.OperationalError, match="password authentication failed"):
        _connect(re.sub(r"//payment:[^@]+@", "//checkout:guessed@", env["PAYMENT_DATABASE_URL"]))


def test_money_is_flushed_and_debezium_could_read_along(stack: Stack) -> None:
    with _connect(stack.env()["POSTGRES_ADMIN_URL"]) as admin, admin.cursor() as cursor:
        names = ("fsync", "synchronous_commit", "wal_level", "max_connections", "listen_addresses")
        cursor.execute("SELECT name, setting FROM pg_settings WHERE name IN %s", (names,))
        settings = dict(cursor.fetchall())
    admin.close()
    assert settings["fsync"] == settings["synchronous_commit"] == "on"
    assert (settings["wal_level"], settings["max_connections"]) == ("logical", "300")
    assert settings["listen_addresses"] == "127.0.0.1"


def test_a_terminals_ctrl_c_does_not_reach_the_servers(stack: Stack) -> None:
    assert all(os.getsid(server.pid or 0) == server.pid for server in stack.status())


def test_every_server_listens_on_loopback_only(stack: Stack) -> None:
    pids = [server.pid for server in stack.status()]
    addresses = {
        connection.laddr.ip
        for pid in pids
        for connection in psutil.Process(pid).net_connections("inet")
        if connection.status == psutil.CONN_LISTEN
    }
    assert {address.removeprefix("::ffff:") for address in addresses} == {"127.0.0.1"}


def test_no_password_is_in_an_argument_or_a_log(stack: Stack) -> None:
    state = stack.data_dir / "state.json"
    assert stat.S_IMODE(state.stat().st_mode) == 0o600
    assert stat.S_IMODE(stack.data_dir.stat().st_mode) == 0o700
    passwords = re.findall(r'"\w+": ?"([\w-]{32})"', state.read_text())
    assert len(passwords) == 8
    told = [log.read_text(errors="replace") for log in stack.data_dir.glob("*.log")]
    told += [" ".join(psutil.Process(server.pid).cmdline()) for server in stack.status()]
    assert not [word for word in passwords if any(word in text for text in told)]


def test_a_server_that_ended_instead_of_starting_says_why_and_leaves_nothing_running(
    tmp_path: Path, environ: Mapping[str, str], monkeypatch: pytest.MonkeyPatch
) -> None:
    def broken(_self: Provider, site: Site) -> Launch:
        return Launch((sys.executable, "-c", "raise SystemExit('the ledger is damaged')"), {}, site.data)

    monkeypatch.setattr(Provider, "launch", broken)
    # Postgres and the provider only
    others = {"KAFKA_BOOTSTRAP_SERVERS": "elsewhere:9092", "SCHEMA_REGISTRY_URL": "http://elsewhere"}
    stack = Stack(tmp_path / "data", environ={**environ, **others})
    with pytest.raises(StackError, match=r"(?s)provider ended instead.*provider\.log.*the ledger is damaged"):
        stack.up()
    assert processes_of(tmp_path) == []


_OWNER = """
import os, sys, time
from pathlib import Path
from compose.stack import running_stack
with running_stack(Path(sys.argv[1]), environ=os.environ) as stack:
    print("up", flush=True)
    time.sleep(300)
"""


@pytest.mark.parametrize("number", [signal.SIGKILL, pytest.param(signal.SIGTERM, marks=pytest.mark.slow)])
def test_servers_end_with_the_process_that_owns_them(
    tmp_path: Path, environ: Mapping[str, str], number: signal.Signals
) -> None:
    command = (sys.executable, "-c", _OWNER, str(tmp_path / "data"))
    with subprocess.Popen(command, stdout=subprocess.PIPE, env=environ, text=True, start_new_session=True) as owner:
        assert owner.stdout is not None
        assert owner.stdout.readline() == "up\n"
        assert len(processes_of(tmp_path)) > 4
        os.killpg(owner.pid, number)
    assert wait_for(lambda: processes_of(tmp_path) == [], _ENDS_LIMIT_S), processes_of(tmp_path)
