"""A canary in every secret and in every payment token, on real servers: checkouts with every ending, then everything
that can go wrong, and a search of all that was said meanwhile.

Tokens stand in the payment service's own tables and in its requests to the provider. The payment method's id, which is
part of the published language, is no token.
"""

import json
import threading
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any, Final
from uuid import uuid4

import pytest

from compose.fleet import Fleet
from compose.sample import plan
from compose.stack import Stack
from schemas.choreography import DLQ_AUDIT_TOPIC, LEDGER_TOPIC, SERVICES, dead_letter_topic, retry_topic, topics
from services.shell.settings import EXIT_CONFIG
from tests.alerts.watching import exporter
from tests.canaries import Places, ask, canary, ended
from tests.observing import Worker
from tests.otlp import Receiver, receiving
from tests.registry_proxy import Answer, RegistryProxy, registry_proxy
from tests.scram import USER, Broker, scram_broker
from tests.servers import TestServers
from tests.system import System, free_port, wait_for

NAMES: Final = ("database", "registry", "kafka", "provider", "stripe", "traces", "token", "wrong")
SAMPLE: Final = 24
MANY: Final = 80
"""Payments in one batch: more than go by INSERT, so that they go by COPY, whose errors tell the row."""
_STOP: Final = """
    CREATE FUNCTION stop() RETURNS trigger LANGUAGE plpgsql AS $$
    BEGIN RAISE EXCEPTION 'no room' USING ERRCODE = 'disk_full', DETAIL = NEW.token; END $$
"""


pytestmark = [pytest.mark.slow, pytest.mark.timeout(1200)]


@dataclass
class World:
    """The system, what it was started with, and all that was said."""

    system: System
    environ: dict[str, str]
    fleet: Fleet
    proxy: RegistryProxy
    broker: Broker
    receiver: Receiver
    observer: Worker
    exporter: str
    strings: dict[str, str]
    places: Places
    stack: Stack | None


@pytest.fixture(scope="module")
def world(servers: TestServers, scratch: Path) -> Iterator[World]:
    """Services, observer and exporter, each secret with a canary of its own."""
    strings = {name: canary(name) for name in NAMES}
    with ExitStack() as undo:
        broker = undo.enter_context(scram_broker(scratch / f"scram-{uuid4().hex[:6]}", strings["kafka"]))
        proxy = undo.enter_context(registry_proxy(servers.registry))
        proxy.login = f"me:{strings['registry']}"
        receiver = undo.enter_context(receiving())
        elsewhere = TestServers(
            broker.address, proxy.url.replace("//", f"//{proxy.login}@"), servers.postgres_admin, None
        )
        settings: dict[str, Any] = {
            "KAFKA_SECURITY_PROTOCOL": "SASL_PLAINTEXT",
            "KAFKA_SASL_USERNAME": USER,
            "KAFKA_SASL_PASSWORD": strings["kafka"],
            "STRIPE_API_KEY": strings["stripe"],
            "OTEL_EXPORTER_OTLP_ENDPOINT": receiver.url.replace("//", f"//me:{strings['traces']}@"),
            "RETRY_ATTEMPTS": "2",
            "PAYMENT_TIMEOUT_S": "4",
        }
        login = f"me:{strings['provider']}"
        system = undo.enter_context(
            System(elsewhere, scratch, (), password=strings["database"], provider_login=login, **settings)
        )
        system.execute("payment", "UPDATE payment_methods SET token = token || '.' || :canary", canary=strings["token"])
        environ = in_files(system)
        fleet = Fleet(environ, system.folder)
        undo.callback(fleet.stop)
        fleet.start()
        wait_for(fleet.ready, "the services to be ready")
        observer = Worker(system, LOG_LEVEL="DEBUG")
        undo.callback(observer.end)
        port = str(free_port())
        undo.enter_context(exporter(system, port))
        yield World(
            system, environ, fleet, proxy, broker, receiver, observer.await_ready(), f"http://127.0.0.1:{port}/metrics",
            strings, Places(), servers.stack,
        )  # fmt: skip


