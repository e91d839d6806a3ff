"""Other tools' dead letters, read into the names of our own headers.

Sources: Spring for Apache Kafka, `KafkaHeaders`; Kafka Connect, `ErrorHeaders` (KIP-298); Kafka Streams, KIP-1034;
share groups, KIP-1191. What a dialect does not say is "". Nothing here raises: an unreadable header says nothing.
"""

import hashlib
import re
import uuid
from collections.abc import Callable, Mapping
from datetime import UTC, datetime, timedelta
from typing import Final

from schemas.envelope import Header, rfc3339

OURS: Final = "ours"
UNKNOWN: Final = "unknown"

NAMES: Final = (
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
    "dlq-timeouts",
    "dlq-first-failed-at",
    "dlq-failed-at",
    "dlq-operation",
    "dlq-compensation",
    "dlq-schema-id",
    "dlq-original-topic",
    "dlq-original-partition",
    "dlq-original-offset",
    "dlq-original-timestamp",
    "dlq-replay-count",
    "dlq-replay-id",
    "dlq-edit-of",
    "dlq-edit-root",
    "dlq-value-bytes",
    "dlq-value-sha256",
    "dlq-value-cut",
)
"""What a letter says of itself, whoever wrote it.

dlq-edit-root: the letter that the service itself wrote, from which an edited one stems. dlq-value-*: of a value that
was too large for a letter: its length, its digest, and what of it the letter holds (`head of N bytes`; "" for all).
"""

ID_CHARS: Final = 200
_ID: Final = re.compile(rf"[!-.0-~]{{1,{ID_CHARS}}}", re.ASCII)
"""Printable ASCII without spaces, and without the slash that parts it from its service in the ledger's keys."""
_FINGERPRINT: Final = re.compile(r"[A-Za-z0-9._:-]{1,100}", re.ASCII)
"""It is a label of metrics, and a word in files."""
_DLQ_SUFFIX: Final = ".dlq"
_NAMESPACE: Final = uuid.UUID("a3c9f6de-7b6c-5b0e-9b3a-0f5a4f3c2d11")
_NUMBER_BYTES: Final = (4, 8)
_EPOCH: Final = datetime(1970, 1, 1, tzinfo=UTC)
_DIGITS: Final = re.compile(rb"-?[0-9]{1,18}")

_SPRING: Final = {
    "dlq-original-topic": ("kafka_dlt-original-topic",),
    "dlq-consumer-group": ("kafka_dlt-original-consumer-group",),
    # the outer class is the container's wrapper; the cause is what happened
    "dlq-error-class": (
        "kafka_dlt-exception-cause-fqcn",
        "kafka_dlt-exception-fqcn",
        "kafka_dlt-key-exception-fqcn",
    ),
    "dlq-error-message": ("kafka_dlt-exception-message", "kafka_dlt-key-exception-message"),
    "dlq-error-stack": ("kafka_dlt-exception-stacktrace", "kafka_dlt-key-exception-stacktrace"),
}
_SPRING_NUMBERS: Final = {
    "dlq-original-partition": "kafka_dlt-original-partition",
    "dlq-original-offset": "kafka_dlt-original-offset",
    "dlq-attempts": "retry_topic-attempts",
}
_CONNECT: Final = {
    "dlq-original-topic": ("__connect.errors.topic",),
    "dlq-original-partition": ("__connect.errors.partition",),
    "dlq-original-offset": ("__connect.errors.offset",),
    "dlq-consumer-group": ("__connect.errors.connector.name",),
    "dlq-handler": ("__connect.errors.class.name",),
    "dlq-operation": ("__connect.errors.stage",),
    "dlq-error-class": ("__connect.errors.exception.class.name",),
    "dlq-error-message": ("__connect.errors.exception.message",),
    "dlq-error-stack": ("__connect.errors.exception.stacktrace",),
}
_STREAMS: Final = {
    "dlq-original-topic": ("__streams.errors.topic",),
    "dlq-original-partition": ("__streams.errors.partition",),
    "dlq-original-offset": ("__streams.errors.offset",),
    "dlq-error-class": ("__streams.errors.exception",),
    "dlq-error-message": ("__streams.errors.message",),
    "dlq-error-stack": ("__streams.errors.stacktrace",),
}
_SHARE_GROUP: Final = {
    "dlq-original-topic": ("__dlq.errors.topic",),
    "dlq-original-partition": ("__dlq.errors.partition",),
    "dlq-original-offset": ("__dlq.errors.offset",),
    "dlq-consumer-group": ("__dlq.errors.group",),
    "dlq-attempts": ("__dlq.errors.delivery.count",),
    "dlq-error-message": ("__dlq.errors.message",),
}

