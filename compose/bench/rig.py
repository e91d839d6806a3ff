"""A system to be measured: databases, topics and provider of its own, and as many processes as wanted."""

import json
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Callable, Iterable, Mapping
from contextlib import ExitStack
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Final, Self
from urllib.error import URLError
from urllib.request import Request, urlopen
from uuid import uuid4

from confluent_kafka.admin import AdminClient
from sqlalchemy import create_engine, make_url, text

from compose import setting_up
from compose.audit.report import Report, audit
from compose.bench.load import CUSTOMERS, PRODUCTS, customer
from compose.fleet import Fleet, die_with_parent
from compose.settings import Servers
from schemas.choreography import SERVICES
from services.shell.database import engine_of

PLENTY: Final = 1_000_000_000
_READY_S: Final = 60.0
_ROLES: Final = ("_DATABASE_URL", "_OWNER_DATABASE_URL")
_ADMIN_S: Final = 30.0
_REST_S: Final = 120.0


class RigError(Exception):
    """The system to be measured can't be had, or did not come to rest."""


@dataclass(frozen=True, slots=True)
class Provider:
    """Who takes the money. http: the sandbox provider, a process of its own; otherwise inside the payment process.

    delay_s: until a call is answered. slow_share, slow_s: a share of the checkouts is answered later.
    """

    http: bool = False
    delay_s: float = 0.0
    slow_share: float = 0.0
    slow_s: float = 5.0


@dataclass(frozen=True, slots=True)
class Shape:
    """What runs. copies: processes of each service, one where nothing is said. settings: environment variables."""

    provider: Provider = Provider()
    copies: Mapping[str, int] = field(default_factory=dict)
    settings: Mapping[str, str] = field(default_factory=dict)
    partitions: int = 6


