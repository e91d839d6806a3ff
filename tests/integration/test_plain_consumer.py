"""A consumer that knows nothing but the registry reads every topic, and every record says what it is and why."""

import re
from collections.abc import Iterator
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any, Final
from uuid import UUID

import pytest
from confluent_kafka import OFFSET_BEGINNING, Consumer, Message, TopicPartition
from confluent_kafka.schema_registry import SchemaRegistryClient
from confluent_kafka.schema_registry.avro import AvroDeserializer
from confluent_kafka.serialization import MessageField, SerializationContext

from schemas.choreography import MAP, SHOP, topics
from schemas.events import CheckoutCancelRequested
from tests.servers import TestServers
from tests.system import System, wait_for

HEADERS: Final = ("ce_id", "ce_type", "ce_source", "ce_time", "traceparent", "causation_id")
CAPTURE_S: Final = 3.0
_TRACEPARENT: Final = re.compile(r"00-([0-9a-f]{32})-[0-9a-f]{16}-[0-9a-f]{2}")
_TIMEOUT_S: Final = 30.0


@dataclass(frozen=True)
class Record:
    """A record as a plain consumer has it."""

    topic: str
    key: bytes
    headers: list[tuple[str, bytes]]
    value: dict[str, Any]

    @property
    def checkout_id(self) -> str:
        """Its key, as text."""
        return self.key.decode()

    def header(self, name: str) -> str:
        """A header, as text."""
        return dict(self.headers)[name].decode()

    @property
    def trace_id(self) -> str:
        """The trace that it belongs to."""
        found = _TRACEPARENT.fullmatch(self.header("traceparent"))
        assert found is not None, self.header("traceparent")
        return found.group(1)


# --- what is published ----------------------------------------------------------------------------------------------


def refunded(system: System) -> str:
    """A checkout that is cancelled while its capture is on its way: the money comes, and goes back."""
    request = system.request()
    system.faults(
        {"fault": f"latency:{CAPTURE_S * 1000:.0f}", "operation": "capture", "checkout_id": request.checkout_id}
    )
    system.publish(request)
    system.await_status("payment", request.checkout_id, "capture_pending")
    system.publish(CheckoutCancelRequested(checkout_id=request.checkout_id, reason="changed my mind"))
    system.await_status("checkout", request.checkout_id, "compensated")
    system.faults()
    return request.checkout_id


def delayed(system: System) -> str:
    """A checkout whose provider does not answer at first."""
    request = system.request()
    system.faults({"fault": "error:503", "operation": "authorize", "checkout_id": request.checkout_id, "times": 2})
    system.publish(request)
    system.await_status("payment", request.checkout_id, "captured")
    system.faults()
    return request.checkout_id


def simple(system: System) -> list[str]:
    """A checkout for every other ending, without a timer."""
    requests = [
        system.request(),
        system.request(total_minor=1),
        system.request(sku="sku-rare"),
        system.request(method="declines-insufficient_funds"),
        system.request(payment_method_id="customer-2:ok"),
        system.request(sku="sku-on-hold"),
        system.request(method="refuses-capture"),
    ]
    system.publish(*requests, requests[0])
    return [request.checkout_id for request in requests]


def expired(system: System) -> str:
    """A checkout whose end only a timer explains."""
    request = system.request(method="slow", expires_at=datetime.now(UTC) + timedelta(seconds=1))
    system.publish(request)
    return request.checkout_id


@dataclass(frozen=True)
class Run:
    """Every record of the topics after a run, and which checkout was what."""

    records: list[Record]
    by_timer: str
    cancelled: str

    def of(self, checkout_id: str) -> list[Record]:
        """The records of one checkout."""
        return [record for record in self.records if record.checkout_id == checkout_id]

    @property
    def by_id(self) -> dict[str, Record]:
        """The records by their event's id."""
        return {record.header("ce_id"): record for record in self.records}


@pytest.fixture(scope="module")
def run(servers: TestServers, scratch: Path) -> Iterator[Run]:
    with System(servers, scratch) as system:
        late, ids = expired(system), simple(system)
        cancelled, slow = refunded(system), delayed(system)
        system.await_rest([late, cancelled, slow, *ids])
        system.assert_clean()
        yield Run(list(consumed(servers, system.env["TOPIC_PREFIX"])), late, cancelled)


def consumed(servers: TestServers, prefix: str) -> Iterator[Record]:
    """Every record of every event topic, decoded by whatever schema it says that it was written with."""
    # as a careful client has it: a limit on every request, and no question about "associations" before each topic
    with SchemaRegistryClient({"url": servers.registry, "timeout": 5, "max.retries": 3}) as registry:
        decode: Any = AvroDeserializer(registry, conf={"subject.name.strategy.type": "TOPIC"})
        for message in messages(servers, [prefix + topic for topic in topics()]):
            topic, key, headers = str(message.topic()), message.key(), message.headers() or []
            assert isinstance(key, bytes)
            value = decode(message.value(), SerializationContext(topic, MessageField.VALUE))
            yield Record(topic.removeprefix(prefix), key, list(map(raw, headers)), value)


def raw(header: Any) -> tuple[str, bytes]:
    name, value = header
    assert isinstance(value, bytes)
    return name, value


