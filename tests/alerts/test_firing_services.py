"""Alerts on services and provider, each fired by what it is about, on real servers; and cleared when that is over."""

import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any, Final

import pytest
from sqlalchemy import text

from tests.alerts.files import PANELS, RANGE
from tests.alerts.watching import Watch, service_ports
from tests.jam import jammed
from tests.otlp import receiving
from tests.servers import TestServers
from tests.system import System, wait_for

pytestmark = [pytest.mark.slow, pytest.mark.timeout(600)]

RELAY: Final = "classid = x'6F7574'::int"
"""The advisory locks of an outbox's shards."""
SHARDS: Final = (
    f"SELECT pid, objid FROM pg_locks WHERE locktype = 'advisory' AND granted AND {RELAY}"
    " AND database = (SELECT oid FROM pg_database WHERE datname = current_database())"
)


WITHOUT_FAULTS_EMPTY: Final = {
    "services: Consumer lag by topic",
    "services: Retries by class",
    "services: Retries by number of the try",
    "services: Provider's words that we don't know",
    # these are the observer's
    "saga: Checkouts by state",
    "saga: Stuck checkouts",
    "saga: Breaches of the books",
}


@pytest.fixture(scope="module")
def system(servers: TestServers, scratch: Path) -> Iterator[System]:
    """A breaker that opens soon, floods that are found soon; somebody hears the traces, so that there are exemplars."""
    settings: dict[str, Any] = {
        "FLOOD_AT_LEAST": "20",
        "FLOOD_WINDOW": "40",
        "FLOOD_PROBE_S": "1",
        "RETRY_BUG_ATTEMPTS": "1000",
    }
    with receiving() as receiver:
        settings["OTEL_EXPORTER_OTLP_ENDPOINT"] = receiver.url
        with System(servers, scratch, **settings) as running:
            yield running


@pytest.fixture(scope="module")
def watch(system: System, scratch: Path) -> Iterator[Watch]:
    """Prometheus on the three services."""
    with Watch(scratch / "prometheus-services", service_ports(system)).running() as running:
        wait_for(lambda: running.ask('count(up{job="checkout-services"} == 1) == 3'), "the services to be scraped")
        yield running


def many(system: System, count: int = 10, **fields: Any) -> Callable[[], None]:
    """Publishes so many checkouts each time that it is called."""
    return lambda: system.publish(*(system.request(sku=f"sku-{n % 50 + 1}", **fields) for n in range(count)))


def test_a_system_that_works_fires_nothing_and_fills_every_panel(system: System, watch: Watch) -> None:
    queries = {
        name: [target["expr"].replace(RANGE, "20s") for target in panel["targets"]]
        for name, panel in PANELS.items()
        if name not in WITHOUT_FAULTS_EMPTY and not name.startswith("dead-letters")
    }

    def filled() -> bool:
        many(system, 18)()
        many(system, 1, method="declines-insufficient_funds")()
        many(system, 1, method="refuses-capture")()
        return all(any(map(watch.ask, expressions)) for expressions in queries.values())

    wait_for(filled, "panels to be filled", pause_s=0.5)
    (exemplar, *_) = wait_for(lambda: watch.exemplars("checkout_saga_duration_seconds_bucket"), "an exemplar")
    assert len(exemplar["labels"]["trace_id"]) == 32
    system.await_rest()
    # nobody reads dead letters here
    assert all_firing(watch) <= {"DlqExporterStale"}


def all_firing(watch: Watch) -> set[str]:
    """The names of all alerts that fire."""
    return {series["metric"]["alertname"] for series in watch.ask('ALERTS{alertstate="firing"}')}


def test_service_down(system: System, watch: Watch) -> None:
    system.fleet.kill("warehouse")
    watch.await_firing("ServiceDown", service="warehouse", severity="page")
    assert not watch.firing("ServiceDown", service="payment")
    system.fleet.start("warehouse")
    watch.await_clear("ServiceDown")


def test_database_down(system: System, watch: Watch) -> None:
    with refused(system, "warehouse"):
        watch.await_firing("DatabaseDown", service="warehouse", severity="page")
        assert not watch.firing("ServiceDown")
    watch.await_clear("DatabaseDown")
    system.await_rest()


@contextmanager
def refused(system: System, service: str) -> Iterator[None]:
    """A service's database takes no connections, and has none."""
    name = f"{system.name}_{service}"
    system._admin(f"ALTER DATABASE {name} ALLOW_CONNECTIONS false")
    try:
        system._admin(f"SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE datname = '{name}'")
        yield
    finally:
        system._admin(f"ALTER DATABASE {name} ALLOW_CONNECTIONS true")


def test_circuit_breaker_open(system: System, watch: Watch) -> None:
    system.faults({"fault": "error:503", "operation": "*"})
    many(system)()
    watch.await_firing("CircuitBreakerOpen", operation="authorize", severity="page")
    system.faults()
    system.await_rest()
    watch.await_clear("CircuitBreakerOpen", meanwhile=many(system, 1))


