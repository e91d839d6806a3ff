"""One message on its way through a service, and how it is read from Kafka."""

from dataclasses import dataclass, field
from datetime import UTC, datetime
from typing import Final
from uuid import UUID, uuid5

from confluent_kafka import TIMESTAMP_NOT_AVAILABLE, Message
from uuid_utils.compat import uuid7

from outbox.inbox import Seen
from schemas.codec import Codec, UndecodableError
from schemas.envelope import CHECKOUT_ID, Header
from schemas.events import Event

_DEFECTIVE: Final = UUID("5b0f3f4c-8e0a-4f0c-9a3d-0c9d7c5d2e11")
"""Name space of the ids of messages that have none of their own."""


@dataclass(frozen=True, slots=True)
class Origin:
    """Where a message lies in Kafka, and its bytes as they lie there."""

    topic: str
    partition: int
    offset: int
    timestamp: datetime
    key: bytes | None
    value: bytes | None


@dataclass(slots=True, eq=False)
class Delivery:
    """A message to be settled.

    key: messages of one key are settled in order, one after the other.
    event: None when the message can't be read; `defect` then says why.
    origin: None for what a timer says. answer: the provider's, when the decision asked for one.
    """

    key: str
    event: Event | None
    event_id: UUID
    occurred_at: datetime
    headers: list[Header] = field(default_factory=list)
    origin: Origin | None = None
    defect: str | None = None
    answer: object | None = None

    @property
    def seen(self) -> Seen:
        """Its identity for the inbox."""
        return Seen(self.event_id, self.occurred_at.date())


def read(message: Message, codec: Codec, topic_prefix: str) -> Delivery:
    """The delivery in a Kafka message; unreadable ones too. Raises RegistryUnavailableError."""
    origin = _origin(message)
    headers = _headers(message)
    try:
        envelope = codec.decode(origin.topic.removeprefix(topic_prefix), origin.value)
        key = _checked_key(origin.key, envelope.event.checkout_id)
    except UndecodableError as error:
        return _defective(origin, headers, str(error))
    return Delivery(key, envelope.event, envelope.event_id, envelope.occurred_at, headers, origin)


def from_timer(event: Event, at: datetime) -> Delivery:
    """What a service tells itself when time has passed."""
    return Delivery(event.checkout_id, event, uuid7(), at)


def _origin(message: Message) -> Origin:
    kind, milliseconds = message.timestamp()
    timestamp = _instant(0 if kind == TIMESTAMP_NOT_AVAILABLE else milliseconds)
    topic, partition, offset = message.topic(), message.partition(), message.offset()
    if topic is None or partition is None or offset is None:
        raise ValueError("a consumed message has a topic, a partition and an offset")
    return Origin(topic, partition, offset, timestamp, _bytes(message.key()), _bytes(message.value()))


def _instant(milliseconds: int) -> datetime:
    """Kafka's timestamp; producers may write any 64-bit number into it, and 1970 stands for those that are no date."""
    try:
        return datetime.fromtimestamp(milliseconds / 1000, UTC)
    except (ValueError, OverflowError, OSError):
        return datetime.fromtimestamp(0, UTC)


def _bytes(raw: str | bytes | None) -> bytes | None:
    return raw.encode() if isinstance(raw, str) else raw


def _headers(message: Message) -> list[Header]:
    headers = message.headers() or []
    pairs = headers.items() if isinstance(headers, dict) else headers
    return [(name, _bytes(value)) for name, value in pairs]


def _checked_key(key: bytes | None, checkout_id: str) -> str:
    """The key, which must be the event's checkout_id: order and ownership hang on it."""
    if not CHECKOUT_ID.fullmatch(checkout_id):
        raise UndecodableError("checkout_id must be 1 to 64 letters, digits or . _ : -")
    if key is None:
        raise UndecodableError(f"no key; it must be the checkout_id, {checkout_id}")
    if key != checkout_id.encode():
        shown = key[:80].decode("utf-8", "backslashreplace")
        raise UndecodableError(f"key {shown} differs from the checkout_id {checkout_id}")
    return checkout_id


def _defective(origin: Origin, headers: list[Header], defect: str) -> Delivery:
    place = f"{origin.topic}/{origin.partition}/{origin.offset}/{origin.timestamp.isoformat()}"
    event_id = uuid5(_DEFECTIVE, place)
    # a lane of its own: what can't be read is in nobody's order
    return Delivery(str(event_id), None, event_id, origin.timestamp, headers, origin, defect)
