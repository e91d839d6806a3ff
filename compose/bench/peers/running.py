"""A peer's processes for as long as a block of code: on databases and topics of their own, nothing left behind."""

import re
import subprocess
import time
from collections.abc import Iterator, Mapping
from concurrent.futures import Future
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from pathlib import Path
from types import TracebackType
from typing import Any, Final, Self

from confluent_kafka import ConsumerGroupState, KafkaException
from confluent_kafka.admin import AdminClient
from confluent_kafka.cimpl import NewTopic
from sqlalchemy import URL, create_engine, make_url, text

from compose.bench.peers.steps import COMPLETED, EVENTS, HEARD_BY, REQUESTED
from compose.bench.peers.tables import PARTITIONS, SERVICES, statements
from compose.fleet import die_with_parent

_ROOT: Final = Path(__file__).parents[3]
_START_S: Final = 60.0
_STOP_S: Final = 20.0
_POLL_S: Final = 0.1
_ADMIN_S: Final = 30.0
_DESCRIBE_S: Final = 5.0
_TAIL_LINES: Final = 20


@dataclass(frozen=True, slots=True, kw_only=True)
class _Kind:
    """How a peer is run.

    requirements: the file, here, of what its venv has. arguments: of its command. roles: a process for each. databases:
    name -> the services whose tables are there. partitions: consumer group -> how many it has when all are consumed.
    members: processes in each group.
    """

    requirements: str
    arguments: tuple[str, ...] = ()
    roles: tuple[str, ...] = SERVICES
    databases: Mapping[str, tuple[str, ...]]
    partitions: Mapping[str, int]
    members: int = 1


_ONE_EACH: Final = {service: (service,) for service in SERVICES}
_KINDS: Final = {
    "faust": _Kind(
        requirements="requirements.txt",
        arguments=("--loop", "uvloop", "worker", "-l", "warn", "--without-web"),
        databases=_ONE_EACH,
        partitions={service: PARTITIONS * len(hears) for service, hears in HEARD_BY.items()},
    ),
    "faststream": _Kind(
        requirements="requirements.txt",
        databases=_ONE_EACH,
        partitions={f"{service}.{event}": PARTITIONS for service, hears in HEARD_BY.items() for event in hears},
    ),
    "dbos": _Kind(
        requirements="requirements-dbos.txt",
        roles=("worker-1", "worker-2"),
        databases={"shop": SERVICES, "system": ()},
        partitions={"checkouts": PARTITIONS},
        members=2,
    ),
}
PEERS: Final = ("faust", "faststream", "dbos")


def requirements(name: str) -> Path:
    """The file of what the venv of a peer needs. They can't all be in one: see there."""
    return Path(__file__).with_name(_KINDS[name].requirements)


class PeerError(Exception):
    """A peer ended by itself or did not start; the text has the end of its log."""


