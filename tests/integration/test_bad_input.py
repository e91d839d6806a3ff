"""Bad input on the real system: it gets a clear answer, its bytes are kept, and the next message is handled."""

import io
import json
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from hashlib import sha256
from pathlib import Path
from typing import Any, Final
from uuid import uuid4

import pytest
from confluent_kafka import KafkaError, Message, Producer
from fastavro import parse_schema, schemaless_writer
from uuid_utils.compat import uuid7

from compose.setting_up import CUSTOMERS
from dlq.kept import HEAD_BYTES, LONGEST_VALUE
from outbox.relay import producer_config
from schemas import events as ev
from schemas.choreography import SERVICES, dead_letter_topic, subscriptions, topics
from schemas.codec import avsc
from schemas.envelope import Envelope, Header
from schemas.failures import Code
from schemas.limits import MAX_LINES, MAX_QUANTITY, MAX_TOTAL_MINOR
from tests.servers import TestServers
from tests.system import System, wait_for

CARD: Final = "4242424242424242"
INT64: Final = 2**63 - 1
LONG: Final = 2 * 1024 * 1024
SOON: Final = datetime.now(UTC) + timedelta(hours=1)
NOBODYS: Final = "no checkout of this id was ever requested"
LETTER_HEADERS: Final = {
    "dlq-id",
    "dlq-event-id",
    "dlq-service",
    "dlq-consumer-group",
    "dlq-handler",
    "dlq-handler-version",
    "dlq-disposition",
    "dlq-error-class",
    "dlq-error-message",
    "dlq-error-stack",
    "dlq-fingerprint",
    "dlq-attempts",
    "dlq-value-bytes",
    "dlq-value-sha256",
    "dlq-timeouts",
    "dlq-first-failed-at",
    "dlq-failed-at",
    "dlq-compensation",
    "dlq-replay-count",
    "dlq-original-topic",
    "dlq-original-partition",
    "dlq-original-offset",
    "dlq-original-timestamp",
    "x-original-topic",
    "kafka_dlt-original-topic",
}
OFTEN_EMPTY: Final = {
    *("dlq-operation", "dlq-schema-id", "dlq-replay-id", "dlq-edit-of", "dlq-edit-root", "dlq-value-cut"),
}
"""There on every letter too: a filter must never meet a missing header."""


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


def an_acceptance(_: System) -> ev.Event:
    return accepted(new_id())


def a_wish(reason: str) -> Callable[[System], ev.Event]:
    return lambda _: ev.CheckoutCancelRequested(checkout_id=new_id(), reason=reason)


NOT_THE_WIRE_FORMAT: Final = "first byte 0x6e: not the Confluent wire format (0x00, schema id)"
IDS_RULE: Final = "checkout_id must be 1 to 64 letters, digits or . _ : -"
TOO_LONG: Final = "at most 1,048,576 are read"
WISHES: Final = "checkout.cancel_requested"

CUT_SHORT: Final = "not a checkout.requested: it ends in the middle of the record"

