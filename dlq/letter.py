"""A dead letter as an outbox record: the original key, value and headers, and `dlq-*` headers that say why.

Every header is UTF-8 text, stands once and is on every letter, so that a filter never meets a missing one.
`x-original-topic` and `kafka_dlt-original-topic` are for other tools.
"""

from dataclasses import dataclass
from datetime import datetime
from enum import StrEnum
from typing import Final
from uuid import UUID

from confluent_kafka import Message

from outbox.add import Record
from schemas.choreography import dead_letter_topic
from schemas.envelope import Header, rfc3339

_MESSAGE_CHARS: Final = 2000
_FOR_OTHERS: Final = ("x-original-topic", "kafka_dlt-original-topic")


class Disposition(StrEnum):
    """Why a message is a dead letter. A closed list."""

    RETRIES_EXHAUSTED = "retries_exhausted"
    FATAL = "fatal"
    UNDECODABLE = "undecodable"
    DEADLINE = "deadline"
    UNSAFE = "unsafe"


@dataclass(frozen=True, slots=True)
class Letter:
    """A message that its service gives up.

    event_id: the message's identity, also of one that can't be read. lane: its ordering key.
    """

    event_id: UUID
    lane: str
    service: str
    group: str
    disposition: Disposition
    error_class: str
    message: str
    topic: str
    partition: int
    offset: int
    timestamp: datetime
    failed_at: datetime
    key: bytes | None
    value: bytes | None
    headers: list[Header]


def record(letter: Letter, topic_prefix: str = "") -> Record:
    """The record to add to the outbox, in the transaction that gives the message up."""
    ours: list[Header] = [(name, value.encode("utf-8", "replace")) for name, value in _headers(letter).items()]
    original = [(name, value) for name, value in letter.headers if not _is_ours(name)]
    return Record(
        topic=topic_prefix + dead_letter_topic(letter.service),
        key=letter.lane,
        raw_key=letter.key,
        payload=letter.value,
        type="dead_letter",
        aggregatetype="dead_letter",
        headers=[*original, *ours],
    )


def letter_id(message: Message) -> UUID:
    """The identity of a dead letter on its topic: that of the message that was given up."""
    headers = message.headers() or []
    found = dict(headers if isinstance(headers, list) else headers.items()).get("dlq-id")
    return UUID(found.decode() if isinstance(found, bytes) else str(found))


def _is_ours(name: str) -> bool:
    return name.startswith("dlq-") or name in _FOR_OTHERS


def _headers(letter: Letter) -> dict[str, str]:
    return {
        "dlq-id": str(letter.event_id),
        "dlq-service": letter.service,
        "dlq-consumer-group": letter.group,
        "dlq-disposition": letter.disposition.value,
        "dlq-error-class": letter.error_class,
        "dlq-error-message": letter.message[:_MESSAGE_CHARS],
        "dlq-failed-at": rfc3339(letter.failed_at),
        "dlq-original-topic": letter.topic,
        "dlq-original-partition": str(letter.partition),
        "dlq-original-offset": str(letter.offset),
        "dlq-original-timestamp": rfc3339(letter.timestamp),
        "x-original-topic": letter.topic,
        "kafka_dlt-original-topic": letter.topic,
    }