Raw = Mapping[str, bytes | None]


def read(headers: list[Header], place: tuple[str, int, int], topic_prefix: str = "") -> tuple[str, dict[str, str]]:
    """(dialect, what the letter says under every one of NAMES). place: topic, partition and offset of the letter.

    Ours is only what names itself and, once, the service on whose topic it lies; anything else with our headers is
    foreign, and its identity is its place's.
    """
    raw = dict(headers)
    if _is_ours(headers, raw, service_of(place[0], topic_prefix)):
        info = {name: _text(raw.get(name)) for name in NAMES}
        if info["dlq-fingerprint"] and _FINGERPRINT.fullmatch(info["dlq-fingerprint"]) is None:
            info["dlq-fingerprint"] = fingerprint(info["dlq-error-class"], info["dlq-error-message"])
        return OURS, info
    dialect, reader = _dialect(raw)
    info = dict.fromkeys(NAMES, "") | reader(raw)
    info["dlq-id"] = str(uuid.uuid5(_NAMESPACE, "/".join(map(str, place))))
    info["dlq-fingerprint"] = fingerprint(info["dlq-error-class"], info["dlq-error-message"])
    return dialect, info


def service_of(topic: str, topic_prefix: str) -> str:
    """The service of a dead-letter topic."""
    return topic.removeprefix(topic_prefix).removesuffix(_DLQ_SUFFIX)


def is_id(text: str) -> bool:
    """Whether this can be the identity of a letter of ours."""
    return _ID.fullmatch(text) is not None


def _is_ours(headers: list[Header], raw: Raw, service: str) -> bool:
    names = [name for name, _ in headers]
    once = names.count("dlq-id") == 1 and names.count("dlq-service") == 1
    return once and is_id(_text(raw.get("dlq-id"))) and _text(raw.get("dlq-service")) == service


def fingerprint(error_class: str, message: str) -> str:
    """For letters that bring none of their own: equal for those of one class whose messages differ in numbers only."""
    first = message.split("\n", 1)[0]
    normal = re.sub(r"[0-9]+", "#", first)
    return hashlib.sha256(f"{error_class}|{normal}".encode()).hexdigest()[:16]


def _dialect(raw: Raw) -> tuple[str, Callable[[Raw], dict[str, str]]]:
    for name, prefix, reader in _DIALECTS:
        if any(header.startswith(prefix) for header in raw):
            return name, reader
    return UNKNOWN, _unknown


def _spring(raw: Raw) -> dict[str, str]:
    numbers = {ours: number(raw.get(theirs)) for ours, theirs in _SPRING_NUMBERS.items()}
    at_ms = number(raw.get("kafka_dlt-original-timestamp"))
    return _by_name(raw, _SPRING) | numbers | {"dlq-original-timestamp": _instant(at_ms)}


def _unknown(raw: Raw) -> dict[str, str]:
    return {"dlq-original-topic": _text(raw.get("x-original-topic"))}


def _by_name(raw: Raw, names: Mapping[str, tuple[str, ...]]) -> dict[str, str]:
    """For each of our names the first of theirs that says something."""
    return {
        ours: next((text for name in theirs if (text := _text(raw.get(name)))), "") for ours, theirs in names.items()
    }


def number(value: bytes | None) -> str:
    """A number that is text or a big-endian int32 or int64, as text; "" for anything else.

    Digits are text: as an int32 or int64 they would be a partition, offset or time that no topic has.
    """
    if value is None:
        return ""
    if _DIGITS.fullmatch(value):
        return value.decode()
    return str(int.from_bytes(value, "big", signed=True)) if len(value) in _NUMBER_BYTES else ""


def _instant(at_ms: str) -> str:
    try:
        return rfc3339(_EPOCH + timedelta(milliseconds=int(at_ms)))
    except (ValueError, OverflowError):
        return ""


def _text(value: bytes | None) -> str:
    return value.decode("utf-8", "replace") if value else ""


_DIALECTS: Final[tuple[tuple[str, str, Callable[[Raw], dict[str, str]]], ...]] = (
    ("spring", "kafka_dlt-", _spring),
    ("connect", "__connect.errors.", lambda raw: _by_name(raw, _CONNECT)),
    ("streams", "__streams.errors.", lambda raw: _by_name(raw, _STREAMS)),
    ("share-group", "__dlq.errors.", lambda raw: _by_name(raw, _SHARE_GROUP)),
)
"""Name, what its headers begin with, its reader."""