def in_files(system: System) -> dict[str, str]:
    """The services' environment, with half of the secrets in files."""
    environ = {**system.env, "LOG_LEVEL": "DEBUG"}
    for name in ("PAYMENT_DATABASE_URL", "SCHEMA_REGISTRY_URL", "KAFKA_SASL_PASSWORD"):
        path = system.folder / f"{name.lower()}.secret"
        path.write_text(environ.pop(name) + "\n")
        environ[f"{name}_FILE"] = str(path)
    return environ


# --- what is done ---------------------------------------------------------------------------------------------------


def every_ending(world: World) -> list[str]:
    """The sample's checkouts, an unreadable one among them."""
    ids = []
    for number, kind in enumerate(plan(SAMPLE)):
        ids.append(f"canary-{number:03}")
        kind.publish(world.system.shop, ids[-1], number)
    world.system.shop.flush()
    readable = [name for name, kind in zip(ids, plan(SAMPLE), strict=True) if kind.expected != "dead letter"]
    world.system.await_rest(readable)
    return ids


def a_row_that_is_refused(world: World) -> str:
    """A constraint that one payment breaks: it becomes a dead letter."""
    system, request = world.system, world.system.request(payment_method_id="customer-3:ok", customer_id="customer-3")
    system.execute(
        "payment", "ALTER TABLE payments ADD CONSTRAINT nobody CHECK (customer_id <> 'customer-3') NOT VALID"
    )
    system.publish(request)
    system.await_letters("payment", request.checkout_id, 1)
    world.places.pages(system, "a row refused")
    return request.checkout_id


def a_database_without_room(world: World) -> None:
    """An error that is no row's fault, of a batch of many: nothing moves until it is over."""
    system, port = world.system, world.environ["PAYMENT_METRICS_PORT"]
    world.fleet.kill("payment")
    requests = [system.request() for _ in range(MANY)]
    system.publish(*requests)
    for request in requests:
        system.await_status("warehouse", request.checkout_id, "reserved")
    system.execute("payment", _STOP)
    when = "BEFORE INSERT OR UPDATE ON payments FOR EACH ROW WHEN (NEW.token <> '')"
    system.execute("payment", f"CREATE TRIGGER stop {when} EXECUTE FUNCTION stop()")
    world.fleet.start("payment")

    def waiting() -> bool:
        world.places.page("/readyz of payment, no room", f"http://127.0.0.1:{port}/readyz")
        return "no room" in world.places.texts["/readyz of payment, no room"]

    wait_for(waiting, "payment to wait for its database")
    world.places.pages(system, "no room")
    system.execute("payment", "DROP TRIGGER stop ON payments")
    for request in requests:
        system.await_status("checkout", request.checkout_id, "captured")


def a_provider_that_fails(world: World) -> list[str]:
    """Errors, silence, a token that it does not know, and one key for two payments, which is for a person."""
    system = world.system
    broken, silent, used, unknown = requests = [
        *(system.request() for _ in range(3)),
        system.request(payment_method_id="customer-4:ok", customer_id="customer-4"),
    ]
    token = f"tok_nonsense.{world.strings['token']}"
    change = "UPDATE payment_methods SET token = :token WHERE payment_method_id = 'customer-4:ok'"
    system.execute("payment", change, token=token)
    authorization = {"checkout_id": used.checkout_id, "amount_minor": 1, "currency": "EUR", "payment_method": "tok_ok"}
    key = {"Idempotency-Key": f"checkout:{used.checkout_id}:auth"}
    ask(f"{system.provider_url}/v1/authorizations", authorization | {"customer": "somebody"}, key)
    system.faults(
        {"fault": "error:500", "checkout_id": broken.checkout_id}, {"fault": "hang", "checkout_id": silent.checkout_id}
    )
    system.publish(*requests)
    system.await_letters("payment", used.checkout_id, 1)
    system.await_status("checkout", unknown.checkout_id, "failed", "compensated")
    for request in (broken, silent):
        system.await_status("checkout", request.checkout_id, "failed", "compensated")
    world.places.pages(system, "the provider fails")
    system.faults()
    return [request.checkout_id for request in requests]


