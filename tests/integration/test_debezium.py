"""Debezium publishes all but dead letters in the relay's place: the same records, and services that work as before."""

from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final
from uuid import uuid4

import pytest
from confluent_kafka import Message
from sqlalchemy import create_engine

from compose.debezium import Debezium, running_debezium
from compose.fleet import Fleet
from compose.stack import StackError
from outbox import Record
from schemas.kafka.record import PACKED, Header, record_of
from schemas.trace import TraceContext
from tests.outboxes import Topic, commit, database, key, relays
from tests.servers import TestServers
from tests.system import System, wait_for

pytestmark = pytest.mark.slow

QUICK: Final = {"heartbeat.interval.ms": "200"}
HEADERS: Final = [
    ("ce_type", b"other.thing"),
    ("traceparent", b"00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01"),
    ("twice", b"1"),
    ("twice", b"2"),
    ("none", None),
    ("empty", b""),
    ("no-text", b"\xff\x00\xfe"),
    ("quotes", 'a "quoted" \\ Gr\u00fc\u00dfe \U0001f4b6'.encode()),
]


@contextmanager
def debezium(environ: dict[str, str], folder: Path, url: str, slot: str) -> Iterator[Debezium]:
    """A connector; skipped where its jars can't be had."""
    with ExitStack() as undo:
        try:
            running = undo.enter_context(running_debezium(environ, folder, url, slot, QUICK))
        except StackError as error:
            if "can't download" in str(error):
                pytest.skip("Debezium can't be downloaded here")
            raise
        yield running


def slot_name() -> str:
    return f"test_{uuid4().hex[:10]}"


# the same rows, by Debezium and by the relay


def rows(topic: str) -> list[Record]:
    """What a row can have: every kind of header, key and payload, and one key's long queue."""
    queue = key()
    return [
        Record(topic=topic, key=key(), payload=b"\x00\x00\x00\x00\x01body", type="other.thing", headers=HEADERS),
        Record(topic=topic, key=key(), payload=b"no headers"),
        Record(topic=topic, key=key(), payload=None, headers=[("why", b"a tombstone")]),
        Record(topic=topic, key=key(), payload=b""),
        Record(topic=topic, key=key(), payload=b"x" * 2_000_000),
        Record(topic=topic, key="a lane", raw_key=b"\xff\x00 no text", payload=b"a letter whose key can't be read"),
        Record(topic=topic, key="another lane", raw_key=None, payload=b"a letter without a key"),
        *(Record(topic=topic, key=queue, payload=str(n).encode(), headers=[("n", str(n).encode())]) for n in range(50)),
    ]


def headers_of(message: Message) -> list[Header]:
    """Those of the row, for who knows that a connector publishes."""
    return record_of(message, unpack=True).headers


def seen(message: Message) -> tuple[Any, ...]:
    """What a consumer has of a message. Without a key any partition will do."""
    place = message.partition() if message.key() is not None else None
    return message.topic(), place, message.key(), message.value(), tuple(headers_of(message))


def by_key(messages: list[Message]) -> dict[bytes, list[tuple[Any, ...]]]:
    """Each key's messages in their order."""
    found: dict[bytes, list[tuple[Any, ...]]] = {}
    for message in sorted(messages, key=lambda m: (m.partition() or 0, m.offset() or 0)):
        found.setdefault(bytes(message.key() or b""), []).append(seen(message))
    return found


@dataclass(frozen=True)
class Published:
    """The same rows as Debezium published them, and then the relay. letters: what Debezium made of letters."""

    by_debezium: list[Message]
    by_relay: list[Message]
    letters: list[Message]


@contextmanager
def topic_of(servers: TestServers, suffix: str = "") -> Iterator[Topic]:
    topic = Topic(servers, **{"max.message.bytes": "9000000"})
    topic.name += suffix
    topic.create()
    try:
        yield topic
    finally:
        topic.close()