class Rig:
    """Made, started and ready within the block; gone after it. environ: servers, POSTGRES_ADMIN_URL among them.

    services: False for what they work with, without them.
    """

    def __init__(
        self, environ: Mapping[str, str], folder: Path, shape: Shape | None = None, *, services: bool = True
    ) -> None:
        self.name = f"bench-{uuid4().hex[:8]}"
        self.shape = shape or Shape()
        self.folder = folder / self.name
        self.folder.mkdir(parents=True)
        self._admin_url = environ["POSTGRES_ADMIN_URL"]
        self._journal = self.folder / "journal.jsonl"
        self._provider_port = _free_port()
        self.environ = {
            **environ,
            "TOPIC_PREFIX": f"{self.name}.",
            "TOPIC_PARTITIONS": str(self.shape.partitions),
            "PAYMENT_PROVIDER_URL": f"http://127.0.0.1:{self._provider_port}",
            **{f"{service.upper()}{kind}": self._url(service) for service in SERVICES for kind in _ROLES},
            **self._provider_environ(),
            **self.shape.settings,
        }
        known = {n: self.environ[n.upper()] for n in Servers.model_fields if n.upper() in self.environ}
        self.servers = Servers(**known)  # type: ignore[arg-type]
        self.fleets = self._make_fleets() if services else []

    def __enter__(self) -> Self:
        """Databases, topics, stock, processes; ready when it returns."""
        with ExitStack() as undo:
            for service in SERVICES:
                self._admin(f'CREATE DATABASE "{self._database(service)}"')
            undo.callback(self._drop)
            if self.shape.provider.http:
                undo.enter_context(self._sandbox())
            self._set_up()
            undo.callback(self.stop)
            self.start()
            self._undo = undo.pop_all()
        return self

    def __exit__(self, *_: object) -> None:
        """Stop everything and drop what was made."""
        self._undo.close()

    def start(self) -> None:
        """Start every process that does not run."""
        for fleet in self.fleets:
            fleet.start()
        _wait(lambda: all(fleet.ready() for fleet in self.fleets), _READY_S, f"ready services; logs in {self.folder}")

    def stop(self) -> None:
        """Stop the services gracefully."""
        for fleet in self.fleets:
            fleet.stop()

    def pids(self, service: str) -> list[int]:
        """The processes of a service."""
        return [pid for fleet in self.fleets for pid in fleet.pids(service)]

    def rows(self, service: str, sql: str, **values: Any) -> list[Any]:
        """What a query answers, from a service's database."""
        engine = engine_of(self.servers.database_url(service))
        try:
            with engine.begin() as db:
                return list(db.execute(text(sql), values).all())
        finally:
            engine.dispose()

    def await_rest(self) -> None:
        """Wait until every outbox is empty."""
        _wait(
            lambda: not any(self.rows(s, "SELECT 1 FROM outbox LIMIT 1") for s in SERVICES), _REST_S, "empty outboxes"
        )

    def audit(self) -> Report:
        """Hold the invariants against everything; the services are stopped for it."""
        self.await_rest()
        self.stop()
        if self.shape.provider.http:
            return audit(self.servers)
        return audit(self.servers, self._entries)

    def _entries(self) -> Iterable[dict[str, Any]]:
        with self._journal.open(encoding="utf-8") as lines:
            yield from map(json.loads, lines)

    def _make_fleets(self) -> list[Fleet]:
        """One for the first process of every service, one for the second, ..."""
        most = max([1, *self.shape.copies.values()])
        commands = {} if self.shape.provider.http else {"payment": "compose.bench.payment"}
        fleets = []
        for number in range(most):
            services = [s for s in SERVICES if self.shape.copies.get(s, 1) > number]
            ports = {f"{s.upper()}_METRICS_PORT": str(_free_port()) for s in services}
            fleets.append(Fleet(self.environ | ports, self.folder / str(number), services, commands))
        return fleets

    def _provider_environ(self) -> dict[str, str]:
        provider = self.shape.provider
        return {
            "BENCH_PROVIDER_JOURNAL": str(self._journal),
            "BENCH_PROVIDER_DELAY_S": str(provider.delay_s),
            "BENCH_PROVIDER_SLOW_SHARE": str(provider.slow_share),
            "BENCH_PROVIDER_SLOW_S": str(provider.slow_s),
        }

    def _set_up(self) -> None:
        setting_up.migrate(self.servers)
        setting_up.register_schemas(self.servers)
        setting_up.make_topics(self.servers)
        tokens = [(f"{customer(n)}:ok", customer(n), "tok_ok") for n in range(CUSTOMERS)]
        setting_up.payment_methods(self.servers, tokens)
        setting_up.stock(self.servers, {f"sku-{number}": PLENTY for number in range(1, PRODUCTS + 1)})

    def _sandbox(self) -> ExitStack:
        undo = ExitStack()
        with (self.folder / "provider.log").open("ab") as log:
            process = subprocess.Popen(
                [
                    *(sys.executable, "-m", "compose.sandbox", "--port", str(self._provider_port)),
                    *("--ledger", str(self.folder / "ledger.sqlite")),
                ],
                stdout=log,
                stderr=subprocess.STDOUT,
                preexec_fn=die_with_parent,  # noqa: PLW1509
            )
        undo.callback(process.wait, 20)
        undo.callback(process.send_signal, signal.SIGTERM)
        _wait(self._sandbox_answers, _READY_S, "the provider to listen")
        if self.shape.provider.delay_s:
            self._slow_down()
        return undo

    def _sandbox_answers(self) -> bool:
        try:
            with urlopen(f"{self.environ['PAYMENT_PROVIDER_URL']}/healthz", timeout=1) as response:  # noqa: S310
                return bool(response.status == 200)  # noqa: PLR2004
        except (URLError, OSError):
            return False

    def _slow_down(self) -> None:
        rules = [{"fault": f"latency:{int(self.shape.provider.delay_s * 1000)}"}]
        request = Request(  # noqa: S310
            f"{self.environ['PAYMENT_PROVIDER_URL']}/v1/faults",
            json.dumps(rules).encode(),
            {"Content-Type": "application/json"},
            method="PUT",
        )
        with urlopen(request, timeout=10):  # noqa: S310
            return

    def _database(self, service: str) -> str:
        return f"{self.name}_{service}"

    def _url(self, service: str) -> str:
        url = make_url(self._admin_url).set(database=self._database(service))
        return url.render_as_string(hide_password=False)

    def _admin(self, statement: str) -> None:
        engine = create_engine(self._admin_url, isolation_level="AUTOCOMMIT")
        with engine.connect() as db:
            db.execute(text(statement))
        engine.dispose()

    def _drop(self) -> None:
        for service in SERVICES:
            self._admin(f'DROP DATABASE "{self._database(service)}" WITH (FORCE)')
        admin = AdminClient({"bootstrap.servers": self.environ["KAFKA_BOOTSTRAP_SERVERS"]})
        mine = [t for t in admin.list_topics(timeout=_ADMIN_S).topics if t.startswith(f"{self.name}.")]
        for future in admin.delete_topics(mine, operation_timeout=_ADMIN_S).values():
            future.result(timeout=_ADMIN_S)


def _free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


def _wait(condition: Callable[[], bool], limit_s: float, what: str) -> None:
    until = time.monotonic() + limit_s
    while not condition():
        if time.monotonic() > until:
            raise RigError(f"waited {limit_s:.0f} s for {what}")
        time.sleep(0.05)