def a_registry_that_refuses(world: World) -> None:
    """Away, and then with another password: a service that starts waits."""
    for name, fault, login in (("503", Answer(503), ""), ("401", None, "another")):
        right, world.proxy.login = world.proxy.login, login or world.proxy.login
        if fault:
            world.proxy.faults[0] = fault
        said = ended(
            world.system.folder, f"no registry {name}", world.environ, "-m", "services.warehouse",
            until="waiting for the schema registry",
        )  # fmt: skip
        assert "Fatal Python error: Aborted" in said
        world.places.command(world.system.env, "checkout", "publish", "-", name=f"checkout publish, registry {name}")
        world.places.command(world.system.env, "checkout", "schemas", "check", name=f"schemas check, registry {name}")
        world.proxy.login = right
        world.proxy.faults.clear()


def wrong_passwords(world: World) -> None:
    """Processes that nobody lets in, aborted while they wait."""
    wrong, system = world.strings["wrong"], world.system
    database = system.env["WAREHOUSE_DATABASE_URL"].replace(world.strings["database"], wrong)
    plain = system.env | {"LOG_LEVEL": "DEBUG", "WAREHOUSE_METRICS_PORT": "0"}
    refused: dict[str, tuple[dict[str, str], str]] = {
        "wrong database password": ({"WAREHOUSE_DATABASE_URL": database}, "password authentication failed"),
        "wrong kafka password": ({"KAFKA_SASL_PASSWORD": wrong}, "uthentication failed"),
    }
    for name, (change, until) in refused.items():
        said = ended(system.folder, name, plain | change, "-m", "services.warehouse", until=until)
        assert "Fatal Python error: Aborted" in said
        world.places.command(plain | change, "checkout", "publish", "-", name=f"checkout publish, {name}")
        world.places.command(plain | change, "checkout", "show", "canary-000", name=f"checkout show, {name}")
        world.places.command(plain | change, "dlq", "groups", name=f"dlq groups, {name}")


def wrong_settings(world: World) -> None:
    """Settings that can't be read: a process ends with one line."""
    wrong, system = world.strings["wrong"], world.system
    settings = {
        "WAREHOUSE_DATABASE_URL": (f"postgresql+psycopg2://u:{wrong}@h:{wrong}/d",),
        "SCHEMA_REGISTRY_URL": (f"ftp://u:{wrong}@h", wrong),
        "OTEL_EXPORTER_OTLP_ENDPOINT": (f"http://u:{wrong}@h:{wrong}",),
        "KAFKA_SASL_USERNAME": ("",),
        "WAREHOUSE_DATABASE_URL_FILE": (f"/nowhere/{wrong}",),
    }
    for name, values in settings.items():
        for number, value in enumerate(values):
            said = ended(
                system.folder, f"{name.lower()} {number}", system.env | {name: value}, "-m", "services.warehouse"
            )
            assert said.startswith("settings: "), said
            assert len(said.splitlines()) == 1, said
    said = world.places.command(system.env | {"PAYMENT_PROVIDER_URL": f"http://u:{wrong}@h:x"}, "checkout", "audit")
    assert not said
    assert str(EXIT_CONFIG) in world.places.texts["output of checkout audit"]


