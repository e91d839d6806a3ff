"""Alerts on dead letters and compensations, each fired by what it is about, on real servers; and cleared afterwards."""

import time
from collections.abc import Iterator
from contextlib import ExitStack
from datetime import timedelta
from pathlib import Path
from typing import Any
from uuid import uuid4

import pytest
from confluent_kafka.admin import AdminClient
from confluent_kafka.admin._config import AlterConfigOpType, ConfigEntry, ConfigResource
from confluent_kafka.admin._resource import ResourceType

from schemas.choreography import dead_letter_topic
from tests.alerts.watching import Watch, exporter, service_ports
from tests.servers import TestServers
from tests.system import System, free_port, wait_for

pytestmark = [pytest.mark.slow, pytest.mark.timeout(600)]

WEEKS = timedelta(days=90)


@pytest.fixture(scope="module")
def system(servers: TestServers, scratch: Path) -> Iterator[System]:
    """Voids are tried for a minute, and the breaker stays out of it."""
    settings: dict[str, Any] = {"RETRY_COMPENSATION_ATTEMPTS": "24", "PAYMENT_BREAKER_FAILURES": "1000"}
    with System(servers, scratch, **settings) as running:
        yield running


@pytest.fixture(scope="module")
def port() -> str:
    """Where the exporter listens."""
    return str(free_port())


@pytest.fixture(scope="module")
def exporting(system: System, port: str) -> Iterator[ExitStack]:
    """The exporter; close it to stop it."""
    with ExitStack() as stack:
        stack.enter_context(exporter(system, port))
        yield stack


@pytest.fixture(scope="module")
def watch(system: System, scratch: Path, port: str, exporting: ExitStack) -> Iterator[Watch]:
    """Prometheus on services and exporter."""
    ports = service_ports(system) | {"dlq-exporter": port}
    with Watch(scratch / "prometheus-letters", ports).running() as running:
        wait_for(lambda: running.ask("checkout_dlq_last_look_timestamp_seconds"), "the exporter to look")
        yield running


def test_dead_letter_arrived_new_cause_and_leaving(system: System, watch: Watch) -> None:
    """A forged, unreadable message; then the topic keeps its letters for a day only."""
    assert not watch.firing("DeadLetterArrived")
    system.shop.publish_raw("payment.declined", f"c-{uuid4().hex[:8]}".encode(), b"\x00\x00\x00\xff\xff garbage")
    system.shop.flush()
    arrived = watch.await_firing("DeadLetterArrived", service="checkout", event="payment.declined", severity="ticket")
    fingerprint = arrived["labels"]["fingerprint"]
    watch.await_firing("DeadLetterNewCause", service="checkout", severity="ticket")
    assert not watch.firing("CompensationGivenUp")
    keep(system, "checkout", timedelta(days=1))
    watch.await_firing("DeadLetterLeaving", service="checkout", severity="ticket")
    keep(system, "checkout", WEEKS)
    watch.await_clear("DeadLetterLeaving")
    system.dlq("discard", "--fingerprint", fingerprint, "--yes", "--why", "forged by a test")
    watch.await_clear("DeadLetterArrived")
    watch.await_clear("DeadLetterNewCause")


def keep(system: System, service: str, span: timedelta) -> None:
    """The retention of a dead-letter topic."""
    entry = ConfigEntry(
        "retention.ms", str(round(span.total_seconds() * 1000)), incremental_operation=AlterConfigOpType.SET
    )
    topic = ConfigResource(
        ResourceType.TOPIC, f"{system.name}.{dead_letter_topic(service)}", incremental_configs=[entry]
    )
    admin = AdminClient({"bootstrap.servers": system.env["KAFKA_BOOTSTRAP_SERVERS"]})
    for future in admin.incremental_alter_configs([topic]).values():
        future.result(timeout=30)


def test_compensation_failing_and_given_up(system: System, watch: Watch) -> None:
    """A void without an answer, until it is given up; the replay of its letter lets go."""
    system.faults({"fault": "error:503", "operation": "void"})
    request = system.request(method="refuses-capture")
    system.publish(request)
    watch.await_firing("CompensationFailing", service="payment", operation="void", severity="ticket")
    assert not watch.firing("CompensationGivenUp")
    watch.await_firing("CompensationGivenUp", service="payment", severity="page")
    watch.await_clear("CompensationFailing")
    (letter,) = system.await_letters("payment", request.checkout_id, 1)
    system.faults()
    told = system.dlq("replay", letter.headers["dlq-id"].decode(), "--yes", "--wait", "--why", "it answers again")
    assert told["outcomes"]["handled"] == 1
    system.await_status("checkout", request.checkout_id, "compensated")
    watch.await_clear("CompensationGivenUp")
    watch.await_clear("DeadLetterArrived")


def test_a_replay_leaves_no_lag_that_anybody_is_paged_for(system: System, watch: Watch) -> None:
    """The mark at the end of its transaction is an offset that nobody commits."""
    wait_for(lambda: watch.ask('checkout_consumer_lag{topic="payment.retry"} > 0'), "the mark to be seen")
    until = time.monotonic() + 30  # ServiceStalled would take 20 s
    wait_for(lambda: watch.firing("ServiceStalled") or time.monotonic() > until, "half a minute to pass", pause_s=0.5)
    assert not watch.firing("ServiceStalled")


def test_dlq_exporter_stale(system: System, watch: Watch, port: str, exporting: ExitStack) -> None:
    assert not watch.firing("DlqExporterStale")
    exporting.close()
    watch.await_firing("DlqExporterStale", severity="ticket")
    exporting.enter_context(exporter(system, port))
    watch.await_clear("DlqExporterStale")
