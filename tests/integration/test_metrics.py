"""What the services tell Prometheus about real checkouts."""

import re
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any, Final

import pytest

from schemas.choreography import SERVICES, subscriptions
from tests.otlp import Receiver, receiving
from tests.scraping import Page, Sample, scrape
from tests.servers import TestServers
from tests.system import System, wait_for

DOWN: Final = [{"fault": "error:503", "operation": name} for name in ("authorize", "lookup")]
ID: Final = re.compile(r"c-[0-9a-f]{12}|[0-9a-f]{8}-[0-9a-f]{4}")


@pytest.fixture(scope="module")
def receiver() -> Iterator[Receiver]:
    with receiving() as receiver:
        yield receiver


@pytest.fixture(scope="module")
def measured(servers: TestServers, scratch: Path, receiver: Receiver) -> Iterator[System]:
    """Traces are kept, so that exemplars have something to lead to."""
    settings: dict[str, Any] = {"OTEL_EXPORTER_OTLP_ENDPOINT": receiver.url, "PAYMENT_TIMEOUT_S": "0.4"}
    with System(servers, scratch, **settings) as system:
        yield system


def page(system: System, service: str) -> Page:
    return Page(system, service)


def test_changes_of_state_are_counted_with_what_caused_them(measured: System) -> None:
    request = measured.request()
    measured.publish(request)
    measured.await_status("checkout", request.checkout_id, "captured")
    name = "checkout_saga_transitions_total"
    wait_for(lambda: page(measured, "checkout").value(name, to_state="captured"), "the change to be counted")
    moves = {(s.labels["from_state"], s.labels["to_state"], s.labels["reason"]) for s in checkouts(measured, name)}
    assert ("none", "accepted", "checkout.requested") in moves
    assert ("accepted", "authorized", "payment.authorized") in moves
    assert {reason for _, state, reason in moves if state == "captured"} == {"payment.captured"}


def checkouts(system: System, name: str) -> list[Sample]:
    return page(system, "checkout").samples(name)


def test_ends_are_counted_by_code_and_timed(measured: System) -> None:
    checkout = page(measured, "checkout")
    before = checkout.value("checkout_outcomes_total", outcome="failed", code="INSUFFICIENT_FUNDS")
    good, poor = measured.request(), measured.request(method="declines-insufficient_funds")
    measured.publish(good, poor)
    measured.await_status("checkout", good.checkout_id, "captured")
    measured.await_status("checkout", poor.checkout_id, "compensated")

    def counted() -> bool:
        failed = checkout.value("checkout_outcomes_total", outcome="failed", code="INSUFFICIENT_FUNDS")
        return (
            failed == before + 1 and checkout.value("checkout_saga_duration_seconds_count", outcome="compensated") > 0
        )

    wait_for(counted, "the end to be counted")
    assert checkout.value("checkout_outcomes_total", outcome="completed", code="") >= 1
    for end in ("captured", "failed", "compensated"):
        count = checkout.value("checkout_saga_duration_seconds_count", outcome=end)
        took_s = checkout.value("checkout_saga_duration_seconds_sum", outcome=end)
        assert 0 < took_s / count < 30


def test_every_event_that_a_service_hears_has_a_latency_that_leads_to_a_trace(
    measured: System, receiver: Receiver
) -> None:
    request = measured.request()
    measured.publish(request)
    measured.await_status("checkout", request.checkout_id, "captured")
    name = "checkout_step_latency_seconds_bucket"
    wait_for(lambda: page(measured, "payment").value("checkout_step_latency_seconds_count"), "latencies")
    for service, event in (("payment", "warehouse.confirmed"), ("warehouse", "checkout.accepted")):
        samples = page(measured, service).samples(name)
        assert {s.labels["event"] for s in samples} <= set(subscriptions(service))
        traces = {s.exemplar["trace_id"] for s in samples if s.labels["event"] == event and s.exemplar}
        await_one_of(receiver, traces)


def await_one_of(receiver: Receiver, traces: set[str]) -> None:
    """An exemplar stays until a newer one takes its place, a trace comes with the next export."""
    wait_for(lambda: traces & {span.trace for span in list(receiver.spans)}, f"one of the traces {traces}")


def test_provider_calls_are_timed_by_operation_and_answer(measured: System) -> None:
    payment, name = page(measured, "payment"), "checkout_provider_call_seconds_count"
    measured.faults(*DOWN)
    request = measured.request()
    measured.publish(request)
    wait_for(lambda: payment.value("checkout_retries_total", fault="provider", attempt="1"), "a first try to fail")
    measured.faults()
    measured.await_status("checkout", request.checkout_id, "captured")
    wait_for(lambda: payment.value(name, operation="capture", outcome="answered"), "a capture to be timed")
    assert payment.value(name, operation="authorize", outcome="error") >= 1
    assert payment.value(name, operation="authorize", outcome="answered") >= 1