@pytest.fixture(scope="module")
def published(servers: TestServers, scratch: Path) -> Iterator[Published]:
    environ = {"KAFKA_BOOTSTRAP_SERVERS": servers.kafka}
    with topic_of(servers) as topic, topic_of(servers, ".dlq") as letters, database(servers) as url:
        engine, records = create_engine(url), rows(topic.name)
        with debezium(environ, scratch / "debezium-rows", url, slot_name()):
            # before the others in the database's log, so that they were read when those are there
            commit(engine, Record(topic=letters.name, key=key(), payload=b"a letter", aggregatetype="dead_letter"))
            commit(engine, *records)
            wait_for(lambda: len(topic.all()) >= len(records), "Debezium to publish every row")
        ours, letters_of_debezium = len(topic.all()), list(letters.all())
        with relays(url, servers):
            wait_for(lambda: len(topic.all()) >= ours + len(records), "the relay to publish every row")
            wait_for(letters.all, "the relay to publish the letter")
        engine.dispose()
        yield Published(topic.all()[:ours], topic.all()[ours:], letters_of_debezium)


def test_debezium_publishes_what_the_relay_publishes(published: Published) -> None:
    assert by_key(published.by_debezium) == by_key(published.by_relay)


def test_debezium_leaves_letters_to_the_relay(published: Published) -> None:
    assert published.letters == []


def on_record(message: Message) -> dict[str, Any]:
    """The headers that lie there."""
    pairs: Any = message.headers() or []
    return dict(pairs)


def test_debezium_has_headers_of_its_own(published: Published) -> None:
    by_debezium, by_relay = published.by_debezium, published.by_relay
    assert {tuple(on_record(message)) for message in by_debezium} == {("id", "ce_id", "ce_type", "ce_subject", PACKED)}
    assert not any(PACKED in on_record(message) for message in by_relay)
    (thing,) = [on_record(m) for m in by_debezium if bytes(m.value() or b"").endswith(b"\x01body")]
    assert thing["ce_type"] == b"other.thing"
    assert thing["id"] == thing["ce_id"]


# a service without a relay


@pytest.fixture(scope="module")
def streamed(servers: TestServers, scratch: Path) -> Iterator[System]:
    """Debezium publishes what the checkout service says."""
    slot = slot_name()
    with System(servers, scratch, services=("payment", "warehouse"), UNPACK_OUTBOX_HEADERS="1") as system:
        url = system.env["CHECKOUT_DATABASE_URL"]
        with debezium(system.env, system.folder / "debezium", url, slot):
            fleet = Fleet(system.env | {"OUTBOX_SLOT": slot}, system.folder / "checkout", ("checkout",))
            fleet.start()
            try:
                wait_for(fleet.ready, "checkout to be ready")
                yield system
            finally:
                fleet.stop()


def test_checkouts_end_and_every_outbox_is_empty(streamed: System) -> None:
    captured, declined = streamed.request(), streamed.request(method="declines-insufficient_funds")
    streamed.publish(captured, declined)
    streamed.await_status("checkout", captured.checkout_id, "captured")
    streamed.await_status("checkout", declined.checkout_id, "compensated")
    streamed.await_rest([captured.checkout_id, declined.checkout_id])
    streamed.assert_clean()


def test_a_trace_goes_through_debezium(streamed: System) -> None:
    request = streamed.request()
    streamed.publish(request)
    streamed.await_status("checkout", request.checkout_id, "captured")
    streamed.await_rest([request.checkout_id])
    messages = [m for m in streamed.messages() if m.key() == request.checkout_id.encode()]
    places = [TraceContext.of(headers_of(message)) for message in messages]
    assert len(places) == 8
    assert len({place.trace_id if place else "" for place in places}) == 1
    prefix = streamed.servers.topic_prefix
    packed = {str(m.topic()).removeprefix(prefix) for m in messages if PACKED in on_record(m)}
    assert packed == {"checkout.accepted", "checkout.confirmed", "checkout.completed"}


def test_letters_are_published_by_the_relay_beside_a_connector(streamed: System) -> None:
    streamed.shop.publish_raw("checkout.requested", b"c-broken", b"not Avro", {"a": b"1"})
    streamed.shop.flush()
    (letter,) = streamed.await_letters("checkout", "c-broken", 1)
    assert PACKED not in letter.headers
    assert letter.value == b"not Avro"
    assert letter.headers["a"] == b"1"
    (group,) = streamed.dlq("groups", "--service", "checkout")
    assert (group["count"], group["sample_id"]) == (1, letter.headers["dlq-id"].decode())
    streamed.dlq("discard", group["sample_id"], "--why", "a test", "--yes")
    (once,) = streamed.await_letters("checkout", "c-broken", 1)
    assert once == letter
    wait_for(lambda: not streamed.rows("checkout", "SELECT 1 FROM outbox"), "the letter's row to leave")