def messages(servers: TestServers, names: list[str]) -> list[Message]:
    """All that is on these topics now."""
    consumer = Consumer({"bootstrap.servers": servers.kafka, "group.id": "plain", "enable.auto.commit": False})
    known = consumer.list_topics(timeout=_TIMEOUT_S).topics
    places = [TopicPartition(name, n, OFFSET_BEGINNING) for name in names for n in known[name].partitions]
    end = sum(consumer.get_watermark_offsets(place, timeout=_TIMEOUT_S)[1] for place in places)
    consumer.assign(places)
    found: list[Message] = []

    def all_there() -> bool:
        found.extend(message for message in consumer.consume(1000, 0.1) if message.error() is None)
        return len(found) >= end

    wait_for(all_there, "every message to be read")
    consumer.close()
    return found


# --- what a plain consumer may rely on ------------------------------------------------------------------------------


def test_every_topic_has_been_spoken_on(run: Run) -> None:
    assert {record.topic for record in run.records} == set(topics())
    assert len(topics()) == 18


def test_the_key_is_the_checkout(run: Run) -> None:
    assert [r.key.decode() for r in run.records] == [r.value["checkout_id"] for r in run.records]


@pytest.mark.parametrize("name", HEADERS)
def test_the_header_is_on_every_record_as_text(run: Run, name: str) -> None:
    for record in run.records:
        assert record.header(name), record


def test_every_header_is_utf_8_and_stands_once(run: Run) -> None:
    for record in run.records:
        names = [name for name, _ in record.headers]
        assert len(names) == len(set(names)), record
        assert all(value.decode() for _, value in record.headers)


def test_the_headers_say_what_the_record_says(run: Run) -> None:
    sources = {entry.event: f"/{entry.said_by}" for entry in MAP}
    for record in run.records:
        assert record.header("ce_id") == str(record.value["event_id"])
        assert record.header("ce_type") == record.topic
        assert record.header("ce_source") == sources[record.topic]
        assert datetime.fromisoformat(record.header("ce_time")) == record.value["occurred_at"]


def test_times_are_utc_and_say_so(run: Run) -> None:
    now = datetime.now(UTC)
    for record in run.records:
        assert record.header("ce_time").endswith("Z")
        assert record.value["occurred_at"].utcoffset() == timedelta(0)
        assert now - timedelta(minutes=10) < record.value["occurred_at"] <= now


def test_event_ids_are_version_7_uuids_of_their_time_and_unique(run: Run) -> None:
    assert len(run.by_id) == len(run.records)
    for record in run.records:
        event_id = UUID(record.header("ce_id"))
        assert event_id.version == 7
        made_at = datetime.fromtimestamp((event_id.int >> 80) / 1000, UTC)
        assert abs(made_at - record.value["occurred_at"]) < timedelta(seconds=5)


def cause(run: Run, record: Record) -> Record | None:
    """What made its service say this; None where the chain begins: with the shop, or with a timer."""
    found = run.by_id.get(record.header("causation_id"))
    return None if found is record else found


def begins_with(run: Run, record: Record) -> Record:
    """The record at the beginning of its chain of causes."""
    for _ in range(len(topics()) + 1):
        before = cause(run, record)
        if before is None:
            return record
        record = before
    raise AssertionError(f"the causes of {record} go round in a circle")


def test_every_chain_of_causes_begins_with_the_shop_and_stays_with_its_checkout(run: Run) -> None:
    shops = {entry.event for entry in MAP if entry.said_by == SHOP}
    for record in run.records:
        first = begins_with(run, record)
        assert first.key == record.key
        if record.checkout_id != run.by_timer:
            assert first.topic in shops
            assert first.header("causation_id") == first.header("ce_id")


def test_every_cause_is_heard_by_who_answers_it_and_comes_before_its_effect(run: Run) -> None:
    answers = {(entry.event, said) for entry in MAP for reaction in entry.heard_by for said in reaction.publishes}
    for record in run.records:
        before = cause(run, record)
        if before is not None:
            assert (before.topic, record.topic) in answers
            assert before.value["occurred_at"] <= record.value["occurred_at"]


def test_what_a_timer_causes_names_a_cause_that_nobody_published(run: Run) -> None:
    [failed] = [record for record in run.of(run.by_timer) if record.topic == "checkout.failed"]
    assert failed.header("causation_id") not in run.by_id
    assert UUID(failed.header("causation_id")).version == 7


def test_a_record_belongs_to_the_trace_of_its_cause(run: Run) -> None:
    for record in run.records:
        before = cause(run, record)
        if before is not None:
            assert record.trace_id == before.trace_id


def test_all_that_one_request_leads_to_is_one_trace_and_no_other_requests(run: Run) -> None:
    seen: dict[str, str] = {}
    for record in run.records:
        if record.checkout_id not in (run.by_timer, run.cancelled):
            first = begins_with(run, record)
            assert seen.setdefault(record.trace_id, first.header("ce_id")) == first.header("ce_id")
    assert len(seen) == sum(
        record.topic == "checkout.requested"
        for record in run.records
        if record.checkout_id not in (run.by_timer, run.cancelled)
    )


def test_no_record_has_what_only_the_provider_may_know(run: Run) -> None:
    assert not [record for record in run.records if "tok_" in repr(record)]
