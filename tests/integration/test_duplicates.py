"""Everything that was ever published comes once more: the inbox drops it; without inboxes the state guard refuses."""

from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any, Final
from urllib.request import urlopen

import pytest
from confluent_kafka import Message, Producer
from prometheus_client.parser import text_string_to_metric_families

from compose.audit.reading import ledger_entries
from outbox.relay import producer_config
from schemas.choreography import SERVICES, subscriptions, topics
from schemas.events import CheckoutCancelRequested, CheckoutRequested
from schemas.kafka.record import record_of
from services.shell.reading import read
from tests.servers import TestServers
from tests.system import System, wait_for

REFUSALS: Final[tuple[dict[str, Any], ...]] = (
    {"sku": "sku-rare"},
    {"sku": "sku-nobody-knows"},
    {"sku": "sku-on-hold"},
    {"method": "declines-insufficient_funds"},
    {"method": "refuses-capture"},
    {"payment_method_id": "customer-2:ok"},
    {"total_minor": 1},
    {"currency": "XXX"},
)
STATES: Final = {"checkout": "checkouts", "payment": "payments", "warehouse": "reservations"}


def cancel(request: CheckoutRequested) -> CheckoutCancelRequested:
    return CheckoutCancelRequested(checkout_id=request.checkout_id, reason="changed my mind")


def every_ending(system: System) -> None:
    """Publish what leads to every ending, and wait until all is over."""
    captured, twice = system.request(), system.request()
    expiring = system.request(method="slow", expires_at=datetime.now(UTC) + timedelta(seconds=1.5))
    cancelled, cancelled_first, never_requested = system.request(method="slow"), system.request(), system.request()
    lapsing, refunded, delayed = system.request(method="slower"), system.request(), system.request()
    system.faults(
        {"fault": "latency:1000", "operation": "capture", "checkout_id": refunded.checkout_id},
        {"fault": "error:503", "operation": "authorize", "checkout_id": delayed.checkout_id, "times": 2},
        {"fault": "error:503", "operation": "capture", "checkout_id": delayed.checkout_id, "times": 2},
    )
    refused = [system.request(**fields) for fields in REFUSALS]
    system.publish(cancel(cancelled_first), cancel(never_requested))
    system.await_status("checkout", cancelled_first.checkout_id, "cancelled_first")
    system.publish(captured, twice, twice, expiring, cancelled, cancelled_first, lapsing, refunded, delayed, *refused)
    system.await_status("payment", cancelled.checkout_id, "authorizing")
    system.publish(cancel(cancelled))
    system.await_status("payment", refunded.checkout_id, "capture_pending")
    system.publish(cancel(refunded))
    system.await_status("warehouse", lapsing.checkout_id, "reserved")
    past = "UPDATE reservations SET expires_at = now() - interval '1 s' WHERE checkout_id = :id"
    system.execute("warehouse", past, id=lapsing.checkout_id)
    system.await_status("checkout", captured.checkout_id, "captured")
    system.publish(cancel(captured), system.request(captured.checkout_id, sku="sku-2"))
    system.shop.publish_raw("checkout.requested", b"c-1", b"not avro")
    system.shop.flush()
    ended = (captured, twice, expiring, cancelled, cancelled_first, lapsing, refunded, delayed, *refused)
    system.await_rest(request.checkout_id for request in ended)
    wait_for(lambda: len(system.letters("checkout")) == 2, "both dead letters")


@dataclass(frozen=True)
class Books:
    """All that a second delivery must leave as it is."""

    states: dict[str, list[Any]]
    stock: list[Any]
    moves: dict[str, list[Any]]
    ledger: list[Any]


def books(system: System) -> Books:
    """States with their versions, stock, every change of state in the trails, the provider's journal."""
    moved = (
        "SELECT checkout_id, from_state, to_state, cause_type, cause_id FROM audit_trail"
        " WHERE from_state IS DISTINCT FROM to_state ORDER BY seq"
    )
    return Books(
        {s: system.rows(s, f"SELECT * FROM {table} ORDER BY checkout_id") for s, table in STATES.items()},
        system.rows("warehouse", "SELECT * FROM stock ORDER BY sku"),
        {service: system.rows(service, moved) for service in SERVICES},
        list(ledger_entries(system.env["PAYMENT_PROVIDER_URL"])),
    )


