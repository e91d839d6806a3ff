"""Bad input on the real system: it gets a clear answer, its bytes are kept, and the next message is handled."""

import io
import json
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any, Final
from uuid import uuid4

import pytest
from confluent_kafka import KafkaError, Message, Producer
from fastavro import parse_schema, schemaless_writer
from sqlalchemy import text
from uuid_utils.compat import uuid7

from compose.setting_up import CUSTOMERS
from outbox.relay import producer_config
from schemas import events as ev
from schemas.choreography import SERVICES, dead_letter_topic, topics
from schemas.codec import avsc
from schemas.envelope import Envelope, Header
from schemas.failures import Code
from services.checkout.rules import MAX_LINES, MAX_QUANTITY, MAX_TOTAL_MINOR
from tests.servers import TestServers
from tests.system import System, wait_for

CARD: Final = "4242424242424242"
INT64: Final = 2**63 - 1
LONG: Final = 2 * 1024 * 1024
SOON: Final = datetime.now(UTC) + timedelta(hours=1)
NOBODYS: Final = "no checkout of this id was ever requested"
LETTER_HEADERS: Final = {
    "dlq-id",
    "dlq-service",
    "dlq-consumer-group",
    "dlq-disposition",
    "dlq-error-class",
    "dlq-error-message",
    "dlq-failed-at",
    "dlq-original-topic",
    "dlq-original-partition",
    "dlq-original-offset",
    "dlq-original-timestamp",
    "x-original-topic",
    "kafka_dlt-original-topic",
}


@pytest.fixture(scope="module")
def lane(servers: TestServers, scratch: Path) -> Iterator[System]:
    """A system with one partition a topic: good and bad messages stand in one row."""
    with System(servers, scratch, partitions=1) as running:
        yield running


# --- what is published ---------------------------------------------------------------------------------------------


@dataclass(frozen=True)
class Raw:
    """A message as bytes, and the headers it is published with."""

    key: bytes | None
    value: bytes | None
    headers: list[Header] = field(default_factory=list)


@dataclass(frozen=True)
class Bad:
    """A message that nobody can handle: on which topic, its bytes, and what the dead letter says of it."""

    make: Callable[[System], Raw]
    says: str
    topic: str = "checkout.requested"
    listeners: tuple[str, ...] = ("checkout",)
    disposition: str = "undecodable"


def new_id() -> str:
    return f"bad-{uuid4().hex[:12]}"


def encoded(system: System, event: ev.Event) -> bytes:
    return system.codec.encode(Envelope(event, uuid7(), datetime.now(UTC)))


def whole(event: Callable[[System], ev.Event]) -> Callable[[System], Raw]:
    """The event, well encoded under its own key."""

    def make(system: System) -> Raw:
        made = event(system)
        return Raw(made.checkout_id.encode(), encoded(system, made))

    return make


def value(change: Callable[[bytes], bytes | None], **fields: Any) -> Callable[[System], Raw]:
    """A sound request whose encoded value was changed."""

    def make(system: System) -> Raw:
        request = system.request(new_id(), **fields)
        return Raw(request.checkout_id.encode(), change(encoded(system, request)))

    return make


def key(raw: bytes | None) -> Callable[[System], Raw]:
    """A sound request under another key."""
    return lambda system: Raw(raw, encoded(system, system.request("k-1")))


def field_by_hand(name: str, avro_type: str, content: Any) -> Callable[[System], Raw]:
    """A request with one field written as `avro_type`, which the logical type of the schema would not let pass."""
    schema = json.loads(avsc("checkout.requested"))
    schema["fields"] = [{"name": f["name"], "type": avro_type} if f["name"] == name else f for f in schema["fields"]]

    def make(system: System) -> Raw:
        request = system.request(new_id())
        record = ev.to_record(request) | {"event_id": uuid7(), "occurred_at": datetime.now(UTC), name: content}
        body = io.BytesIO()
        schemaless_writer(body, parse_schema(schema), record)
        return Raw(request.checkout_id.encode(), encoded(system, request)[:5] + body.getvalue())

    return make


def with_headers(*headers: Header) -> Callable[[System], Raw]:
    return lambda _: Raw(b"k-1", b"not avro", list(headers))


def a_voided(_: System) -> ev.Event:
    return ev.PaymentVoided(checkout_id=new_id(), outcome="nothing", amount_minor=0)


def a_confirmation(_: System) -> ev.Event:
    return ev.CheckoutConfirmed(checkout_id=new_id(), order_id=uuid4())


def a_commitment(_: System) -> ev.Event:
    return ev.WarehouseConfirmed(checkout_id=new_id())


def an_acceptance(system: System) -> ev.Event:
    request = system.request(new_id())
    values = {name: getattr(request, name) for name in ev.to_record(request)}
    return ev.CheckoutAccepted(**values | {"expires_at": SOON})


def a_wish(reason: str) -> Callable[[System], ev.Event]:
    return lambda _: ev.CheckoutCancelRequested(checkout_id=new_id(), reason=reason)