@contextmanager
def echo() -> Iterator[str]:
    """A provider that refuses every key, and says which one it was."""

    class Handler(BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            key = self.headers.get("Authorization", "").removeprefix("Bearer ")
            error = {"type": "invalid_request_error", "message": f"Invalid API Key provided: {key}", "code": "nope"}
            body = json.dumps({"error": error}).encode()
            self.send_response(401)
            self.send_header("Content-Length", str(len(body)))
            self.end_headers()
            self.wfile.write(body)

        do_POST = do_GET  # noqa: N815 - the server's names

        def log_message(self, *_: object) -> None:
            """It is the provider's own log."""

    server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    threading.Thread(target=server.serve_forever, daemon=True).start()
    try:
        yield f"http://127.0.0.1:{server.server_port}"
    finally:
        server.shutdown()
        server.server_close()


def a_key_that_is_refused(world: World) -> str:
    """Another provider, which echoes the key that it does not take, and a token of that provider's form."""
    system, request = world.system, world.system.request(payment_method_id="customer-5:ok", customer_id="customer-5")
    token = f"cus_{world.strings['token']}:pm_{world.strings['token']}"
    change = "UPDATE payment_methods SET token = :token WHERE payment_method_id = 'customer-5:ok'"
    system.execute("payment", change, token=token)
    world.fleet.kill("payment")
    with echo() as url:
        environ = world.environ | {"PAYMENT_PROVIDER": "stripe", "STRIPE_API_BASE": url}
        fleet = Fleet(environ, system.folder / "stripe", ["payment"])
        fleet.start()
        try:
            wait_for(fleet.ready, "payment to be ready")
            system.publish(request)
            system.await_status("checkout", request.checkout_id, "failed", "compensated")
            world.places.pages(system, "the key is refused")
        finally:
            fleet.stop()
    world.fleet.start("payment")
    wait_for(world.fleet.ready, "the services to be ready again")
    return request.checkout_id


# --- what is searched -----------------------------------------------------------------------------------------------


def commands(world: World, ids: list[str]) -> None:
    """What people are shown."""
    run: Callable[..., str] = lambda *arguments: world.places.command(world.system.env, *arguments)  # noqa: E731
    for checkout_id in ids:
        run("checkout", "show", checkout_id, "--json")
    run("checkout", "show", ids[-1])
    for arguments in ("audit --json", "outbox blocked", "setup --no-seed"):
        run("checkout", *arguments.split())
    for arguments in ("groups --all", "list --all", "export -", "audit --json", "watch"):
        run("dlq", *arguments.split())
    letters = json.loads(run("dlq", "list", "--all", "--json"))
    assert letters
    for letter in letters[::2]:
        run("dlq", "show", letter["id"], "--json")
    run("dlq", "show", letters[0]["id"])


def observed(world: World, ids: list[str]) -> None:
    """The observer's and the exporter's pages."""
    for path in ("/live", "/metrics", "/healthz", "/readyz", *(f"/checkouts/{checkout_id}" for checkout_id in ids)):
        for accept in ("text/html", "application/json"):
            world.places.page(f"observer {path} as {accept}", f"{world.observer.url}{path}", accept)
    world.places.page("exporter /metrics", world.exporter)


def everything(world: World, ids: list[str]) -> Places:
    """All that was said."""
    places, system = world.places, world.system
    world.places.pages(system, "at the end")
    observed(world, ids)
    commands(world, ids)
    for span in world.receiver.spans:
        places.add(f"spans of {span.service}", span)
    world.receiver.close()
    world.fleet.stop()
    world.observer.stop()
    letters = [dead_letter_topic(service) for service in SERVICES]
    replays = [retry_topic(service) for service in SERVICES]
    places.records(system, [*topics(), *letters, *replays, LEDGER_TOPIC, DLQ_AUDIT_TOPIC])
    places.tables(system)
    places.files("log", [path for path in system.folder.rglob("*.log") if path.name != "provider.log"])
    places.files("log of", [world.broker.log])
    if world.stack is not None:
        places.files("log of", world.stack.data_dir.glob("*.log"))
    return places


def test_no_secret_and_no_token_is_anywhere(world: World) -> None:
    every_ending(world)
    ids = ["canary-002", "canary-005"]
    ids.append(a_row_that_is_refused(world))
    a_database_without_room(world)
    ids += a_provider_that_fails(world)
    ids.append(a_key_that_is_refused(world))
    a_registry_that_refuses(world)
    wrong_passwords(world)
    wrong_settings(world)
    places = everything(world, ids)
    print("\n".join(["searched:", *(f"  {len(said):>9,} characters: {place}" for place, said in places.texts.items())]))
    kinds = {place.split()[0] for place in places.texts}
    assert kinds >= {
        "log",
        "/metrics",
        "/healthz",
        "/readyz",
        "observer",
        "exporter",
        "output",
        "spans",
        "table",
        "keys",
    }
    assert places.where(world.strings) == {}


def test_the_search_finds_what_is_there(world: World) -> None:
    places = Places()
    places.records(world.system, ["checkout.requested"])
    places.add("a url", world.system.env["PAYMENT_DATABASE_URL"])
    assert places.where({"database": world.strings["database"], "method": "customer-3:ok"}) == {
        "database": ["a url"],
        "method": ["values on checkout.requested"],
    }
    tokens = world.system.rows(
        "payment", "SELECT token FROM payments WHERE token LIKE '%' || :it", it=world.strings["token"]
    )
    assert tokens, "the canary has never flown"
