"""One message on its way through a service, and how it is read: from an event's topic, a replay, or the retry table."""

from dataclasses import dataclass, field
from datetime import UTC, datetime
from typing import Final, Protocol, cast
from uuid import UUID, uuid5

from confluent_kafka import TIMESTAMP_NOT_AVAILABLE, Message
from uuid_utils.compat import uuid7

from dlq.letter import NO_REPLAY, Fault, Origin, Replay, originals
from dlq.messages import unpacked
from outbox.inbox import Seen
from schemas.codec import Codec, UndecodableError
from schemas.envelope import CHECKOUT_ID, Envelope, Header, text_of
from schemas.events import EVENTS, Event
from schemas.kafka.record import KafkaRecord
from schemas.trace import TraceContext
from services.shell.waiting import Waiting

_DEFECTIVE: Final = UUID("5b0f3f4c-8e0a-4f0c-9a3d-0c9d7c5d2e11")
"""Name space of the ids of messages that have none of their own."""
_REPLAYED: Final = UUID("c1a7d0c3-2f1e-4c57-8f0b-4b7c6f1f0a35")
"""Name space of the identities of replays."""


class Call(Protocol):
    """A provider call that a decision asks for: `operation` names its gate."""

    @property
    def operation(self) -> str:
        """The kind of call."""


Place = tuple[str, int, int]
"""Topic, partition, offset."""


@dataclass(slots=True, eq=False)
class Delivery:
    """A message to be settled.

    key: messages of one key are settled in order, one after the other.
    is_ahead: it lies behind an open transaction: the consumer delivers it again, and only then its offset is committed.
    event: None when the message can't be read; `defect` then says why.
    origin: None for what a timer says. place: where it was taken from Kafka; None for timers and for what waited.
    call, answer: the provider call that the decision asked for last, and its answer. letter_id: its identity as a dead
    letter. replay: which replay it came by. first_failed_at: of a replay. waiting: its row of the retry table, when it
    comes from there. own_headers: of a timer's. span, began_ns: its place in a trace that somebody keeps, and since
    when it is handled. fault: why it was not handled.
    """

    key: str
    event: Event | None
    event_id: UUID
    occurred_at: datetime
    origin: Origin | None = None
    place: Place | None = None
    defect: UndecodableError | None = None
    call: Call | None = None
    answer: object | None = None
    letter_id: str = ""
    replay: Replay = NO_REPLAY
    first_failed_at: datetime | None = None
    waiting: Waiting | None = None
    own_headers: list[Header] = field(default_factory=list)
    span: TraceContext | None = None
    began_ns: int = 0
    fault: Fault | None = None
    is_ahead: bool = False

    @property
    def seen(self) -> Seen:
        """Its identity for the inbox; each replay of a letter is one of its own."""
        if self.replay.id:
            return Seen(uuid5(_REPLAYED, f"{self.letter_id}/{self.replay.id}"), self.occurred_at.date())
        return Seen(self.event_id, self.occurred_at.date())

    @property
    def trace(self) -> TraceContext | None:
        """Its place in a trace, where somebody keeps that trace."""
        return self.span if self.span is not None and self.span.sampled else None

    @property
    def headers(self) -> list[Header]:
        """The headers that it came with."""
        return self.origin.headers if self.origin else self.own_headers

    @property
    def event_type(self) -> str:
        """Its event's type; of one that can't be read the topic, which it should have been."""
        if self.event is not None:
            return self.event.TYPE
        return self.origin.topic if self.origin else ""


def read(message: Message, codec: Codec, topic_prefix: str) -> Delivery:
    """The delivery in a message of an event's topic; unreadable ones too. Raises RegistryUnavailableError."""
    origin, place = _origin(message)
    return _delivery(origin, place, codec, topic_prefix)


def read_ahead(record: KafkaRecord, codec: Codec, topic_prefix: str) -> Delivery:
    """The delivery in a record that was read behind an open transaction. Raises RegistryUnavailableError."""
    origin = Origin(
        topic=record.topic,
        partition=record.partition,
        offset=record.offset,
        timestamp=record.timestamp,
        key=record.key,
        value=record.value,
        headers=record.headers,
    )
    replays = record.topic.endswith(".retry")
    delivery = (
        _replay(origin, record.place, codec, topic_prefix)
        if replays
        else _delivery(origin, record.place, codec, topic_prefix)
    )
    delivery.is_ahead = True
    return delivery


def read_replay(message: Message, codec: Codec, topic_prefix: str) -> Delivery:
    """The delivery in a message of a retry topic: the original, and which replay brought it.

    Raises RegistryUnavailableError.
    """
    return _replay(*_origin(message), codec, topic_prefix)


