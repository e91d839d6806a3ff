"""Other tools' headers, byte for byte as they write them."""

import struct
from uuid import UUID

import pytest

from dlq.dialects import NAMES, fingerprint, number, read
from dlq.reading import read_letters
from dlq.settings import DlqSettings
from schemas.envelope import Header
from tests.dlq.making import produce

PLACE = ("orders.DLT", 2, 7)

SPRING: list[Header] = [
    ("kafka_dlt-original-topic", b"orders"),
    ("kafka_dlt-original-partition", struct.pack(">i", 3)),
    ("kafka_dlt-original-offset", struct.pack(">q", 1234567)),
    ("kafka_dlt-original-timestamp", struct.pack(">q", 1_764_151_200_123)),
    ("kafka_dlt-original-timestamp-type", b"CREATE_TIME"),
    ("kafka_dlt-original-consumer-group", b"billing"),
    ("kafka_dlt-exception-fqcn", b"org.springframework.kafka.listener.ListenerExecutionFailedException"),
    ("kafka_dlt-exception-cause-fqcn", b"java.lang.IllegalStateException"),
    ("kafka_dlt-exception-message", b"no such order 17"),
    ("kafka_dlt-exception-stacktrace", b"at Billing.java:3"),
    ("retry_topic-attempts", struct.pack(">i", 4)),
]
CONNECT: list[Header] = [
    ("__connect.errors.topic", b"orders"),
    ("__connect.errors.partition", b"3"),
    ("__connect.errors.offset", b"1234567"),
    ("__connect.errors.connector.name", b"jdbc-sink"),
    ("__connect.errors.task.id", b"0"),
    ("__connect.errors.stage", b"VALUE_CONVERTER"),
    ("__connect.errors.class.name", b"io.confluent.connect.avro.AvroConverter"),
    ("__connect.errors.exception.class.name", b"org.apache.kafka.connect.errors.DataException"),
    ("__connect.errors.exception.message", b"bad bytes"),
    ("__connect.errors.exception.stacktrace", b"at AvroConverter"),
]
STREAMS: list[Header] = [
    ("__streams.errors.exception", b"java.lang.ArithmeticException"),
    ("__streams.errors.message", b"/ by zero"),
    ("__streams.errors.stacktrace", b"at Sum"),
    ("__streams.errors.topic", b"orders"),
    ("__streams.errors.partition", b"3"),
    ("__streams.errors.offset", b"1234567"),
]
SHARE_GROUP: list[Header] = [
    ("__dlq.errors.topic", b"orders"),
    ("__dlq.errors.partition", b"3"),
    ("__dlq.errors.offset", b"1234567"),
    ("__dlq.errors.group", b"billing"),
    ("__dlq.errors.delivery.count", b"5"),
    ("__dlq.errors.message", b"delivery count exceeded"),
]
EXPECTED = {
    "spring": (SPRING, "billing", "java.lang.IllegalStateException", "no such order 17", "at Billing.java:3", "4"),
    "connect": (
        CONNECT,
        "jdbc-sink",
        "org.apache.kafka.connect.errors.DataException",
        "bad bytes",
        "at AvroConverter",
        "",
    ),
    "streams": (STREAMS, "", "java.lang.ArithmeticException", "/ by zero", "at Sum", ""),
    "share-group": (SHARE_GROUP, "billing", "", "delivery count exceeded", "", "5"),
}


@pytest.mark.parametrize("dialect", EXPECTED)
def test_a_foreign_letter_is_read_into_our_names(dialect: str) -> None:
    headers, group, error, message, stack, attempts = EXPECTED[dialect]
    found, info = read(headers, PLACE)
    assert found == dialect
    assert set(info) == set(NAMES)
    assert [info[f"dlq-original-{name}"] for name in ("topic", "partition", "offset")] == ["orders", "3", "1234567"]
    assert info["dlq-consumer-group"] == group
    assert [info[f"dlq-error-{name}"] for name in ("class", "message", "stack")] == [error, message, stack]
    assert info["dlq-attempts"] == attempts


def test_the_time_of_a_spring_letter_is_an_instant() -> None:
    assert read(SPRING, PLACE)[1]["dlq-original-timestamp"] == "2025-11-26T10:00:00.123000Z"


