"""Debezium as the relay: Kafka Connect, stand-alone, with its Postgres connector on our outbox table as it is.

Source: https://debezium.io/documentation/reference/stable/transformations/outbox-event-router.html
"""

import signal
import subprocess
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from sqlalchemy import Engine, create_engine, make_url, text

from compose.stack import StackError
from compose.stack.downloads import cached, jars
from compose.stack.java import java
from compose.stack.paths import cache_dir
from compose.stack.ports import HOST, free_port
from compose.stack.processes import base_environ, wait_for

VERSION: Final = "3.6.0.Final"
_CONNECT: Final = "4.3.0"
"""The version of Kafka's client that this connector asks for."""
_JARS: Final = (
    f"org.apache.kafka:connect-runtime:{_CONNECT}",
    f"org.apache.kafka:connect-json:{_CONNECT}",
    f"org.apache.kafka:connect-transforms:{_CONNECT}",
    f"io.debezium:debezium-connector-postgres:{VERSION}",
    "org.slf4j:slf4j-simple:1.7.36",
)
_JVM: Final = ("-Xms256m", "-Xmx1g", "-XX:+UseSerialGC", "-Dorg.slf4j.simpleLogger.defaultLogLevel=warn")
_SLOT: Final = "bench_debezium"
_START_S: Final = 90.0
_STOP_S: Final = 20.0
_LOG_LINES: Final = 15

_WORKER: Final = """\
bootstrap.servers={kafka}
listeners=http://{host}:{port}
plugin.discovery=service_load
offset.storage.file.filename={folder}/offsets
offset.flush.interval.ms=1000
key.converter=org.apache.kafka.connect.storage.StringConverter
value.converter=io.debezium.converters.BinaryDataConverter
# as our relay sends
producer.acks=all
producer.compression.type=lz4
producer.linger.ms=1
producer.batch.size=262144
"""

_CONNECTOR: Final = """\
name=outbox
connector.class=io.debezium.connector.postgresql.PostgresConnector
tasks.max=1
database.hostname={host}
database.port={port}
database.user={user}
database.password={password}
database.dbname={database}
topic.prefix={database}
table.include.list=public.outbox
plugin.name=pgoutput
publication.name={slot}
publication.autocreate.mode=disabled
slot.name={slot}
snapshot.mode=no_data
# larger than the defaults, and asked more often: in its favour
max.batch.size=8192
max.queue.size=32768
poll.interval.ms=5
transforms=outbox
transforms.outbox.type=io.debezium.transforms.outbox.EventRouter
transforms.outbox.route.by.field=topic
transforms.outbox.route.topic.replacement=${{routedByValue}}
transforms.outbox.table.field.event.key=aggregateid
"""


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
def running_debezium(environ: Mapping[str, str], folder: Path, database_url: str) -> Iterator[Debezium]:
    """Streams the outbox of `database_url` (a superuser's) for the block; afterwards its slot is gone.

    environ: with KAFKA_BOOTSTRAP_SERVERS. folder: for settings, offsets and log, emptied of older offsets.
    Raises StackError.
    """
    home = cached(cache_dir(environ), f"debezium-{VERSION}", jars(_JARS), lambda _line: None)
    folder.mkdir(parents=True, exist_ok=True)
    (folder / "offsets").unlink(missing_ok=True)
    engine = create_engine(database_url, isolation_level="AUTOCOMMIT")
    files = _configure(environ, folder, database_url)
    try:
        _make_slot(engine)
        with (folder / "debezium.log").open("wb") as log:
            process = subprocess.Popen(
                (java(), *_JVM, "-cp", f"{home}/*", "org.apache.kafka.connect.cli.ConnectStandalone", *files),
                env=base_environ(environ), cwd=folder, stdin=subprocess.DEVNULL, stdout=log, stderr=subprocess.STDOUT,
                start_new_session=True,
            )  # fmt: skip
        try:
            _await_streaming(engine, process, folder / "debezium.log")
            yield Debezium(process.pid, process)
        finally:
            _stop(process)
    finally:
        _drop_slot(engine)
        engine.dispose()


def _configure(environ: Mapping[str, str], folder: Path, database_url: str) -> list[str]:
    url = make_url(database_url)
    worker = _WORKER.format(kafka=environ["KAFKA_BOOTSTRAP_SERVERS"], host=HOST, port=free_port(()), folder=folder)
    connector = _CONNECTOR.format(
        host=url.host, port=url.port, user=url.username, password=url.password, database=url.database, slot=_SLOT
    )
    files = {folder / "worker.properties": worker, folder / "connector.properties": connector}
    for path, content in files.items():
        path.touch(mode=0o600)
        path.write_text(content)
    return [str(path) for path in files]


def _make_slot(engine: Engine) -> None:
    """Before it starts: what is written from now on will be streamed."""
    with engine.connect() as db:
        db.execute(text(f"CREATE PUBLICATION {_SLOT} FOR TABLE outbox WITH (publish = 'insert')"))
        db.execute(text("SELECT pg_create_logical_replication_slot(:slot, 'pgoutput')"), {"slot": _SLOT})


def _drop_slot(engine: Engine) -> None:
    """A slot that nobody reads would keep the log of the whole server."""
    mine = {"slot": _SLOT}
    with engine.connect() as db:
        active = "SELECT pg_terminate_backend(active_pid, 5000) FROM pg_replication_slots WHERE slot_name = :slot"
        db.execute(text(active), mine)
        drop = "SELECT pg_drop_replication_slot(slot_name) FROM pg_replication_slots WHERE slot_name = :slot"
        db.execute(text(drop), mine)
        db.execute(text(f"DROP PUBLICATION IF EXISTS {_SLOT}"))


def _await_streaming(engine: Engine, process: "subprocess.Popen[bytes]", log: Path) -> None:
    active = text("SELECT active FROM pg_replication_slots WHERE slot_name = :slot")

    def streams() -> bool:
        with engine.connect() as db:
            return process.poll() is not None or bool(db.execute(active, {"slot": _SLOT}).scalar_one())

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