UNREADABLE: Final = {
    "bytes that are no Avro": Bad(value(lambda _: b"not avro"), NOT_THE_WIRE_FORMAT),
    "JSON": Bad(value(lambda _: b'{"checkout_id": "c-1"}'), "first byte 0x7b"),
    "an empty value": Bad(value(lambda _: b""), "0 bytes: shorter than the Confluent prefix"),
    "four bytes": Bad(value(lambda whole: whole[:4]), "4 bytes: shorter than the Confluent prefix"),
    "a tombstone": Bad(value(lambda _: None), "no value (a tombstone): events are never deleted by key"),
    "an unknown schema id": Bad(
        value(lambda whole: b"\0" + (999_999).to_bytes(4, "big") + whole[5:]),
        "schema id 999999: unknown to the registry",
    ),
    "the largest schema id": Bad(value(lambda whole: b"\0\xff\xff\xff\xff" + whole[5:]), "schema id 4294967295"),
    "nothing after the schema id": Bad(value(lambda whole: whole[:5]), CUT_SHORT + ", after 5 bytes"),
    "half of a message": Bad(value(lambda whole: whole[: len(whole) // 2]), CUT_SHORT),
    "one byte too few": Bad(value(lambda whole: whole[:-1]), CUT_SHORT),
    "a text that says it is longer than the message": Bad(
        value(lambda whole: whole[:5] + b"\xfe\xff\xff\xff\x0f" + whole[6:]), CUT_SHORT
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
    """A letter is its original, byte for byte, and says why, where and when; of what is too long it is the head."""
    value = raw.value if len(raw.value or b"") <= LONGEST_VALUE else (raw.value or b"")[:HEAD_BYTES]
    assert (letter.key(), letter.value()) == (raw.key, value)
    headers = pairs(letter)
    assert headers[: len(raw.headers)] == raw.headers
    ours = headers[len(raw.headers) :]
    assert sorted(name for name, _ in ours) == sorted(LETTER_HEADERS | OFTEN_EMPTY)
    told = {name: (content or b"").decode() for name, content in ours}
    assert bad.says in told["dlq-error-message"]
    assert told["dlq-disposition"] == bad.disposition
    assert told["dlq-service"] == service
    assert told["dlq-consumer-group"] == system.servers.topic_prefix + service
    assert told["dlq-original-topic"] == told["x-original-topic"] == told["kafka_dlt-original-topic"]
    assert all(told[name] for name in LETTER_HEADERS)
    assert told["dlq-value-sha256"] == sha256(raw.value or b"").hexdigest()
    assert int(told["dlq-value-bytes"]) == len(raw.value or b"")
    assert bool(told["dlq-value-cut"]) == (value != raw.value)


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


def test_many_bad_messages_in_one_batch_take_nobody_with_them(lane: System) -> None:
    """Bad ones of every kind between good ones, published in one go."""
    sender, goods = Sender(lane), [lane.request() for _ in UNREADABLE]
    for number, (good, bad) in enumerate(zip(goods, UNREADABLE.values(), strict=True)):
        sender.send(bad.topic, bad.make(lane), number)
        sender.send("checkout.requested", whole(lambda _, good=good: good)(lane), -1)  # type: ignore[misc]
    wanted = {sender.place(number): set(bad.listeners) for number, bad in enumerate(UNREADABLE.values())}

    def all_told() -> dict[Place, dict[str, int]] | None:
        found = letters(lane)
        numbers = {place: {service: len(some) for service, some in found.get(place, {}).items()} for place in wanted}
        return numbers if all(numbers[place].keys() >= wanted[place] for place in wanted) else None

    told = wait_for(all_told, "every letter")
    assert told == {place: dict.fromkeys(services, 1) for place, services in wanted.items()}
    lane.await_rest(good.checkout_id for good in goods)
    assert {lane.status("checkout", good.checkout_id) for good in goods} == {"captured"}


# --- what breaks a rule --------------------------------------------------------------------------------------------


def line(quantity: int = 2, price: int = 1250, sku: str = "sku-1") -> ev.Line:
    return ev.Line(sku=sku, quantity=quantity, unit_price_minor=price)


RULE_BREAKERS: Final[dict[str, tuple[dict[str, Any], Code]]] = {
    "an unknown currency": ({"currency": "XXX"}, Code.UNKNOWN_CURRENCY),
    "a currency in lower case": ({"currency": "eur"}, Code.UNKNOWN_CURRENCY),
    "no currency": ({"currency": ""}, Code.UNKNOWN_CURRENCY),
    "a currency with NUL": ({"currency": "EU\0"}, Code.UNKNOWN_CURRENCY),
    "no lines": ({"lines": ()}, Code.NO_LINES),
    "one line too many": ({"lines": (line(1, 10),) * (MAX_LINES + 1)}, Code.TOO_MANY_LINES),
    "10,000 lines": ({"lines": (line(1, 1),) * 10_000, "total_minor": 10_000}, Code.TOO_MANY_LINES),
    "a quantity of zero": ({"lines": (line(), line(0))}, Code.INVALID_LINE),
    "a negative quantity": ({"lines": (line(3), line(-1))}, Code.INVALID_LINE),
    "the least quantity of 32 bits": ({"lines": (line(-(2**31)),)}, Code.INVALID_LINE),
    "one unit too many": ({"lines": (line(MAX_QUANTITY + 1, 1),)}, Code.INVALID_LINE),
    "a negative price": ({"lines": (line(), line(1, -1), line(1, 1))}, Code.INVALID_LINE),
    "an empty sku": ({"lines": (line(sku=""),)}, Code.INVALID_LINE),
    "a sku with NUL": ({"lines": (line(sku="sku\0"),)}, Code.INVALID_LINE),
    "a total of nothing": ({"lines": (line(1, 0),), "total_minor": 0}, Code.TOTAL_OUT_OF_RANGE),
    "a negative total": ({"total_minor": -2500}, Code.TOTAL_OUT_OF_RANGE),
    "one more than the largest total": (
        {"lines": (line(1, MAX_TOTAL_MINOR + 1),), "total_minor": MAX_TOTAL_MINOR + 1},
        Code.TOTAL_OUT_OF_RANGE,
    ),
    "the largest total of 64 bits": ({"total_minor": INT64}, Code.TOTAL_OUT_OF_RANGE),
    "the least total of 64 bits": ({"total_minor": -INT64 - 1}, Code.TOTAL_OUT_OF_RANGE),
    "a sum beyond 64 bits": ({"lines": (line(MAX_QUANTITY, INT64),)}, Code.TOTAL_OUT_OF_RANGE),
    "a sum that comes round to the total in 64 bits": (
        {"lines": (line(4, 2**62), line())},
        Code.TOTAL_OUT_OF_RANGE,
    ),
    "a total one too low": ({"total_minor": 2499}, Code.TOTAL_MISMATCH),
    "no customer": ({"customer_id": ""}, Code.INVALID_FIELD),
    "a customer with NUL": ({"customer_id": "customer-1\0"}, Code.INVALID_FIELD),
    "a customer of 500,000 letters": ({"customer_id": "x" * 500_000}, Code.INVALID_FIELD),
    "a payment method with NUL": ({"payment_method_id": "customer-1:ok\0"}, Code.INVALID_FIELD),
    "a card number as payment method": ({"payment_method_id": CARD}, Code.INVALID_FIELD),
    "a card number as customer": ({"customer_id": CARD}, Code.INVALID_FIELD),
    "a deadline that has passed": ({"expires_at": datetime(2020, 1, 1, tzinfo=UTC)}, Code.EXPIRED),
    "the first deadline of all": ({"expires_at": datetime(1, 1, 1, tzinfo=UTC)}, Code.EXPIRED),
}


@pytest.fixture(scope="module")
def answers(lane: System) -> dict[str, list[tuple[str, ev.Event]]]:
    """What was said of each rule breaker; good requests stood between them, and all came in one go."""
    wrong = {name: lane.request(**fields) for name, (fields, _) in RULE_BREAKERS.items()}
    good = [lane.request() for _ in wrong]
    lane.publish(*(request for both in zip(wrong.values(), good, strict=True) for request in both))
    lane.await_rest(request.checkout_id for request in (*wrong.values(), *good))
    assert {lane.status("checkout", request.checkout_id) for request in good} == {"captured"}
    return {name: lane.events(request.checkout_id) for name, request in wrong.items()}


@pytest.mark.parametrize(("name", "code"), [(name, code) for name, (_, code) in RULE_BREAKERS.items()])
def test_what_breaks_a_rule_fails_with_a_code_and_a_sentence(
    lane: System, answers: dict[str, list[tuple[str, ev.Event]]], name: str, code: Code
) -> None:
    [(_, _), (_, failed)] = answers[name]
    assert isinstance(failed, ev.CheckoutFailed)
    assert (failed.code, failed.accepted) == (code, False)
    assert failed.message[0].isupper()
    assert failed.message.endswith(".")
    assert lane.status("checkout", failed.checkout_id) == "failed"
    assert lane.ledger(failed.checkout_id) == []


@pytest.mark.parametrize(
    "fields",
    [
        {"lines": (line(1, 1),), "total_minor": 1},
        {"lines": (line(1, MAX_TOTAL_MINOR),), "total_minor": MAX_TOTAL_MINOR},
        {"lines": (line(1, 0), line()), "total_minor": 2500},
        {"lines": (line(1, 10),) * MAX_LINES, "total_minor": 10 * MAX_LINES},
        {"lines": (line(MAX_QUANTITY, 1),), "total_minor": MAX_QUANTITY},
        {"expires_at": datetime(9999, 12, 31, 23, 59, 59, 999999, tzinfo=UTC)},
    ],
    ids=["the least total", "the largest total", "a present", "the most lines", "the most units", "the last deadline"],
)
def test_what_is_just_within_the_rules_is_captured(lane: System, fields: dict[str, Any]) -> None:
    request = lane.request(**fields)
    lane.publish(request)
    lane.await_status("checkout", request.checkout_id, "captured")


def kept_in_tables(system: System, secret: str) -> list[str]:
    """The tables that have `secret` in a row, as text or as bytes."""
    named = "SELECT table_name FROM information_schema.tables WHERE table_schema = 'public'"
    holds = "SELECT 1 FROM {} AS t WHERE strpos(t::text, :text) + strpos(t::text, :hex) > 0 LIMIT 1"
    return [
        f"{service}.{table}"
        for service in SERVICES
        for (table,) in system.rows(service, named)
        if system.rows(service, holds.format(table), text=secret, hex=secret.encode().hex())
    ]


def test_a_card_number_is_in_no_table_no_event_of_ours_and_no_file(lane: System) -> None:
    lane.await_rest()
    assert lane.rows("checkout", "SELECT 1 FROM checkouts WHERE code = 'INVALID_FIELD'")
    assert kept_in_tables(lane, CARD) == []
    said = [
        m for m in lane.messages(*topics(), *map(dead_letter_topic, SERVICES)) if CARD.encode() in (m.value() or b"")
    ]
    assert {str(m.topic()).removeprefix(lane.servers.topic_prefix) for m in said} == {"checkout.requested"}
    files = [path for path in lane.folder.rglob("*") if path.is_file()]
    assert len(files) >= len(SERVICES)
    assert [path.name for path in files if CARD.encode() in path.read_bytes()] == []


def test_after_all_bad_input_the_books_are_clean_and_every_letter_was_told_once(lane: System) -> None:
    lane.await_rest()
    lane.assert_clean()
    found = letters(lane)
    assert len(found) >= len(UNREADABLE)
    assert {len(copies) for by_service in found.values() for copies in by_service.values()} == {1}


# --- what nobody asked for: last, because it stays in the books ----------------------------------------------------


@dataclass(frozen=True)
class Forged:
    """An event of a checkout that nobody requested.

    listeners: who sets it aside. leads_to: what the services say of it. money: what the provider did.
    """

    make: Callable[[str], ev.Event]
    listeners: tuple[str, ...] = ()
    says: str = NOBODYS
    leads_to: tuple[str, ...] = ()
    money: tuple[str, ...] = ()


def failed(checkout_id: str, *, accepted: bool) -> ev.CheckoutFailed:
    values: dict[str, Any] = {"customer_id": CUSTOMERS[0], "code": "CANCELLED", "message": "Sorry.", "detail": ""}
    return ev.CheckoutFailed(checkout_id=checkout_id, accepted=accepted, **values)


def accepted(checkout_id: str) -> ev.CheckoutAccepted:
    values: dict[str, Any] = {"customer_id": CUSTOMERS[0], "payment_method_id": f"{CUSTOMERS[0]}:ok"}
    values |= {"currency": "EUR", "total_minor": 2500, "lines": (line(),), "expires_at": SOON}
    return ev.CheckoutAccepted(checkout_id=checkout_id, **values)


FORGED: Final = {
    "payment.authorized": Forged(
        lambda c: ev.PaymentAuthorized(
            checkout_id=c, payment_id="p", amount_minor=1, currency="EUR", capture_before=SOON
        ),
        ("checkout",),
    ),
    "payment.captured": Forged(
        lambda c: ev.PaymentCaptured(checkout_id=c, payment_id="p", amount_minor=1, currency="EUR"), ("checkout",)
    ),
    "payment.declined": Forged(lambda c: ev.PaymentDeclined(checkout_id=c, code="CARD_EXPIRED"), ("checkout",)),
    "payment.capture_failed": Forged(
        lambda c: ev.PaymentCaptureFailed(checkout_id=c, code="CAPTURE_REFUSED"), ("checkout",)
    ),
    "payment.delayed": Forged(
        lambda c: ev.PaymentDelayed(checkout_id=c, operation="capture", code="X", message="", attempts=1), ("checkout",)
    ),
    "payment.voided": Forged(
        lambda c: ev.PaymentVoided(checkout_id=c, outcome="nothing", amount_minor=0), ("checkout",)
    ),
    "payment.refunded": Forged(
        lambda c: ev.PaymentRefunded(checkout_id=c, payment_id="p", amount_minor=1, currency="EUR"), ("checkout",)
    ),
    "warehouse.reserved": Forged(lambda c: ev.WarehouseReserved(checkout_id=c, expires_at=SOON)),
    "warehouse.rejected": Forged(lambda c: ev.WarehouseRejected(checkout_id=c, code="OUT_OF_STOCK"), ("checkout",)),
    "warehouse.confirmed": Forged(lambda c: ev.WarehouseConfirmed(checkout_id=c), ("checkout", "payment"), ""),
    "warehouse.confirm_failed": Forged(
        lambda c: ev.WarehouseConfirmFailed(checkout_id=c, code="STOCK_ON_HOLD"), ("checkout",)
    ),
    "warehouse.released": Forged(lambda c: ev.WarehouseReleased(checkout_id=c, outcome="lapsed"), ("checkout",)),
    "checkout.confirmed": Forged(
        lambda c: ev.CheckoutConfirmed(checkout_id=c, order_id=uuid4()),
        ("warehouse",),
        "no reservation was ever made for this checkout",
    ),
    "checkout.completed": Forged(
        lambda c: ev.CheckoutCompleted(
            checkout_id=c, order_id=uuid4(), customer_id=CUSTOMERS[0], currency="EUR", total_minor=1
        )
    ),
    "checkout.failed, never accepted": Forged(lambda c: failed(c, accepted=False)),
    "checkout.failed": Forged(lambda c: failed(c, accepted=True), leads_to=("warehouse.released", "payment.voided")),
    "checkout.accepted": Forged(accepted, leads_to=("warehouse.reserved", "payment.authorized"), money=("authorized",)),
}


@dataclass(frozen=True)
class Published:
    """A forged event, its bytes and where they lie."""

    event: ev.Event
    raw: Raw
    place: Place


@pytest.fixture(scope="module")
def forgeries(lane: System) -> dict[str, Published]:
    """All forged events, published in one go, and a good request after them that was captured."""
    sender, after = Sender(lane), lane.request()
    events = {name: forged.make(f"forged-{uuid4().hex[:12]}") for name, forged in FORGED.items()}
    raws = {name: whole(lambda _, event=event: event)(lane) for name, event in events.items()}  # type: ignore[misc]
    for number, name in enumerate(FORGED):
        sender.send(events[name].TYPE, raws[name], number)
    published = {name: Published(events[name], raws[name], sender.place(n)) for n, name in enumerate(FORGED)}
    lane.publish(after)
    lane.await_status("checkout", after.checkout_id, "captured")
    for name, forged in ((name, forged) for name, forged in FORGED.items() if forged.listeners):
        # it could have come too early, so it is given up after some tries
        await_letters(lane, published[name].place, forged.listeners)
    lane.await_letters("checkout", published["checkout.accepted"].event.checkout_id, 1)
    lane.await_letters("checkout", published["checkout.failed"].event.checkout_id, 2)
    lane.await_rest()
    return published


def was_set_aside_by_all(name: str, forgeries: dict[str, Published]) -> bool:
    """Whether everybody who hears this event has it as a dead letter, so that it moved nothing."""
    kind = forgeries[name].event.TYPE
    hearing = {service for service in SERVICES if kind in subscriptions(service)}
    return bool(hearing) and hearing == set(FORGED[name].listeners)


@pytest.mark.parametrize(("name", "forged"), FORGED.items(), ids=FORGED)
def test_an_event_of_a_checkout_that_nobody_requested_takes_no_money(
    lane: System, forgeries: dict[str, Published], name: str, forged: Forged
) -> None:
    published = forgeries[name]
    checkout_id = published.event.checkout_id
    aside = letters(lane).get(published.place, {})
    assert {service: len(copies) for service, copies in aside.items()} == dict.fromkeys(forged.listeners, 1)
    bad = Bad(lambda _: published.raw, forged.says, published.event.TYPE, forged.listeners, "retries_exhausted")
    for service, [letter] in aside.items():
        assert_tells_all(lane, service, letter, published.raw, bad)
    said = sorted(kind for kind, _ in lane.events(checkout_id))
    assert said == sorted([published.event.TYPE, *forged.leads_to])
    assert lane.status("checkout", checkout_id) is None
    assert lane.ledger(checkout_id) == list(forged.money)


def test_the_audit_names_the_forged_events_that_not_everybody_set_aside(
    lane: System, forgeries: dict[str, Published]
) -> None:
    """5: no service committed it; 3: the hold of a forged acceptance, which no checkout will ever end."""
    named = {(breach.invariant, breach.offender) for breach in lane.audit().breaches}
    expected = {(5, forgeries[name].event.checkout_id) for name in FORGED if not was_set_aside_by_all(name, forgeries)}
    assert 0 < len(expected) < len(FORGED)
    assert named == expected | {(3, forgeries["checkout.accepted"].event.checkout_id)}


# --- what would outgrow or overturn those who read it ---------------------------------------------------------------


@pytest.fixture(scope="module")
def own(servers: TestServers, scratch: Path) -> Iterator[System]:
    """One partition, so that whatever a bad message holds up is seen."""
    with System(servers, scratch, partitions=1) as running:
        yield running


def test_a_reason_of_nearly_1_mib_still_lets_go_of_money_and_stock(own: System) -> None:
    request = own.request(method="slow")
    own.publish(request)
    own.await_status("payment", request.checkout_id, "authorizing")
    reason = "4242 4242 4242 4242 " + "x" * (2**20 - 100)
    own.publish(ev.CheckoutCancelRequested(checkout_id=request.checkout_id, reason=reason))
    own.await_status("checkout", request.checkout_id, "compensated")
    [detail] = [e.detail for _, e in own.events(request.checkout_id) if isinstance(e, ev.CheckoutFailed)]
    assert detail.startswith("[card number removed, ends 4242]")
    assert len(detail) < 250


@pytest.mark.parametrize("timestamp", [-(10**15), 2**62])
def test_a_timestamp_that_is_no_date_overturns_nobody(own: System, timestamp: int) -> None:
    odd, good = own.request(), own.request()
    raw = whole(lambda _: odd)(own)
    producer = Producer(producer_config(own.servers.kafka_bootstrap_servers))
    producer.produce(own.servers.topic_prefix + "checkout.requested", raw.value, raw.key, timestamp=timestamp)
    assert producer.flush(30) == 0
    own.publish(good)
    own.await_status("checkout", good.checkout_id, "captured")


def test_a_huge_baggage_is_not_handed_on(own: System) -> None:
    sender, request = Sender(own), own.request()
    raw = whole(lambda _: request)(own)
    parent = b"00-" + b"a" * 32 + b"-" + b"b" * 16 + b"-01"
    sender.send("checkout.requested", Raw(raw.key, raw.value, [("traceparent", parent), ("baggage", b"x" * 4_000_000)]))
    sender.place()
    own.await_status("checkout", request.checkout_id, "captured")


def test_after_those_the_books_are_clean(own: System) -> None:
    own.await_rest()
    own.assert_clean()