@pytest.mark.parametrize(
    ("value", "text"),
    [
        (struct.pack(">i", 0), "0"),
        (struct.pack(">i", -1), "-1"),
        (struct.pack(">q", 2**40), "1099511627776"),
        (b"3", "3"),
        (b"1234", "1234"),
        (b"12345678", "12345678"),
        (b"1764151200123", "1764151200123"),
        (b"-1", "-1"),
        (b"", ""),
        (None, ""),
        (b"abc", ""),
        (b"9" * 19, ""),
        ("\u0663".encode() * 9, ""),
    ],
)
def test_a_number_is_binary_or_text(value: bytes | None, text: str) -> None:
    assert number(value) == text


def test_a_time_that_no_calendar_has_is_no_time() -> None:
    headers: list[Header] = [("kafka_dlt-original-timestamp", struct.pack(">q", 2**62))]
    assert read(headers, PLACE)[1]["dlq-original-timestamp"] == ""


def test_our_own_letter_is_not_taken_for_springs_whose_topic_header_it_has() -> None:
    headers: list[Header] = [
        ("dlq-id", b"1"),
        ("dlq-service", b"payment"),
        ("kafka_dlt-original-topic", b"orders"),
    ]
    assert read(headers, ("x.payment.dlq", 0, 0), "x.")[0] == "ours"


@pytest.mark.parametrize(
    "headers",
    [
        [("dlq-id", b"1")],
        [("dlq-service", b"payment")],
        [("dlq-id", b"1"), ("dlq-service", b"warehouse")],
        [("dlq-id", b""), ("dlq-service", b"payment")],
        [("dlq-id", None), ("dlq-service", b"payment")],
        [("dlq-id", b"two words"), ("dlq-service", b"payment")],
        [("dlq-id", b"a/b"), ("dlq-service", b"payment")],
        [("dlq-id", b"a\x1b[2J"), ("dlq-service", b"payment")],
        [("dlq-id", b"a\x00"), ("dlq-service", b"payment")],
        [("dlq-id", "\u0663".encode()), ("dlq-service", b"payment")],
        [("dlq-id", b"\xff"), ("dlq-service", b"payment")],
        [("dlq-id", b"a" * 201), ("dlq-service", b"payment")],
        [("dlq-id", b"1"), ("dlq-id", b"1"), ("dlq-service", b"payment")],
        [("dlq-id", b"1"), ("dlq-service", b"payment"), ("dlq-service", b"payment")],
    ],
)
def test_what_only_looks_like_our_letter_is_foreign_and_named_by_its_place(headers: list[Header]) -> None:
    dialect, info = read(headers, ("x.payment.dlq", 0, 7), "x.")
    assert dialect == "unknown"
    assert UUID(info["dlq-id"]).version == 5
    assert info["dlq-service"] == ""


@pytest.mark.parametrize("text", [b"[/]", b"# x", b"a\nb", b"f" * 101, "\u202e".encode()])
def test_a_fingerprint_that_is_no_word_is_made_anew(text: bytes) -> None:
    ours: list[Header] = [("dlq-id", b"1"), ("dlq-service", b"payment"), ("dlq-fingerprint", text)]
    assert len(read(ours, ("payment.dlq", 0, 0))[1]["dlq-fingerprint"]) == 16


def test_a_letter_in_no_known_dialect_says_at_least_where_it_lies() -> None:
    dialect, info = read([("x-original-topic", b"orders"), ("odd", None), ("odder", b"\xff")], PLACE)
    assert (dialect, info["dlq-original-topic"]) == ("unknown", "orders")
    assert UUID(info["dlq-id"]).version == 5


def test_the_id_of_a_foreign_letter_is_its_places_and_stays() -> None:
    first, again, other = (read(SPRING, place)[1]["dlq-id"] for place in (PLACE, PLACE, ("orders.DLT", 2, 8)))
    assert first == again != other


def test_foreign_letters_of_one_cause_have_one_fingerprint() -> None:
    assert fingerprint("E", "no such order 17\nat 3") == fingerprint("E", "no such order 4711\nat 4")
    assert fingerprint("E", "no such order 17") != fingerprint("F", "no such order 17")


def test_any_topic_is_read_by_its_name(settings: DlqSettings) -> None:
    topic = f"{settings.topic_prefix}warehouse.retry"  # any topic will do
    produce(settings, [{"topic": topic, "value": b"1", "headers": SPRING}, {"topic": topic, "value": b"2"}])
    found = read_letters(settings, topics=[topic])
    assert sorted((letter.dialect, letter.event_type) for letter in found) == [("spring", "orders"), ("unknown", "")]
    assert len({letter.id for letter in found}) == 2