def test_provider_slow(system: System, watch: Watch) -> None:
    system.faults({"fault": "latency:3000", "operation": "capture"})
    watch.await_firing("ProviderSlow", operation="capture", severity="ticket", meanwhile=many(system, 2))
    assert not watch.firing("ProviderSlow", operation="authorize")
    system.faults()
    system.await_rest()
    watch.await_clear("ProviderSlow", meanwhile=many(system, 2))


def test_service_stalled_and_consumer_lag_growing(system: System, watch: Watch) -> None:
    """Somebody's forgotten transaction holds a table."""
    system.await_rest()
    with system.engine("warehouse").begin() as forgotten:
        forgotten.execute(text("LOCK TABLE stock IN ACCESS EXCLUSIVE MODE"))
        watch.await_firing("ServiceStalled", service="warehouse", severity="page", meanwhile=many(system, 5))
        watch.await_firing("ConsumerLagGrowing", service="warehouse", severity="page", meanwhile=many(system, 5))
        assert not watch.firing("ServiceStalled", service="checkout")
        assert not watch.firing("DatabaseDown")
    system.await_rest(limit_s=120)
    watch.await_clear("ServiceStalled")
    watch.await_clear("ConsumerLagGrowing")


def test_outbox_not_moving(system: System, watch: Watch) -> None:
    """A session that is no relay's holds the locks of the shards."""
    system.await_rest()
    with frozen(system, "checkout"):
        many(system, 3)()
        watch.await_firing("OutboxNotMoving", service="checkout", severity="page")
        assert not watch.firing("OutboxNotMoving", service="payment")
    system.await_rest()
    watch.await_clear("OutboxNotMoving")


@contextmanager
def frozen(system: System, service: str) -> Iterator[None]:
    """The relay of a service owns no shard: its session ended, and somebody who waited for its locks has them."""
    held = system.rows(service, SHARDS)
    shards, relay = sorted({row.objid for row in held}), {row.pid for row in held}
    assert len(relay) == 1
    locked, over = threading.Event(), threading.Event()

    def hold() -> None:
        with system.engine(service).connect() as db:
            for shard in shards:
                db.execute(text(f"SELECT pg_advisory_lock(x'6F7574'::int, {shard})"))
            locked.set()
            over.wait()
            db.execute(text("SELECT pg_advisory_unlock_all()"))

    thread = threading.Thread(target=hold)
    thread.start()
    waiting = f"SELECT 1 FROM pg_locks WHERE locktype = 'advisory' AND NOT granted AND {RELAY}"
    wait_for(lambda: system.rows(service, waiting), "somebody to wait for a lock")
    system.execute(service, "SELECT pg_terminate_backend(:pid)", pid=relay.pop())
    try:
        assert locked.wait(20)
        yield
    finally:
        over.set()
        thread.join()


def test_error_code_surge(system: System, watch: Watch) -> None:
    system.await_rest()
    quiet = "sum(outcome_code:checkout_outcomes:increase10m) < 1"
    wait_for(lambda: watch.ask(quiet), "the outcomes of other tests to be out of sight", pause_s=0.3)
    many(system, 60, method="declines-insufficient_funds")()
    many(system, 20, customer_id="no such customer")()
    watch.await_firing("ErrorCodeSurge", code="INSUFFICIENT_FUNDS", severity="ticket")
    watch.await_firing("ErrorCodeSurge", code="INVALID_FIELD", severity="page")
    assert not watch.firing("ErrorCodeSurge", code="INVALID_FIELD", severity="ticket")
    system.await_rest()
    watch.await_clear("ErrorCodeSurge", meanwhile=many(system, 1))


def test_partition_stopped(system: System, watch: Watch) -> None:
    system.await_rest()
    with jammed(system, "checkout", "checkouts", "INSERT", "true"):
        many(system, 300)()
        watch.await_firing("PartitionStopped", service="checkout", severity="page")
    system.await_rest(limit_s=120)
    watch.await_clear("PartitionStopped")


def test_broker_down(system: System, servers: TestServers, scratch: Path) -> None:
    """Asking a broker that is away takes three seconds, so this Prometheus has the patience for it."""
    if servers.stack is None:
        pytest.skip("the broker is not ours to stop")
    with Watch(scratch / "prometheus-broker", service_ports(system), interval_s=5).running() as patient:
        wait_for(lambda: patient.ask("checkout_broker_up == 1"), "the services to be scraped")
        servers.stack.stop_server("kafka", kill=True)
        try:
            patient.await_firing("BrokerDown", service="payment", severity="page")
            assert not patient.firing("ServiceDown")
        finally:
            servers.stack.start_server("kafka")
        patient.await_clear("BrokerDown")
    system.await_rest()
    system.assert_clean()
