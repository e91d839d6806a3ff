"""Debezium as the relay: Kafka Connect, stand-alone, with its Postgres connector on our outbox table as it is."""

import signal
import subprocess
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from confluent_kafka import KafkaException
from confluent_kafka.admin import AdminClient
from confluent_kafka.cimpl import NewTopic
from sqlalchemy import Engine, create_engine, make_url, text

from compose.stack import StackError
from compose.stack.downloads import cached, jars
from compose.stack.java import java
from compose.stack.paths import cache_dir
from compose.stack.ports import free_port
from compose.stack.processes import base_environ, wait_for

VERSION: Final = "3.6.0.Final"
PLACEMENT: Final = "transforms.outbox.table.fields.additional.placement"
_CONNECT: Final = "4.3.0"
"""The version of Kafka's client that this connector asks for."""
JARS: Final = (
    f"org.apache.kafka:connect-runtime:{_CONNECT}",
    f"org.apache.kafka:connect-json:{_CONNECT}",
    f"org.apache.kafka:connect-transforms:{_CONNECT}",
    f"io.debezium:debezium-connector-postgres:{VERSION}",
    "org.slf4j:slf4j-simple:1.7.36",
)
_JVM: Final = (
    *("-Xms256m", "-Xmx1g", "-XX:+UseSerialGC", "-Dorg.slf4j.simpleLogger.defaultLogLevel=warn"),
    "-Dorg.apache.kafka.automatic.config.providers=org.apache.kafka.common.config.provider.EnvVarConfigProvider",
)
_HOME: Final = Path(__file__).parent
_PUBLICATION: Final = "outbox"
_START_S: Final = 90.0
_STOP_S: Final = 20.0
_ADMIN_S: Final = 30.0
_LOG_LINES: Final = 15


@dataclass(frozen=True)
class Debezium:
    """A connector that runs."""

    pid: int
    process: "subprocess.Popen[bytes]"

    @contextmanager
    def paused(self) -> Iterator[None]:
        """Stopped where it is, warm and connected; shorter than Postgres' `wal_sender_timeout` of a minute."""
        self.process.send_signal(signal.SIGSTOP)
        try:
            yield
        finally:
            self.process.send_signal(signal.SIGCONT)


@contextmanager
def running_debezium(
    environ: Mapping[str, str], folder: Path, database_url: str, slot: str, changes: Mapping[str, str] | None = None
) -> Iterator[Debezium]:
    """Streams the outbox of `database_url` (a superuser's) for the block; afterwards its slot is gone.

    environ: with KAFKA_BOOTSTRAP_SERVERS. folder: for settings, offsets and log, emptied of older offsets. slot: unique
    on the server, of a-z, 0-9 and _. changes: of settings in outbox.properties; "" leaves one out. Raises StackError.
    """
    home = cached(cache_dir(environ), f"debezium-{VERSION}", jars(JARS), lambda _line: None)
    folder.mkdir(parents=True, exist_ok=True)
    (folder / "offsets").unlink(missing_ok=True)
    engine = create_engine(database_url, isolation_level="AUTOCOMMIT")
    _make_heartbeat_topic(environ["KAFKA_BOOTSTRAP_SERVERS"], slot)
    files = [str(_HOME / "worker.properties"), _connector(folder, changes or {})]
    try:
        _make_publication(engine)
        with (folder / "debezium.log").open("wb") as log:
            process = subprocess.Popen(
                (java(), *_JVM, "-cp", f"{home}/*", "org.apache.kafka.connect.cli.ConnectStandalone", *files),
                env=base_environ(environ) | _variables(environ, folder, database_url, slot),
                cwd=folder, stdin=subprocess.DEVNULL, stdout=log, stderr=subprocess.STDOUT, start_new_session=True,
            )  # fmt: skip
        try:
            _await_streaming(engine, slot, process, folder / "debezium.log")
            yield Debezium(process.pid, process)
        finally:
            _stop(process)
    finally:
        _drop_slot(engine, slot)
        engine.dispose()


def _variables(environ: Mapping[str, str], folder: Path, database_url: str, slot: str) -> dict[str, str]:
    """What the two files take from the environment."""
    url = make_url(database_url)
    return {
        "KAFKA_BOOTSTRAP_SERVERS": environ["KAFKA_BOOTSTRAP_SERVERS"],
        "CONNECT_PORT": str(free_port(())),
        "CONNECT_OFFSETS": str(folder / "offsets"),
        "OUTBOX_DATABASE_HOST": str(url.host),
        "OUTBOX_DATABASE_PORT": str(url.port),
        "OUTBOX_DATABASE_NAME": str(url.database),
        "OUTBOX_DATABASE_USER": str(url.username),
        "OUTBOX_DATABASE_PASSWORD": str(url.password),
        "OUTBOX_SLOT": slot,
    }


def _connector(folder: Path, changes: Mapping[str, str]) -> str:
    """The connector's settings with these changes, as a file in `folder`."""
    lines = (_HOME / "outbox.properties").read_text(encoding="utf-8").splitlines()
    kept = [line for line in lines if line.partition("=")[0] not in changes]
    changed = [f"{name}={value}" for name, value in changes.items() if value]
    path = folder / "outbox.properties"
    path.write_text("\n".join([*kept, *changed, ""]), encoding="utf-8")
    return str(path)


def _make_heartbeat_topic(kafka: str, slot: str) -> None:
    topic = NewTopic(f"__debezium-heartbeat.{slot}", num_partitions=1, replication_factor=1)
    admin = AdminClient({"bootstrap.servers": kafka, "log_level": 2})
    (made,) = admin.create_topics([topic]).values()
    try:
        made.result(_ADMIN_S)
    except KafkaException as error:
        if error.args[0].name() != "TOPIC_ALREADY_EXISTS":
            raise


def _make_publication(engine: Engine) -> None:
    with engine.connect() as db:
        db.execute(text(f"DROP PUBLICATION IF EXISTS {_PUBLICATION}"))
        db.execute(text(f"CREATE PUBLICATION {_PUBLICATION} FOR TABLE outbox WITH (publish = 'insert')"))


def _drop_slot(engine: Engine, slot: str) -> None:
    """A slot that nobody reads would keep the log of the whole server."""
    mine = {"slot": slot}
    with engine.connect() as db:
        active = "SELECT pg_terminate_backend(active_pid, 5000) FROM pg_replication_slots WHERE slot_name = :slot"
        db.execute(text(active), mine)
        drop = "SELECT pg_drop_replication_slot(slot_name) FROM pg_replication_slots WHERE slot_name = :slot"
        db.execute(text(drop), mine)
        db.execute(text(f"DROP PUBLICATION IF EXISTS {_PUBLICATION}"))


def _await_streaming(engine: Engine, slot: str, process: "subprocess.Popen[bytes]", log: Path) -> None:
    active = text("SELECT active FROM pg_replication_slots WHERE slot_name = :slot")

    def streams() -> bool:
        with engine.connect() as db:
            return process.poll() is not None or bool(db.execute(active, {"slot": slot}).scalar())

    if not wait_for(streams, _START_S) or process.poll() is not None:
        last = "\n".join(log.read_text(errors="replace").splitlines()[-_LOG_LINES:])
        raise StackError(f"Debezium doesn't stream:\n{last}")


def _stop(process: "subprocess.Popen[bytes]") -> None:
    process.terminate()
    try:
        process.wait(_STOP_S)
    except subprocess.TimeoutExpired:
        process.kill()
        process.wait()
