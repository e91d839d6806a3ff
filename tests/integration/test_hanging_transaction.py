"""A producer that hangs in a transaction on every topic stops no checkout of the whole system, and moves no offset."""

import json
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any
from urllib.request import urlopen
from uuid import uuid4

import pytest
from confluent_kafka import Consumer, Producer, TopicPartition

from compose.show import describe
from schemas.choreography import topics
from tests.scraping import Page
from tests.servers import TestServers
from tests.system import System, wait_for

PARTITIONS = 2


@pytest.fixture(scope="module")
def system(servers: TestServers, scratch: Any) -> Iterator[System]:
    with System(servers, scratch, partitions=PARTITIONS, OPEN_TRANSACTION_AFTER_S="0.5") as running:
        yield running


def places(system: System) -> list[tuple[str, int]]:
    prefix = system.env["TOPIC_PREFIX"]
    return [(prefix + topic, partition) for topic in topics() for partition in range(PARTITIONS)]


@contextmanager
def hanging(system: System, key: str) -> Iterator[Producer]:
    """A transaction that is open in every partition of every event topic."""
    made = Producer(
        {
            "bootstrap.servers": system.env["KAFKA_BOOTSTRAP_SERVERS"],
            "transactional.id": f"tx-{uuid4().hex[:8]}",
            "transaction.timeout.ms": 300_000,
        }
    )
    made.init_transactions(30)
    made.begin_transaction()
    for topic, partition in places(system):
        made.produce(topic, b"never said", key.encode(), partition=partition)
    assert made.flush(30) == 0
    yield made


def begins(system: System) -> dict[tuple[str, int], int]:
    """Where a reader of committed messages ends now, in every partition."""
    with_levels = {"bootstrap.servers": system.env["KAFKA_BOOTSTRAP_SERVERS"], "group.id": "looks"}
    consumer = Consumer(with_levels)
    try:
        return {
            place: consumer.get_watermark_offsets(TopicPartition(*place), timeout=30)[1] for place in places(system)
        }
    finally:
        consumer.close()


def committed(system: System, service: str) -> dict[tuple[str, int], int]:
    group = system.env["TOPIC_PREFIX"] + service
    consumer = Consumer({"bootstrap.servers": system.env["KAFKA_BOOTSTRAP_SERVERS"], "group.id": group})
    try:
        found = consumer.committed([TopicPartition(*place) for place in places(system)], timeout=30)
        return {(p.topic, p.partition): p.offset for p in found if p.offset >= 0}
    finally:
        consumer.close()


def readyz(system: System, service: str) -> dict[str, Any]:
    with urlopen(f"http://127.0.0.1:{system.env[f'{service.upper()}_METRICS_PORT']}/readyz", timeout=10) as page:
        found: dict[str, Any] = json.load(page)
        return found


def test_checkouts_go_their_whole_way_behind_it_and_once_only(system: System) -> None:
    first = system.request()
    system.publish(first)
    system.await_status("payment", first.checkout_id, "captured")
    system.await_rest([first.checkout_id])
    with hanging(system, first.checkout_id) as producer:
        requests = [system.request() for _ in range(10)]
        system.publish(*requests)
        for request in requests:
            system.await_status("checkout", request.checkout_id, "captured")
        system.await_rest([request.checkout_id for request in requests])
        system.assert_clean()
        told = describe(system.servers, requests[0].checkout_id)["events"]
        assert f"{system.env['TOPIC_PREFIX']}checkout.completed" in {event["place"].split("/")[0] for event in told}
        ends = begins(system)
        for service in ("checkout", "payment", "warehouse"):
            for place, offset in committed(system, service).items():
                assert offset <= ends[place], (service, place)
        held = readyz(system, "checkout")["detail"]["open_transactions"]
        assert {it["topic"] for it in held} >= {system.env["TOPIC_PREFIX"] + "checkout.requested"}
        assert Page(system, "checkout").value("checkout_open_transaction_seconds", topic="checkout.requested") > 0.5
        system.fleet.kill("checkout")
        system.fleet.start()
        wait_for(system.fleet.ready, "checkout to be back")
        later = system.request()
        system.publish(later)
        system.await_status("checkout", later.checkout_id, "captured")
        producer.abort_transaction(30)
    system.publish(last := system.request())
    system.await_status("checkout", last.checkout_id, "captured")
    system.await_rest([r.checkout_id for r in (*requests, later, last)])
    wait_for(lambda: not readyz(system, "checkout")["detail"]["open_transactions"], "nothing to be held up")
    wait_for(
        lambda: any(offset > ends[place] for place, offset in committed(system, "checkout").items()),
        "offsets to move on",
    )
    assert system.letters("checkout") == []
    system.assert_clean()