def test_what_stands_in_the_tables_is_told_and_goes_away_again(measured: System) -> None:
    for service in SERVICES:
        told = page(measured, service)
        assert told.value("checkout_database_up") == told.value("checkout_broker_up") == 1
    empty = [page(measured, service) for service in SERVICES]
    wait_for(lambda: not any(told.value("checkout_outbox_depth") for told in empty), "the outboxes to be empty")
    assert not any(told.value("checkout_outbox_oldest_age_seconds") for told in empty)
    checkout = page(measured, "checkout")
    insert = (
        "INSERT INTO outbox (id, aggregatetype, aggregateid, type, topic, headers, shard, created_at)"
        " VALUES (gen_random_uuid(), 'x', 'stuck', 'x', :topic, '[]', 0, now() - interval '1 hour')"
    )
    measured.execute("checkout", insert, topic="no.such.topic")
    wait_for(lambda: checkout.value("checkout_outbox_depth") == 1, "the row to be counted")
    assert 3600 <= checkout.value("checkout_outbox_oldest_age_seconds") < 3700
    measured.execute("checkout", "DELETE FROM outbox WHERE aggregateid = 'stuck'")
    wait_for(lambda: checkout.value("checkout_outbox_depth") == 0, "the row to be gone")


def test_messages_that_wait_and_compensations_that_fail_are_told_while_they_do(measured: System) -> None:
    payment = page(measured, "payment")
    measured.faults({"fault": "error:503", "operation": "void"}, {"fault": "error:503", "operation": "lookup"})
    request = measured.request(sku="sku-on-hold")
    measured.publish(request)
    wait_for(lambda: payment.value("checkout_failed_compensations", operation="void") == 1, "the void to fail")
    assert payment.value("checkout_waiting_messages", kind="retrying") >= 1
    assert payment.value("checkout_waiting_keys") >= 1
    measured.faults()
    measured.await_status("checkout", request.checkout_id, "compensated")
    wait_for(lambda: payment.value("checkout_failed_compensations") == 0, "nothing to be tried again")
    assert payment.value("checkout_waiting_keys") == 0


def test_a_dead_letter_is_counted_with_its_cause(measured: System) -> None:
    measured.shop.publish_raw("checkout.requested", b"c-bad", b"not avro")
    measured.shop.flush()
    name = "checkout_dead_letters_total"
    wait_for(lambda: page(measured, "checkout").value(name, disposition="undecodable"), "the letter to be counted")
    [sample] = [s for s in checkouts(measured, name) if s.labels["disposition"] == "undecodable"]
    assert sample.labels["reason"] == "UndecodableError"
    assert re.fullmatch("[0-9a-f]{12}", sample.labels["fingerprint"])


def test_lag_is_told_for_each_partition_and_grows_while_a_service_can_not_go_on(measured: System) -> None:
    told = page(measured, "warehouse")
    partitions = int(measured.env["TOPIC_PARTITIONS"])
    lag = told.samples("checkout_consumer_lag")
    topics = {sample.labels["topic"] for sample in lag}
    assert topics == {*subscriptions("warehouse"), "warehouse.retry"}
    assert len([s for s in lag if s.labels["topic"] == "checkout.accepted"]) == partitions
    wait_for(lambda: told.value("checkout_consumer_lag") == 0, "everything to be settled")
    with measured.engine("warehouse").begin() as held:
        held.exec_driver_sql("LOCK TABLE reservations")
        request = measured.request()
        measured.publish(request)
        wait_for(lambda: told.value("checkout_consumer_lag", topic="checkout.accepted") == 1, "the lag to grow")
    measured.await_status("checkout", request.checkout_id, "captured")
    wait_for(lambda: told.value("checkout_consumer_lag") == 0, "the lag to go")


def test_no_label_holds_what_has_no_bound(measured: System) -> None:
    measured.await_rest()
    for service in SERVICES:
        samples = scrape(measured.env[f"{service.upper()}_METRICS_PORT"])
        ours = [sample for sample in samples if sample.name.startswith("checkout_")]
        assert {sample.labels.get("service") for sample in ours} == {service}
        assert not [s for s in ours for text in s.labels.values() if ID.search(text)]
        assert not [s for s in ours for text in s.labels.values() if measured.name in text]


def test_the_relay_tells_how_long_its_events_waited(measured: System) -> None:
    checkout = page(measured, "checkout")
    began = datetime.now(UTC)
    request = measured.request()
    measured.publish(request)
    measured.await_status("checkout", request.checkout_id, "captured")
    assert checkout.value("checkout_outbox_published_total") >= 3
    count, total_s = checkout.value("checkout_relay_seconds_count"), checkout.value("checkout_relay_seconds_sum")
    assert 0 < total_s / count < (datetime.now(UTC) - began + timedelta(minutes=5)).total_seconds()