def _replay(origin: Origin, place: Place, codec: Codec, topic_prefix: str) -> Delivery:
    ours = {name: value.decode("utf-8", "replace") for name, value in origin.headers if value is not None}
    try:
        original, replay = _original(origin, ours), Replay(ours["dlq-replay-id"], int(ours["dlq-replay-count"]), "")
        first = datetime.fromisoformat(ours["dlq-first-failed-at"])
        letter_id = str(UUID(ours["dlq-id"]))
    except (KeyError, ValueError) as error:
        fault = UndecodableError(f"no replay of a dead letter: header {error} is missing or wrong")
        return _defective(origin, place, fault)
    delivery = _delivery(original, place, codec, topic_prefix, UUID(ours["dlq-event-id"]))
    delivery.letter_id, delivery.first_failed_at = letter_id, first
    delivery.replay = Replay(replay.id, replay.count, ours.get("dlq-edit-of", ""))
    return delivery


def from_waiting(waiting: Waiting, codec: Codec, topic_prefix: str) -> Delivery:
    """A message whose time in the retry table has come. Raises RegistryUnavailableError."""
    delivery = _delivery(waiting.origin, None, codec, topic_prefix, waiting.event_id)
    delivery.letter_id, delivery.replay, delivery.waiting = waiting.letter_id, waiting.replay, waiting
    # what was parked under a lane stays in it
    delivery.key = waiting.lane
    return delivery


def from_timer(event: Event, at: datetime, traceparent: str | None = None) -> Delivery:
    """What a service tells itself when time has passed, in the trace that `traceparent` names."""
    headers: list[Header] = [("traceparent", traceparent.encode())] if traceparent else []
    return Delivery(event.checkout_id, event, uuid7(), at, own_headers=headers)


def _delivery(
    origin: Origin, place: Place | None, codec: Codec, topic_prefix: str, event_id: UUID | None = None
) -> Delivery:
    try:
        envelope = _decoded(origin, codec, topic_prefix)
        key = _checked_key(origin.key, envelope.event.checkout_id)
    except UndecodableError as error:
        return _defective(origin, place, error, event_id)
    return Delivery(
        key,
        envelope.event,
        envelope.event_id,
        envelope.occurred_at,
        origin,
        place,
        letter_id=text_of(envelope.event_id),
    )


def _decoded(origin: Origin, codec: Codec, topic_prefix: str) -> Envelope:
    event_type = origin.topic.removeprefix(topic_prefix)
    if event_type not in EVENTS:
        raise UndecodableError(f"topic {origin.topic} holds no event that is known here")
    return codec.decode(event_type, origin.value)


def _original(taken: Origin, ours: dict[str, str]) -> Origin:
    """What the dead letter was before it was one. Raises KeyError, ValueError."""
    return Origin(
        topic=ours["dlq-original-topic"],
        partition=int(ours["dlq-original-partition"]),
        offset=int(ours["dlq-original-offset"]),
        timestamp=datetime.fromisoformat(ours["dlq-original-timestamp"]),
        key=taken.key,
        value=taken.value,
        headers=originals(taken.headers),
    )


def _origin(message: Message) -> tuple[Origin, Place]:
    kind, milliseconds = message.timestamp()
    timestamp = _instant(0 if kind == TIMESTAMP_NOT_AVAILABLE else milliseconds)
    topic, partition, offset = message.topic(), message.partition(), message.offset()
    if topic is None or partition is None or offset is None:
        raise ValueError("a consumed message has a topic, a partition and an offset")
    origin = Origin(
        topic=topic,
        partition=partition,
        offset=offset,
        timestamp=timestamp,
        key=_bytes(message.key()),
        value=_bytes(message.value()),
        headers=_headers(message),
    )
    return origin, (topic, partition, offset)


def _instant(milliseconds: int) -> datetime:
    """Kafka's timestamp; producers may write any 64-bit number into it, and 1970 stands for those that are no date."""
    try:
        return datetime.fromtimestamp(milliseconds / 1000, UTC)
    except (ValueError, OverflowError, OSError):
        return datetime.fromtimestamp(0, UTC)


def _bytes(raw: str | bytes | None) -> bytes | None:
    return raw.encode() if isinstance(raw, str) else raw


def _headers(message: Message) -> list[Header]:
    headers = message.headers()
    if headers is None:
        return []
    if isinstance(headers, dict):
        raise TypeError("headers of a consumed message are pairs: a name may stand twice")
    # the client gives bytes; its signature allows text for what is to be sent
    return unpacked(cast("list[Header]", headers))


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


def _defective(origin: Origin, place: Place | None, defect: UndecodableError, event_id: UUID | None = None) -> Delivery:
    lies_at = f"{origin.topic}/{origin.partition}/{origin.offset}/{origin.timestamp.isoformat()}"
    identity = event_id or uuid5(_DEFECTIVE, lies_at)
    # a lane of its own: what can't be read is in nobody's order
    return Delivery(str(identity), None, identity, origin.timestamp, origin, place, defect, letter_id=str(identity))