class Peer:
    """One peer's processes.

    python: the interpreter of a venv with the peer's requirements. environ: KAFKA_BOOTSTRAP_SERVERS,
    POSTGRES_ADMIN_URL, TOPIC_PREFIX, and what else the processes are to inherit. logs: the folder of their logs.
    """

    def __init__(self, name: str, python: Path, environ: Mapping[str, str], logs: Path) -> None:
        self._name = name
        self._kind = _KINDS[name]
        # not resolved: the link is what makes it the venv's
        self._python = python.absolute()
        self._logs = logs.absolute()
        self._prefix = f"{environ['TOPIC_PREFIX']}{name}."
        self._admin_url = make_url(environ["POSTGRES_ADMIN_URL"])
        self._databases = {
            database: re.sub(r"\W", "_", f"{self._prefix}{database}".lower()) for database in self._kind.databases
        }
        urls = {f"{database.upper()}_DATABASE": self._url(database) for database in self._databases}
        self._environ = {**environ, **urls, "TOPIC_PREFIX": self._prefix}
        self._kafka = AdminClient({"bootstrap.servers": environ["KAFKA_BOOTSTRAP_SERVERS"]})
        self._processes: dict[str, subprocess.Popen[bytes]] = {}
        self._closing = ExitStack()

    @property
    def requested(self) -> str:
        """The topic of the requests."""
        return f"{self._prefix}{REQUESTED}"

    @property
    def completed(self) -> str:
        """The topic of the ends."""
        return f"{self._prefix}{COMPLETED}"

    def pids(self) -> list[int]:
        """Of its processes."""
        return [process.pid for process in self._processes.values()]

    def check(self) -> None:
        """Raise PeerError when a process ended by itself."""
        for role, process in self._processes.items():
            if process.poll() is not None:
                raise PeerError(f"{self._name} {role} ended with {process.returncode}; {self._tail(role)}")

    def __enter__(self) -> Self:
        """Databases, topics, processes; returns when every consumer has its partitions. Raises PeerError."""
        with ExitStack() as closing:
            closing.enter_context(self._own_databases())
            closing.enter_context(self._own_topics())
            closing.callback(self._stop)
            self._start()
            self._wait()
            self._closing = closing.pop_all()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        """Stop the processes, drop the topics and databases."""
        self._closing.__exit__(kind, error, traceback)

    @contextmanager
    def _own_databases(self) -> Iterator[None]:
        try:
            for database, name in self._databases.items():
                self._run(self._admin_url, f'CREATE DATABASE "{name}"')
                tables = statements(*self._kind.databases[database])
                self._run(self._admin_url.set(database=name), *tables, "VACUUM ANALYZE")
            yield
        finally:
            for name in self._databases.values():
                self._run(self._admin_url, f'DROP DATABASE IF EXISTS "{name}" WITH (FORCE)')

    def _run(self, url: URL, *sql: str) -> None:
        engine = create_engine(url, isolation_level="AUTOCOMMIT")
        with engine.connect() as db:
            for statement in sql:
                db.execute(text(statement))
        engine.dispose()

    @contextmanager
    def _own_topics(self) -> Iterator[None]:
        topics = [f"{self._prefix}{event}" for event in EVENTS]
        new = [NewTopic(topic, num_partitions=PARTITIONS, replication_factor=1) for topic in topics]
        _all(self._kafka.create_topics(new))
        try:
            yield
        finally:
            _all(self._kafka.delete_topics(topics))

    def _start(self) -> None:
        self._logs.mkdir(parents=True, exist_ok=True)
        for role in self._kind.roles:
            self._processes[role] = self._spawn(role)

    def _spawn(self, role: str) -> subprocess.Popen[bytes]:
        module = f"compose.bench.peers.{self._name}_app"
        with self._log(role).open("wb") as output:
            return subprocess.Popen(
                [self._python, "-m", module, *self._kind.arguments],
                cwd=_ROOT,
                # Faust makes its folder even where it keeps nothing in it
                env={**self._environ, "SERVICE": role, "APP_DATADIR": str(self._logs / f"{self._name}-{role}.data")},
                stdin=subprocess.DEVNULL,
                stdout=output,
                stderr=subprocess.STDOUT,
                start_new_session=True,
                # a benchmark that is killed takes its peers with it
                preexec_fn=die_with_parent,  # noqa: PLW1509
            )

    def _consumes(self) -> bool:
        groups = {f"{self._prefix}{group}": partitions for group, partitions in self._kind.partitions.items()}
        described = self._kafka.describe_consumer_groups(list(groups), request_timeout=_DESCRIBE_S)
        return all(self._is_complete(described[group], partitions) for group, partitions in groups.items())

    def _is_complete(self, described: Future[Any], partitions: int) -> bool:
        try:
            group = described.result()
        except KafkaException:  # its coordinator is not there yet
            return False
        assigned = [len(member.assignment.topic_partitions) for member in group.members]
        stable = group.state is ConsumerGroupState.STABLE
        return stable and sum(assigned) == partitions and len([n for n in assigned if n]) == self._kind.members

    def _wait(self) -> None:
        deadline = time.monotonic() + _START_S
        while not self._consumes():
            self.check()
            if time.monotonic() > deadline:
                tails = "\n".join(self._tail(role) for role in self._processes)
                raise PeerError(f"{self._name} has not got its partitions within {_START_S:.0f} s; {tails}")
            time.sleep(_POLL_S)

    def _stop(self) -> None:
        for process in self._processes.values():
            process.terminate()
        for process in self._processes.values():
            try:
                process.wait(_STOP_S)
            except subprocess.TimeoutExpired:
                process.kill()
                process.wait()
        self._processes.clear()

    def _log(self, role: str) -> Path:
        return self._logs / f"{self._name}-{role}.log"

    def _tail(self, role: str) -> str:
        lines = self._log(role).read_text(encoding="utf-8", errors="replace").splitlines()[-_TAIL_LINES:]
        return f"the end of its log ({self._log(role)}):\n  " + "\n  ".join(lines)

    def _url(self, database: str) -> str:
        url = self._admin_url.set(drivername="postgresql", database=self._databases[database])
        return url.render_as_string(hide_password=False)


def _all(futures: Mapping[str, Future[None]]) -> None:
    for future in futures.values():
        future.result(_ADMIN_S)
