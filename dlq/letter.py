"""A dead letter as an outbox record: the original key, value and headers, and `dlq-*` headers that say why.

Every header is UTF-8 text, stands once and is on every letter, so that a filter never meets a missing one.
`x-original-topic` and `kafka_dlt-original-topic` are for other tools. Nothing of the message is decoded here.
"""

import hashlib
from dataclasses import dataclass
from datetime import datetime
from enum import StrEnum
from typing import Final
from uuid import UUID

from confluent_kafka import Message

from dlq.kept import MASKED, Cut
from dlq.messages import headers_of as message_headers
from outbox.add import Record
from schemas.choreography import dead_letter_topic
from schemas.envelope import Header, rfc3339
from schemas.kafka.record import PACKED, KafkaRecord

MESSAGE_CHARS: Final = 2000
STACK_BYTES: Final = 8 * 1024
_LABEL: Final = 200
"""Characters of the short headers: class, handler, ids."""
_FOR_OTHERS: Final = ("x-original-topic", "kafka_dlt-original-topic")
FOREIGN_PACKED: Final = "foreign-outbox-headers"
"""A message's own header `outbox-headers`, which means something to our readers, under a name that means nothing."""
COMPENSATED: Final = "compensated"
NOT_COMPENSATED: Final = "none"


class Disposition(StrEnum):
    """Why a message is a dead letter. A closed list."""

    RETRIES_EXHAUSTED = "retries_exhausted"
    FATAL = "fatal"
    UNDECODABLE = "undecodable"
    DEADLINE = "deadline"
    UNSAFE = "unsafe"


@dataclass(frozen=True, slots=True)
class Fault:
    """What went wrong. stack: frames without locals. fingerprint: equal for faults of the same cause."""

    error_class: str
    message: str
    stack: str = ""
    fingerprint: str = ""


@dataclass(frozen=True, slots=True)
class Replay:
    """Which replay a message came back by. id: "" for a message that was never replayed.

    edit_of: the letter that was edited; edit_root: the one at the beginning of a chain of edits.
    """

    id: str = ""
    count: int = 0
    edit_of: str = ""
    edit_root: str = ""


NO_FAULT: Final = Fault("", "")
NO_REPLAY: Final = Replay()


@dataclass(frozen=True, slots=True, kw_only=True)
class Letter:
    """A message that its service gives up.

    id: the letter's identity; a message that fails again keeps it. event_id: the message's identity for the inbox, also
    of one that can't be read. lane: its ordering key. handler: the function that should have handled it. attempts: how
    often it was tried; timeouts: how many of them ended without an answer. compensation: `compensated` when what it
    should have done was undone instead.
    """

    id: str
    event_id: UUID
    lane: str
    service: str
    group: str
    handler: str
    handler_version: str
    disposition: Disposition
    fault: Fault
    attempts: int
    timeouts: int
    first_failed_at: datetime
    failed_at: datetime
    origin: KafkaRecord
    operation: str = ""
    compensation: str = NOT_COMPENSATED
    replay: Replay = NO_REPLAY
    cut: Cut | None = None


def record(letter: Letter, topic_prefix: str = "") -> Record:
    """The record to add to the outbox, in the transaction that gives the message up."""
    ours: list[Header] = [(name, value.encode("utf-8", "replace")) for name, value in headers_of(letter).items()]
    ours += [pair for pair in letter.origin.headers if pair[0] == MASKED]
    return Record(
        topic=topic_prefix + dead_letter_topic(letter.service),
        key=letter.lane,
        raw_key=letter.origin.key,
        payload=letter.origin.value,
        type="dead_letter",
        aggregatetype="dead_letter",
        headers=[*originals(letter.origin.headers), *ours],
    )


def originals(headers: list[Header]) -> list[Header]:
    """The headers that the message had before it was a dead letter, under names that are not ours."""
    return [(FOREIGN_PACKED if name == PACKED else name, value) for name, value in headers if not is_ours(name)]


def digest_of(origin: KafkaRecord) -> str:
    """What tells a letter's key and value from every other's: SHA-256, hex."""
    found = hashlib.sha256()
    for part in (origin.key, origin.value):
        found.update(b"-" if part is None else b"%d:%b" % (len(part), part))
    return found.hexdigest()


def is_ours(name: str) -> bool:
    """Whether a header belongs to the dead letter and not to the message."""
    return name.startswith("dlq-") or name in _FOR_OTHERS or name == MASKED


def text_headers(message: Message) -> dict[str, str]:
    """The headers of a message as text; of a name that stands twice the last one."""
    return {name: _text(value) for name, value in message_headers(message)}


def letter_event_id(message: Message) -> UUID:
    """The identity, for the inbox, of the message that a dead letter holds."""
    return UUID(text_headers(message)["dlq-event-id"])


def letter_id(message: Message) -> str:
    """The identity of a dead letter on its topic."""
    return text_headers(message)["dlq-id"]


def schema_id_of(value: bytes | None) -> str:
    """The schema id in the Confluent prefix of a value, as text; "" where there is none."""
    if value is None or len(value) < 5 or value[0] != 0:  # noqa: PLR2004 - 0x00 and four bytes
        return ""
    return str(int.from_bytes(value[1:5], "big"))


def _text(value: object) -> str:
    return value.decode("utf-8", "replace") if isinstance(value, bytes) else "" if value is None else str(value)


def _cut(stack: str) -> str:
    """The innermost frames: what is cut away are the outer ones."""
    return stack.encode("utf-8", "replace")[-STACK_BYTES:].decode("utf-8", "ignore")


def headers_of(letter: Letter) -> dict[str, str]:
    """Every header of a dead letter that is not the message's own."""
    origin, fault, replay, cut = letter.origin, letter.fault, letter.replay, letter.cut
    return {
        "dlq-id": letter.id,
        "dlq-event-id": str(letter.event_id),
        "dlq-service": letter.service,
        "dlq-consumer-group": letter.group,
        "dlq-handler": letter.handler,
        "dlq-handler-version": letter.handler_version,
        "dlq-disposition": letter.disposition.value,
        "dlq-error-class": fault.error_class[:_LABEL],
        "dlq-error-message": fault.message[:MESSAGE_CHARS],
        "dlq-error-stack": _cut(fault.stack),
        "dlq-fingerprint": fault.fingerprint,
        "dlq-attempts": str(letter.attempts),
        "dlq-timeouts": str(letter.timeouts),
        "dlq-first-failed-at": rfc3339(letter.first_failed_at),
        "dlq-failed-at": rfc3339(letter.failed_at),
        "dlq-operation": letter.operation,
        "dlq-compensation": letter.compensation,
        "dlq-schema-id": schema_id_of(origin.value),
        "dlq-original-topic": origin.topic,
        "dlq-original-partition": str(origin.partition),
        "dlq-original-offset": str(origin.offset),
        "dlq-original-timestamp": rfc3339(origin.timestamp),
        "dlq-replay-count": str(replay.count),
        "dlq-replay-id": replay.id,
        "dlq-edit-of": replay.edit_of,
        "dlq-edit-root": replay.edit_root,
        "dlq-value-bytes": str(cut.length if cut else len(origin.value or b"")),
        "dlq-value-sha256": cut.digest if cut else hashlib.sha256(origin.value or b"").hexdigest(),
        "dlq-value-cut": cut.what if cut else "",
        "x-original-topic": origin.topic,
        "kafka_dlt-original-topic": origin.topic,
    }
