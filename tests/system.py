"""The whole system for tests: real processes on real servers, with databases, topics and a provider of its own."""

import json
import os
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Callable, Iterable, Sequence
from contextlib import ExitStack, closing
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Self
from urllib.error import URLError
from urllib.request import Request, urlopen
from uuid import UUID, uuid4

from confluent_kafka import Message
from confluent_kafka.admin import AdminClient
from sqlalchemy import Engine, create_engine, make_url, text

from compose import setting_up
from compose.acls.rights import DRAINER
from compose.audit.reading import ledger_entries
from compose.audit.report import Report, audit
from compose.fleet import Fleet, die_with_parent
from compose.publisher import Shop
from compose.setting_up import CUSTOMERS
from compose.settings import Servers
from dlq.topics import dump
from schemas.brokers import reaching
from schemas.choreography import SERVICES, dead_letter_topic, topics
from schemas.codec import Codec, RegistryUnavailableError
from schemas.events import CheckoutRequested, Event, Line
from schemas.kafka.record import record_of
from services.shell.delivery import identity_of
from services.shell.reading import read
from tests.servers import TestServers

LIMIT_S = 60.0
CAPTURED = (
    "checkout.requested",
    "checkout.accepted",
    "warehouse.reserved",
    "payment.authorized",
    "checkout.confirmed",
    "warehouse.confirmed",
    "payment.captured",
    "checkout.completed",
)
"""What is said of a checkout that is captured, in this order."""
_ADMIN_S = 30.0


def wait_for(condition: Callable[[], Any], what: str, limit_s: float = LIMIT_S, pause_s: float = 0.03) -> Any:
    """The condition's first true value, asked every `pause_s`. Fails naming `what` when the limit has passed."""
    until = time.monotonic() + limit_s
    while True:
        value = condition()
        if value:
            return value
        if time.monotonic() > until:
            raise AssertionError(f"waited {limit_s:.0f} s for {what}")
        time.sleep(pause_s)