def notes(system: System) -> Counter[str]:
    """How often each remark stands in the checkout service's trail, where the state stayed."""
    told = "SELECT note FROM audit_trail WHERE from_state = to_state"
    return Counter(row.note.split(":")[0] for service in SERVICES for row in system.rows(service, told))


def counted(system: System, service: str, name: str) -> int:
    """A counter of a service, as Prometheus would read it."""
    with urlopen(f"http://127.0.0.1:{system.env[f'{service.upper()}_METRICS_PORT']}/metrics", timeout=10) as page:
        families = text_string_to_metric_families(page.read().decode())
        return sum(int(sample.value) for f in families for sample in f.samples if sample.name == name)


def handled(system: System) -> int:
    return sum(counted(system, service, "checkout_messages_handled_total") for service in SERVICES)


def duplicates(system: System) -> int:
    return sum(counted(system, service, "checkout_inbox_duplicates_total") for service in SERVICES)


def name_of(system: System, message: Message) -> str:
    return str(message.topic()).removeprefix(system.servers.topic_prefix)


def deliveries(system: System, messages: list[Message]) -> int:
    """How often `messages` are handled, all listeners together."""
    heard = Counter(topic for service in SERVICES for topic in subscriptions(service))
    return sum(heard[name_of(system, message)] for message in messages)


def publish_again(system: System, messages: list[Message]) -> None:
    """The same key, value, headers and partition; returns when every listener has handled every one."""
    before = handled(system)
    producer = Producer(producer_config(system.servers.kafka_bootstrap_servers))
    for message in messages:
        producer.produce(
            str(message.topic()),
            message.value(),
            message.key(),
            partition=int(message.partition() or 0),
            headers=message.headers(),
        )
    assert producer.flush(30) == 0
    wanted = before + deliveries(system, messages)
    wait_for(lambda: handled(system) >= wanted and system.at_rest(), "everything to be handled once more")
    assert handled(system) == wanted


def unreadable(system: System, messages: list[Message]) -> int:
    return sum(read(record_of(m), system.codec, system.servers.topic_prefix).event is None for m in messages)


@dataclass(frozen=True)
class Ended:
    """A system that ran every ending, and every event message that it took."""

    system: System
    messages: list[Message]
    books: Books


@pytest.fixture(scope="module")
def ended(servers: TestServers, scratch: Path) -> Iterator[Ended]:
    with System(servers, scratch) as system:
        every_ending(system)
        yield Ended(system, system.messages(), books(system))


def test_every_event_of_the_choreography_was_said(ended: Ended) -> None:
    assert {name_of(ended.system, message) for message in ended.messages} == set(topics())
    ended.system.assert_clean()


def test_every_message_once_more_is_dropped_by_the_inbox(ended: Ended) -> None:
    system, known = ended.system, duplicates(ended.system)
    remarks = notes(system)
    publish_again(system, ended.messages)
    new = unreadable(system, ended.messages)  # has no identity but its place: it is a new message
    assert new == 1
    assert duplicates(system) - known == deliveries(system, ended.messages) - new
    assert books(system) == ended.books
    assert notes(system) == remarks
    assert len(system.messages()) == 2 * len(ended.messages)
    assert len(system.letters("checkout")) == 2 + new
    system.assert_clean()


def test_without_inboxes_the_states_alone_refuse_every_message(ended: Ended) -> None:
    """What differs: a remark is made again, and a dead letter is one again. No end is said twice, nothing moves."""
    system, remarks = ended.system, notes(ended.system)
    on_topics, known = len(system.messages()), duplicates(system)
    aside = {service: len(system.letters(service)) for service in SERVICES}
    for service in SERVICES:
        system.execute(service, "DELETE FROM inbox")
    publish_again(system, ended.messages)
    assert duplicates(system) == known
    assert books(system) == ended.books
    assert len(system.messages()) == on_topics + len(ended.messages)
    assert {service: len(system.letters(service)) - count for service, count in aside.items()} == {
        "checkout": 2,  # the conflicting duplicate and the unreadable one
        "payment": 0,
        "warehouse": 0,
    }
    assert notes(system) - remarks == {"cancel requested": 5, "the reservation lapsed": 1}
    # 6 misses what was forgotten by hand, 7 counts the remarks; ends, money, stock and events are sound
    assert {breach.invariant for breach in system.audit().breaches} <= {6, 7}