NOT_THE_WIRE_FORMAT: Final = "first byte 0x6e: not the Confluent wire format (0x00, schema id)"
IDS_RULE: Final = "checkout_id must be 1 to 64 letters, digits or . _ : -"
TOO_LONG: Final = "at most 1,048,576 are read"
WISHES: Final = "checkout.cancel_requested"

UNREADABLE: Final = {
    "bytes that are no Avro": Bad(value(lambda _: b"not avro"), NOT_THE_WIRE_FORMAT),
    "JSON": Bad(value(lambda _: b'{"checkout_id": "c-1"}'), "first byte 0x7b"),
    "an empty value": Bad(value(lambda _: b""), "0 bytes: shorter than the Confluent prefix"),
    "four bytes": Bad(value(lambda whole: whole[:4]), "4 bytes: shorter than the Confluent prefix"),
    "a tombstone": Bad(value(lambda _: None), "no value (a tombstone): events are never deleted by key"),
    "an unknown schema id": Bad(
        value(lambda whole: b"\0" + (999_999).to_bytes(4, "big") + whole[5:]),
        "schema id 999999 is unknown to the registry",
    ),
    "the largest schema id": Bad(value(lambda whole: b"\0\xff\xff\xff\xff" + whole[5:]), "schema id 4294967295"),
    "nothing after the schema id": Bad(value(lambda whole: whole[:5]), "not a checkout.requested: EOFError"),
    "half of a message": Bad(value(lambda whole: whole[: len(whole) // 2]), "not a checkout.requested: EOFError"),
    "one byte too few": Bad(value(lambda whole: whole[:-1]), "not a checkout.requested: EOFError"),
    "a text that says it is longer than the message": Bad(
        value(lambda whole: whole[:5] + b"\xfe\xff\xff\xff\x0f" + whole[6:]), "not a checkout.requested: EOFError"
    ),
    "a text that is no UTF-8": Bad(
        value(lambda whole: whole.replace(b"sku-mark", b"sku-\xff\xfe\xfd\xfc"), sku="sku-mark"),
        "not a checkout.requested: UnicodeDecodeError",
    ),
    "an event_id that is no UUID": Bad(
        field_by_hand("event_id", "string", "one"), "not a checkout.requested: ValueError: badly formed"
    ),
    "an event_id that is empty": Bad(field_by_hand("event_id", "string", ""), "not a checkout.requested: ValueError"),
    "a time beyond the year 9999": Bad(
        field_by_hand("occurred_at", "long", INT64), "not a checkout.requested: OverflowError"
    ),
    "payment.voided as checkout.requested": Bad(whole(a_voided), "is payment.voided, not checkout.requested"),
    "checkout.accepted as checkout.requested": Bad(
        whole(an_acceptance), "is checkout.accepted, not checkout.requested"
    ),
    "checkout.confirmed as warehouse.confirmed": Bad(
        whole(a_confirmation),
        "is checkout.confirmed, not warehouse.confirmed",
        "warehouse.confirmed",
        ("payment", "checkout"),
    ),
    "warehouse.confirmed as checkout.confirmed": Bad(
        whole(a_commitment), "is warehouse.confirmed, not checkout.confirmed", "checkout.confirmed", ("warehouse",)
    ),
    "payment.voided as payment.captured": Bad(
        whole(a_voided), "is payment.voided, not payment.captured", "payment.captured"
    ),
    "bytes that are no Avro for two listeners": Bad(
        value(lambda _: b"not avro"), NOT_THE_WIRE_FORMAT, "checkout.accepted", ("payment", "warehouse")
    ),
    "no key": Bad(key(None), "no key; it must be the checkout_id, k-1"),
    "an empty key": Bad(key(b""), "differs from the checkout_id k-1"),
    "another checkout's key": Bad(key(b"k-2"), "key k-2 differs from the checkout_id k-1"),
    "a key that is no UTF-8": Bad(key(b"\xff\xfek"), r"key \xff\xfek differs from the checkout_id k-1"),
    "a key with NUL": Bad(key(b"k-1\0"), "differs from the checkout_id k-1"),
    "a key of 100,000 bytes": Bad(key(b"k" * 100_000), "differs from the checkout_id k-1"),
    "a checkout_id with a blank": Bad(whole(lambda system: system.request("c 1")), IDS_RULE),
    "a checkout_id with NUL": Bad(whole(lambda system: system.request("c\0")), IDS_RULE),
    "a checkout_id of 65 letters": Bad(whole(lambda system: system.request("x" * 65)), IDS_RULE),
    "an empty checkout_id": Bad(
        whole(lambda _: ev.CheckoutCancelRequested(checkout_id="", reason="")), IDS_RULE, WISHES
    ),
    "2 MB of no Avro": Bad(value(lambda _: b"not avro" * (LONG // 8)), TOO_LONG),
    "a sku of 2 MB": Bad(whole(lambda system: system.request(new_id(), sku="x" * LONG)), TOO_LONG),
    "a reason of 2 MB": Bad(whole(a_wish("x" * LONG)), TOO_LONG, WISHES),
    "a reason with NUL": Bad(whole(a_wish("I\0changed")), "NUL", WISHES, disposition="fatal"),
    "binary headers": Bad(with_headers(("trace", b"\xff\0\xfe"), ("ce_id", b"\0")), NOT_THE_WIRE_FORMAT),
    "headers without a value": Bad(with_headers(("trace", None), ("empty", b"")), NOT_THE_WIRE_FORMAT),
    "doubled headers": Bad(with_headers(("n", b"1"), ("other", b"-"), ("n", b"2")), NOT_THE_WIRE_FORMAT),
    "a header of 200 KB": Bad(with_headers(("baggage", b"x" * 200_000)), NOT_THE_WIRE_FORMAT),
}


# --- publishing and finding ----------------------------------------------------------------------------------------


Place = tuple[str, str, str]
"""topic, partition, offset, as a dead letter tells them."""


class Sender:
    """Publishes any bytes and remembers where they lie."""

    def __init__(self, system: System) -> None:
        self._prefix = system.servers.topic_prefix
        self._producer = Producer(producer_config(system.servers.kafka_bootstrap_servers))
        self._places: dict[int, Place] = {}

    def send(self, topic: str, raw: Raw, number: int = 0) -> None:
        """Publish; `place(number)` then tells where."""

        def delivered(error: KafkaError | None, message: Message) -> None:
            assert error is None, error.str()
            self._places[number] = (str(message.topic()), str(message.partition()), str(message.offset()))

        self._producer.produce(
            self._prefix + topic, raw.value, raw.key, headers=list(raw.headers), on_delivery=delivered
        )

    def place(self, number: int = 0) -> Place:
        """Where a message lies, once the broker has it."""
        assert self._producer.flush(30) == 0
        return self._places[number]


def pairs(message: Message) -> list[Header]:
    """A message's headers, in their order."""
    found = message.headers() or []
    assert isinstance(found, list)
    return [(name, content if isinstance(content, bytes | None) else content.encode()) for name, content in found]


def original_place(letter: Message) -> Place:
    told = {name: (content or b"").decode("utf-8", "replace") for name, content in pairs(letter)}
    return told["dlq-original-topic"], told["dlq-original-partition"], told["dlq-original-offset"]


def letters(system: System) -> dict[Place, dict[str, list[Message]]]:
    """Every dead letter, by what it is about and by service."""
    found: dict[Place, dict[str, list[Message]]] = {}
    for letter in system.messages(*map(dead_letter_topic, SERVICES)):
        service = str(letter.topic()).removeprefix(system.servers.topic_prefix).removesuffix(".dlq")
        found.setdefault(original_place(letter), {}).setdefault(service, []).append(letter)
    return found


def await_letters(system: System, place: Place, listeners: tuple[str, ...]) -> dict[str, Message]:
    """Wait until each of these services, and no other, has set the message at `place` aside, once; its letters."""
    by_service: dict[str, list[Message]] = wait_for(
        lambda: (found := letters(system).get(place, {})).keys() >= set(listeners) and found,
        f"{listeners} to set {place} aside",
        20,
    )
    assert {service: len(found) for service, found in by_service.items()} == dict.fromkeys(listeners, 1)
    return {service: found[0] for service, found in by_service.items()}


def assert_tells_all(system: System, service: str, letter: Message, raw: Raw, bad: Bad) -> None:
    """A letter is its original, byte for byte, and says why, where and when."""
    assert (letter.key(), letter.value()) == (raw.key, raw.value)
    headers = pairs(letter)
    assert headers[: len(raw.headers)] == raw.headers
    ours = headers[len(raw.headers) :]
    assert sorted(name for name, _ in ours) == sorted(LETTER_HEADERS)
    told = {name: (content or b"").decode() for name, content in ours}
    assert bad.says in told["dlq-error-message"]
    assert told["dlq-disposition"] == bad.disposition
    assert told["dlq-service"] == service
    assert told["dlq-consumer-group"] == system.servers.topic_prefix + service
    assert told["dlq-original-topic"] == told["x-original-topic"] == told["kafka_dlt-original-topic"]
    assert all(told[name] for name in LETTER_HEADERS)


@pytest.mark.parametrize("bad", UNREADABLE.values(), ids=UNREADABLE)
def test_what_nobody_can_handle_is_one_letter_for_each_listener_and_its_neighbours_go_on(
    lane: System, bad: Bad
) -> None:
    before, after = lane.request(), lane.request()
    raw, sender = bad.make(lane), Sender(lane)
    sender.send("checkout.requested", whole(lambda _: before)(lane), 1)
    sender.send(bad.topic, raw, 2)
    sender.send("checkout.requested", whole(lambda _: after)(lane), 3)
    for service, letter in await_letters(lane, sender.place(2), bad.listeners).items():
        assert_tells_all(lane, service, letter, raw, bad)
    lane.await_status("checkout", before.checkout_id, "captured")
    lane.await_status("checkout", after.checkout_id, "captured")