def free_port() -> int:
    """A loopback port that nobody listens on now."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


@dataclass(frozen=True)
class Letter:
    """A dead letter as it lies on its topic."""

    key: bytes | None
    value: bytes | None
    headers: dict[str, bytes]

    @staticmethod
    def of(message: Message) -> "Letter":
        """A letter from a Kafka message; its header names are unique."""
        pairs = record_of(message).headers
        headers = {name: value or b"" for name, value in pairs}
        assert len(headers) == len(pairs), "a header stands twice"
        return Letter(_raw(message.key()), _raw(message.value()), headers)


def _raw(value: Any) -> bytes | None:
    assert value is None or isinstance(value, bytes)
    return value


class System:
    """Databases, topics, provider and, unless `services` says otherwise, one process of every service.

    Each service has a database whose tables belong to one role, and a role of its own, which owns nothing. settings:
    environment variables for the services, such as CHECKOUT_DEADLINE_S. provider_options: of the sandbox. password: of
    all these roles. provider_login: `user:password`, which the services' URL of the provider has.
    """

    def __init__(
        self,
        servers: TestServers,
        folder: Path,
        services: Sequence[str] = SERVICES,
        *,
        partitions: int = 3,
        provider_options: Sequence[str] = (),
        password: str = "",
        provider_login: str = "",
        **settings: str,
    ) -> None:
        self.name = f"t{uuid4().hex[:10]}"
        self.folder = folder / self.name
        self.folder.mkdir(parents=True)
        self._servers = servers
        self.password = password or uuid4().hex
        self._roles = [f"{self.name}_{service}{kind}" for service in SERVICES for kind in ("", "_owner")]
        self._provider_port = free_port()
        self.provider_url = f"http://127.0.0.1:{self._provider_port}"
        self._provider_options = tuple(provider_options)
        self._provider: subprocess.Popen[bytes] | None = None
        self._engines: dict[str, Engine] = {}
        self.env = {
            **os.environ,
            "KAFKA_BOOTSTRAP_SERVERS": servers.kafka,
            "SCHEMA_REGISTRY_URL": servers.registry,
            "PAYMENT_PROVIDER_URL": self.provider_url.replace("//", f"//{provider_login}@" if provider_login else "//"),
            "TOPIC_PREFIX": f"{self.name}.",
            "TOPIC_PARTITIONS": str(partitions),
            "TIMER_INTERVAL_S": "0.2",
            # the clock of the back-off turned up: the same steps in a hundredth of the time
            "RETRY_FIRST_S": "0.3",
            "RETRY_STEP_S": "0.3",
            "RETRY_MOST_S": "3",
            "RETRY_EARLY_FIRST_S": "0.05",
            "RETRY_EARLY_ATTEMPTS": "5",
            "PAYMENT_BREAKER_OPEN_S": "1",
            **{f"{s.upper()}_DATABASE_URL": self._database_url(s, f"{self.name}_{s}") for s in SERVICES},
            **{f"{s.upper()}_OWNER_DATABASE_URL": self._database_url(s, f"{self.name}_{s}_owner") for s in SERVICES},
            **{f"{s.upper()}_METRICS_PORT": str(free_port()) for s in SERVICES},
            **settings,
        }
        known: dict[str, Any] = {n: self.env[n.upper()] for n in Servers.model_fields if n.upper() in self.env}
        self.servers = Servers(**known)
        self.fleet = Fleet(self.env, self.folder, services)

    def __enter__(self) -> Self:
        """Set up and start; ready when it returns."""
        with ExitStack() as undo:
            self._create_databases()
            undo.callback(self._drop)
            self.start_provider()
            undo.callback(self.stop_provider)
            setting_up.set_up(self.servers, lambda _: None)
            self.shop = undo.enter_context(closing(Shop(self.servers)))
            self.codec = undo.enter_context(closing(Codec(self.servers.registry, self.servers.topic_prefix)))
            undo.callback(self.fleet.stop)
            self.fleet.start()
            wait_for(self.fleet.ready, "the services to be ready")
            self._undo = undo.pop_all()
        return self

    def __exit__(self, *_: object) -> None:
        """Stop everything and drop what was made."""
        for engine in self._engines.values():
            engine.dispose()
        self._undo.close()

    def environ(self, principal: str) -> dict[str, str]:
        """The environment of a process of `principal`; the same for all, where the servers ask for no login."""
        return self.env

    # --- publishing -----------------------------------------------------------------------------------------

    def request(
        self, checkout_id: str = "", *, method: str = "ok", sku: str = "sku-1", **fields: Any
    ) -> CheckoutRequested:
        """A sound request of customer-1, two units at 1,250, unless told otherwise."""
        lines = (Line(sku=sku, quantity=2, unit_price_minor=1250),)
        values: dict[str, Any] = {
            "checkout_id": checkout_id or f"c-{uuid4().hex[:12]}",
            "customer_id": CUSTOMERS[0],
            "payment_method_id": f"{CUSTOMERS[0]}:{method}",
            "currency": "EUR",
            "total_minor": 2500,
            "lines": lines,
        }
        return CheckoutRequested(**values | fields)

    def publish(self, *events: Event) -> None:
        """Publish events as whoever says them; returns when the broker has them."""
        for event in events:
            self.shop.publish(event)
        self.shop.flush()

    # --- looking --------------------------------------------------------------------------------------------

    def engine(self, service: str) -> Engine:
        """A service's database, as the server's administrator."""
        if service not in self._engines:
            url = make_url(self._servers.postgres_admin).set(database=f"{self.name}_{service}")
            self._engines[service] = create_engine(url, pool_pre_ping=True)
        return self._engines[service]

    def rows(self, service: str, sql: str, **values: Any) -> list[Any]:
        """What a query answers, from a service's database."""
        with self.engine(service).begin() as db:
            return list(db.execute(text(sql), values).all())

    def execute(self, service: str, sql: str, **values: Any) -> None:
        """Change a service's database by hand."""
        with self.engine(service).begin() as db:
            db.execute(text(sql), values)

    def status(self, service: str, checkout_id: str) -> str | None:
        """A checkout's status as `service` has it; None when it doesn't know it."""
        table = {"checkout": "checkouts", "payment": "payments", "warehouse": "reservations"}[service]
        found = self.rows(service, f"SELECT status FROM {table} WHERE checkout_id = :id", id=checkout_id)
        return found[0].status if found else None

    def await_status(self, service: str, checkout_id: str, *wanted: str) -> str:
        """Wait until a checkout has one of these statuses; which."""

        def reached() -> str | None:
            status = self.status(service, checkout_id)
            return status if status in wanted else None

        return str(wait_for(reached, f"{checkout_id} to be {' or '.join(wanted)} at {service}"))

    def trail(self, service: str, checkout_id: str) -> list[str]:
        """The states that a checkout has gone through at `service`."""
        sql = "SELECT to_state FROM audit_trail WHERE checkout_id = :id ORDER BY seq"
        return [row.to_state for row in self.rows(service, sql, id=checkout_id)]

    def at_rest(self) -> bool:
        """Whether every checkout has ended and everybody has let go, and every outbox is empty."""
        moving = (
            "SELECT 1 FROM checkouts WHERE status IN ('accepted', 'authorized', 'capture_pending', 'capture_failed')"
            " OR (status = 'failed' AND accepted) LIMIT 1"
        )
        waiting = any(self.rows(service, "SELECT 1 FROM outbox LIMIT 1") for service in SERVICES)
        return not waiting and not self.rows("checkout", moving)

    def await_rest(self, checkouts: Iterable[str] = (), limit_s: float = LIMIT_S) -> None:
        """Wait until these checkouts are known and nothing moves any more."""
        wanted = set(checkouts)

        def done() -> bool:
            known = {row.checkout_id for row in self.rows("checkout", "SELECT checkout_id FROM checkouts")}
            return wanted <= known and self.at_rest()

        wait_for(done, "every checkout to come to rest", limit_s)

    def messages(self, *names: str) -> list[Message]:
        """Every message on these topics (all event topics when none is named)."""
        return list(dump(self.servers.kafka, [self.servers.topic_prefix + name for name in list(names) or topics()]))

    def events(self, checkout_id: str) -> list[tuple[str, Event]]:
        """(type, event) of one checkout on the topics, in the order of their times."""
        found = [
            read(record_of(m), self.codec, self.servers.topic_prefix)
            for m in self.messages()
            if m.key() == checkout_id.encode()
        ]
        return [(d.event.TYPE, d.event) for d in sorted(found, key=lambda d: d.occurred_at) if d.event is not None]

    def letters(self, service: str) -> list[Message]:
        """The dead letters of a service."""
        return self.messages(dead_letter_topic(service))

    def await_letters(self, service: str, key: str, count: int) -> list["Letter"]:
        """Wait until a service has `count` dead letters with this key; those."""

        def found() -> list[Letter] | None:
            letters = [Letter.of(m) for m in self.letters(service) if m.key() == key.encode()]
            return letters if len(letters) >= count else None

        return list(wait_for(found, f"{count} dead letters of {service} with key {key}"))

    def ledger(self, checkout_id: str) -> list[str]:
        """What the provider did for a checkout, by its own journal."""
        entries = ledger_entries(self.provider_url)
        return [entry["kind"] for entry in entries if entry["checkout_id"] == checkout_id]

    def audit(self) -> Report:
        """The invariants, held against everything; a registry whose database was just restarted is waited for."""
        report: Report = wait_for(self._audited, "the registry to answer")
        return report

    def _audited(self) -> Report | None:
        try:
            return audit(self.servers)
        except RegistryUnavailableError:
            return None

    def identity(self, event_id: UUID, event: str, checkout_id: str) -> str:
        """What the inboxes know an event of this kind by."""
        return str(identity_of(event_id, self.servers.topic_prefix + event, checkout_id.encode()))

    def assert_clean(self) -> None:
        """Nothing under way, no invariant broken."""
        report = self.audit()
        assert not report.breaches, report.breaches
        assert report.under_way == 0

    # --- faults ---------------------------------------------------------------------------------------------

    def faults(self, *rules: dict[str, Any]) -> None:
        """Switch the provider's faults; none: all off."""
        method, data = ("PUT", json.dumps(rules).encode()) if rules else ("DELETE", None)
        request = Request(f"{self.provider_url}/v1/faults", data, {"Content-Type": "application/json"}, method=method)
        with urlopen(request, timeout=10) as response:
            assert response.status < 300

    def start_provider(self) -> None:
        """Start the sandbox provider with the ledger that it had."""
        log = (self.folder / "provider.log").open("ab")
        with log:
            self._provider = subprocess.Popen(
                [
                    *(sys.executable, "-m", "compose.sandbox", "--port", str(self._provider_port)),
                    *("--ledger", str(self.folder / "ledger.sqlite")),
                    *self._provider_options,
                ],
                stdout=log,
                stderr=subprocess.STDOUT,
                preexec_fn=die_with_parent,  # noqa: PLW1509
            )
        wait_for(self._provider_answers, "the provider to listen")

    def stop_provider(self, number: int = signal.SIGTERM) -> None:
        """Stop it, by any signal."""
        if self._provider is not None:
            self._provider.send_signal(number)
            self._provider.wait(20)
            self._provider = None

    def crashing(self, service: str, point: str, times: int = 1) -> subprocess.Popen[bytes]:
        """A process of `service` that kills itself when it passes `point` for the n-th time."""
        with (self.folder / f"{service}.crash.log").open("ab") as log:
            return subprocess.Popen(
                [sys.executable, "-m", "tests.crashing", service, point, str(times)],
                env=self.environ(service) | {f"{service.upper()}_METRICS_PORT": "0"},
                stdout=log,
                stderr=subprocess.STDOUT,
            )

    def _provider_answers(self) -> bool:
        try:
            with urlopen(f"{self.provider_url}/healthz", timeout=1) as response:
                return bool(response.status == 200)
        except (URLError, OSError):
            return False

    def dlq(self, *arguments: str, expect: int | None = 0) -> Any:
        """What `dlq ... --json` says, as a value; its exit code must be `expect` (None: any)."""
        command = [str(Path(sys.executable).with_name("dlq")), *arguments, "--json"]
        env = self.environ(DRAINER)
        done = subprocess.run(command, env=env, capture_output=True, text=True, check=False, timeout=LIMIT_S)
        assert expect is None or done.returncode == expect, (arguments, done.returncode, done.stdout, done.stderr)
        return json.loads(done.stdout)

    # --- making and dropping --------------------------------------------------------------------------------

    def _database_url(self, service: str, role: str) -> str:
        where = make_url(self._servers.postgres_admin).set(database=f"{self.name}_{service}")
        return where.set(username=role, password=self.password).render_as_string(hide_password=False)

    def _admin(self, statement: str) -> None:
        engine = create_engine(self._servers.postgres_admin, isolation_level="AUTOCOMMIT")
        with engine.connect() as db:
            db.execute(text(statement))
        engine.dispose()

    def _create_databases(self) -> None:
        for role in self._roles:
            self._admin(f"CREATE ROLE {role} LOGIN PASSWORD '{self.password}'")
        for service in SERVICES:
            self._admin(f"CREATE DATABASE {self.name}_{service} OWNER {self.name}_{service}_owner")
            self._admin(f"REVOKE CONNECT, TEMPORARY ON DATABASE {self.name}_{service} FROM PUBLIC")

    def _drop(self) -> None:
        for service in SERVICES:
            self._admin(f"DROP DATABASE {self.name}_{service} WITH (FORCE)")
        for role in self._roles:
            self._admin(f"DROP ROLE {role}")
        admin = AdminClient(reaching(self.servers.kafka))
        mine = [t for t in admin.list_topics(timeout=_ADMIN_S).topics if t.startswith(f"{self.name}.")]
        for future in admin.delete_topics(mine, operation_timeout=_ADMIN_S).values():
            future.result(timeout=_ADMIN_S)
