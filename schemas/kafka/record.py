"""A record as it lies in Kafka. Reading it raises nothing: whatever is odd about it becomes its defect, in a sentence.

Services, retry topics, `dlq`, audit, observer and `checkout show` all read with `record_of`.
"""

import base64
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from operator import methodcaller
from typing import Any, Final, cast

from confluent_kafka import TIMESTAMP_NOT_AVAILABLE, Message

from schemas import strict_json

Header = tuple[str, bytes | None]
Place = tuple[str, int, int]
"""Topic, partition, offset."""

PACKED: Final = "outbox-headers"
"""The header in which Debezium carries all those of an outbox row, as JSON (see compose/debezium/outbox.properties)."""
BAD_NAME: Final = "the name of a header is not UTF-8; its headers can't be read"
MAX_PACKED_BYTES: Final = 256 * 1024
EPOCH: Final = datetime.fromtimestamp(0, UTC)
_NEVER_PACKED: Final = (".dlq", ".retry")
_OPERATORS: Final = "dlq."
_PAIR: Final = 2
_asked_for_headers: Final = methodcaller("headers")
"""Not `message.headers()`: once that line is hot, the interpreter no longer looks whether the client left an error
behind with its answer, which then has a hole where the name should be."""


@dataclass(frozen=True, slots=True)
class KafkaRecord:
    """Where a record lies, and its bytes as they lie there.

    timestamp: UTC; 1970 where it is none. defect: why it can't be what its topic is for; "" where nothing is odd.
    """

    topic: str
    partition: int
    offset: int
    timestamp: datetime
    key: bytes | None
    value: bytes | None
    headers: list[Header]
    defect: str = ""

    @property
    def place(self) -> Place:
        """Topic, partition, offset."""
        return self.topic, self.partition, self.offset


def record_of(message: Message, *, unpack: bool = False) -> KafkaRecord:
    """What a consumed message holds. Call it once for each message: the client can't be asked for headers twice.

    unpack: whether a connector publishes, so that `outbox-headers` stands for the headers of an outbox row. It is never
    unpacked on topics of dead letters and replays, which a connector does not write.
    """
    topic = message.topic() or ""
    headers, defect = _headers(message)
    if unpack and not defect and not is_never_packed(topic):
        headers, defect = unpacked(headers)
    return KafkaRecord(
        topic,
        _number(message.partition()),
        _number(message.offset()),
        time_of(message),
        raw(message.key()),
        raw(message.value()),
        headers,
        defect,
    )


def is_never_packed(topic: str) -> bool:
    """Whether a topic is of dead letters or replays, whatever its prefix."""
    last = topic.rsplit(".", 2)[-2:]
    return topic.endswith(_NEVER_PACKED) or ".".join(last).startswith(_OPERATORS)


def _headers(message: Message) -> tuple[list[Header], str]:
    """(headers, defect). The client raises SystemError for a name that is no UTF-8, and crashes when asked again."""
    try:
        found: Any = _asked_for_headers(message)
    except (SystemError, UnicodeDecodeError):
        return [], BAD_NAME
    if found is None:
        return [], ""
    pairs: Any = found.items() if isinstance(found, dict) else found
    return cast("list[Header]", pairs if isinstance(pairs, list) else list(pairs)), ""


def unpacked(headers: list[Header]) -> tuple[list[Header], str]:
    """(the headers of the outbox row, defect); as they are where none is packed. One level only."""
    packed = next((value for name, value in headers if name == PACKED and value is not None), None)
    if packed is None:
        return headers, ""
    try:
        return packed_headers(packed), ""
    except ValueError as error:
        return [pair for pair in headers if pair[0] != PACKED], f"header {PACKED}: {error}"


def packed_headers(stored: bytes | str) -> list[Header]:
    """Headers as `outbox` keeps them: [[name, text or null or {"base64": text}], ...].

    Raises ValueError saying what is wrong.
    """
    pairs = strict_json.loads(stored, max_bytes=MAX_PACKED_BYTES, max_depth=4)
    if not isinstance(pairs, list):
        raise ValueError("no list of pairs")  # noqa: TRY004 - what is wrong with a value, to its readers
    return [header_of(pair) for pair in pairs]


def header_of(pair: Any) -> Header:
    """One header from JSON. Raises ValueError."""
    if not isinstance(pair, Sequence) or isinstance(pair, str) or len(pair) != _PAIR or not isinstance(pair[0], str):
        raise ValueError("a header is a list of its name and its value")
    name, value = pair
    if "\0" in name or not name:
        raise ValueError("a header's name is empty or has a NUL")
    if value is None:
        return name, None
    if isinstance(value, str):
        return name, value.encode()
    if isinstance(value, dict) and set(value) == {"base64"} and isinstance(value["base64"], str):
        return name, base64.b64decode(value["base64"], validate=True)
    raise ValueError(f"header {name[:40]}: neither text nor base64 nor null")


def time_of(message: Message) -> datetime:
    """The timestamp of a message; 1970 for one that has none."""
    kind, milliseconds = message.timestamp()
    return instant_of(0 if kind == TIMESTAMP_NOT_AVAILABLE else milliseconds)


def instant_of(milliseconds: int) -> datetime:
    """Kafka's timestamp. Producers may write any 64-bit number; 1970 stands for those that are no date."""
    try:
        return datetime.fromtimestamp(milliseconds / 1000, UTC)
    except (ValueError, OverflowError, OSError):
        return EPOCH


def raw(value: object) -> bytes | None:
    """The client's types allow text, which it gives only to those who asked for it."""
    return value if value is None or isinstance(value, bytes) else str(value).encode("utf-8", "surrogateescape")


def _number(value: int | None) -> int:
    return -1 if value is None else value
