"""One message on its way through a service, and how it is read: from an event's topic, a replay, or the retry table.

Reading is total: whatever is raised on the way is the message's defect, which makes it a dead letter, never the end of
the process. Only a registry that answers nothing is passed on to the caller.
"""

from dataclasses import dataclass, field
from datetime import UTC, datetime
from hashlib import blake2b
from typing import Final, Protocol
from uuid import UUID, uuid5

import structlog
from uuid_utils.compat import uuid7

from dlq.letter import NO_REPLAY, Fault, Replay, originals
from outbox.inbox import Seen
from schemas.cards import has_card_number
from schemas.codec import Codec, RegistryUnavailableError, SchemaPendingError, UndecodableError
from schemas.envelope import CHECKOUT_ID, Envelope, Header, text_of
from schemas.events import EVENTS, Event
from schemas.kafka.record import KafkaRecord, Place
from schemas.trace import TraceContext
from services.shell.waiting import Waiting

MAX_KEY_BYTES: Final = 64 * 1024
MAX_HEADER_BYTES: Final = 512 * 1024
"""Of all headers of a message, names and values."""
_DEFECTIVE: Final = UUID("5b0f3f4c-8e0a-4f0c-9a3d-0c9d7c5d2e11")
"""Name space of the ids of messages that have none of their own."""
_REPLAYED: Final = UUID("c1a7d0c3-2f1e-4c57-8f0b-4b7c6f1f0a35")
"""Name space of the identities of replays."""
_INT32: Final = 2**31
_REPLAY_ID: Final = 64

log = structlog.get_logger("shell.delivery")


class Call(Protocol):
    """A provider call that a decision asks for: `operation` names its gate."""

    @property
    def operation(self) -> str:
        """The kind of call."""


@dataclass(slots=True, eq=False)
class Delivery:
    """A message to be settled.

    key: messages of one key are settled in order, one after the other.
    event: None when the message can't be read; `defect` then says why: an UndecodableError for good, any other for now.
    identity, content: what makes two messages the same one, and two messages with one identity different.
    origin: None for what a timer says. place: where it was taken from Kafka; None for timers and for what waited.
    carrier: of a replay, the record that brought it.
    call, answer: the provider call that the decision asked for last, and its answer. letter_id: its identity as a dead
    letter. replay: which replay it came by. first_failed_at: of a replay. waiting: its row of the retry table, when it
    comes from there. own_headers: of a timer's. span, began_ns: its place in a trace that somebody keeps, and since
    when it is handled. fault: why it was not handled.
    """

    key: str
    event: Event | None
    event_id: UUID
    occurred_at: datetime
    origin: KafkaRecord | None = None
    place: Place | None = None
    defect: Exception | None = None
    identity: UUID | None = None
    content: int = 0
    carrier: KafkaRecord | None = None
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

    @property
    def seen(self) -> Seen:
        """Its identity for the inbox; each replay of a letter is one of its own."""
        if self.replay.id:
            identity = uuid5(_REPLAYED, f"{self.letter_id}/{self.replay.id}")
            return Seen(identity, self.occurred_at.date(), self.content)
        return Seen(self.identity or self.event_id, self.occurred_at.date(), self.content)

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


def read(record: KafkaRecord, codec: Codec, topic_prefix: str) -> Delivery:
    """The delivery in a record of an event's topic; unreadable ones too. Raises RegistryUnavailableError."""
    return _delivery(record, record.place, codec, topic_prefix)


def read_replay(record: KafkaRecord, codec: Codec, topic_prefix: str) -> Delivery:
    """The delivery in a record of a retry topic: the original, and which replay brought it.

    Whether it is one of this service's own dead letters is seen when its row is there (`services/shell/replays.py`).
    Raises RegistryUnavailableError.
    """
    said = {name: value.decode("utf-8", "replace") for name, value in record.headers if value is not None}
    try:
        original, replay = _original(record, said, topic_prefix), _replay(said)
        letter_id, event_id = str(UUID(said["dlq-id"])), UUID(said["dlq-event-id"])
        first = _instant(said["dlq-first-failed-at"])
    except (KeyError, ValueError, OverflowError) as error:
        return defective(record, UndecodableError(f"no replay of a dead letter: a header is missing or wrong: {error}"))
    delivery = _delivery(original, record.place, codec, topic_prefix, event_id)
    delivery.letter_id, delivery.first_failed_at = letter_id, first
    delivery.replay, delivery.carrier = replay, record
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
    origin: KafkaRecord, place: Place | None, codec: Codec, topic_prefix: str, event_id: UUID | None = None
) -> Delivery:
    try:
        envelope = _decoded(origin, codec, topic_prefix)
        key = _checked_key(origin.key, envelope.event.checkout_id)
    except UndecodableError as error:
        return _defective(origin, place, error, event_id)
    except SchemaPendingError as error:
        return _pending(origin, place, error, event_id)
    except RegistryUnavailableError as error:
        # one odd message must not stop those that can be read
        if not codec.reads(origin.topic.removeprefix(topic_prefix)):
            raise
        return _pending(origin, place, error, event_id)
    # a message that breaks its reader is a dead letter, whatever the reader's fault is
    except Exception as error:
        log.exception("reading a message broke", topic=origin.topic, partition=origin.partition, offset=origin.offset)
        return _defective(origin, place, UndecodableError(f"it can't be read: {type(error).__name__}"), event_id)
    identity, content = identity_of(envelope.event_id, origin), content_of(origin)
    return Delivery(
        key,
        envelope.event,
        envelope.event_id,
        envelope.occurred_at,
        origin,
        place,
        None,
        identity,
        content,
        letter_id=text_of(identity),
    )


def identity_of(event_id: UUID, record: KafkaRecord) -> UUID:
    """What makes two messages the same one: event id, topic and key. One id on two topics is two events."""
    named = b"%b/%b/%b" % (event_id.bytes, record.topic.encode(), record.key or b"")
    return UUID(bytes=blake2b(named, digest_size=16).digest())


def content_of(record: KafkaRecord) -> int:
    """What two copies of one message have in common, and another message under the same identity has not."""
    return int.from_bytes(blake2b(record.value or b"", digest_size=8).digest(), "big", signed=True)


def place_identity(record: KafkaRecord) -> UUID:
    """The identity of a message that has none of its own: where it lies."""
    lies_at = f"{record.topic}/{record.partition}/{record.offset}/{record.timestamp.isoformat()}"
    return uuid5(_DEFECTIVE, lies_at)


def _decoded(origin: KafkaRecord, codec: Codec, topic_prefix: str) -> Envelope:
    event_type = origin.topic.removeprefix(topic_prefix)
    if event_type not in EVENTS:
        raise UndecodableError(f"topic {origin.topic[:260]} holds no event that is known here")
    if origin.defect:
        raise UndecodableError(origin.defect)
    if len(origin.key or b"") > MAX_KEY_BYTES:
        raise UndecodableError(f"a key of {len(origin.key or b''):,} bytes; at most {MAX_KEY_BYTES:,} are read")
    if origin.headers:
        _check_size(origin.headers)
    return codec.decode(event_type, origin.value)


def _check_size(headers: list[Header]) -> None:
    size = sum([len(name) + len(value or b"") for name, value in headers])
    if size > MAX_HEADER_BYTES:
        raise UndecodableError(f"headers of {size:,} bytes; at most {MAX_HEADER_BYTES:,} are read")


def _original(taken: KafkaRecord, said: dict[str, str], topic_prefix: str) -> KafkaRecord:
    """What the dead letter was before it was one. Raises KeyError, ValueError."""
    topic, timestamp = said["dlq-original-topic"], _instant(said["dlq-original-timestamp"])
    if topic.removeprefix(topic_prefix) not in EVENTS:
        raise ValueError(f"dlq-original-topic {topic[:100]!r} is no event's")
    return KafkaRecord(
        topic,
        _number(said["dlq-original-partition"], _INT32),
        _number(said["dlq-original-offset"], _INT32**2),
        timestamp,
        taken.key,
        taken.value,
        originals(taken.headers),
        taken.defect,
    )


def _replay(said: dict[str, str]) -> Replay:
    """Raises KeyError, ValueError."""
    count = _number(said["dlq-replay-count"], _INT32)
    names = [said["dlq-replay-id"], said.get("dlq-edit-of", ""), said.get("dlq-edit-root", "")]
    if not names[0] or any(len(name) > _REPLAY_ID or not name.isascii() or not name.isprintable() for name in names):
        raise ValueError("dlq-replay-id, dlq-edit-of or dlq-edit-root is no id")
    root = str(UUID(names[2])) if names[2] else ""
    return Replay(names[0], count, names[1], root)


def _instant(text: str) -> datetime:
    """In UTC; Postgres and Python agree on it only within a day of the ends of the calendar. Raises ValueError."""
    at = datetime.fromisoformat(text)
    if at.tzinfo is None:
        raise ValueError(f"{text[:40]!r} has no time zone")
    return at.astimezone(UTC)


def _number(text: str, limit: int) -> int:
    """A number that a column can hold. Raises ValueError."""
    number = int(text) if text.isascii() and text.isdigit() and len(text) < 20 else -1  # noqa: PLR2004 - of 64 bits
    if not 0 <= number < limit:
        raise ValueError(f"{text[:30]!r} is no number below {limit:,}")
    return number


def _checked_key(key: bytes | None, checkout_id: str) -> str:
    """The key, which must be the event's checkout_id: order and ownership hang on it."""
    if not CHECKOUT_ID.fullmatch(checkout_id):
        raise UndecodableError("checkout_id must be 1 to 64 letters, digits or . _ : -")
    if has_card_number(checkout_id):
        raise UndecodableError("checkout_id looks like a card number; a checkout has an id of its own")
    if key is None:
        raise UndecodableError(f"no key; it must be the checkout_id, {checkout_id}")
    if key != checkout_id.encode():
        shown = key[:80].decode("utf-8", "backslashreplace")
        raise UndecodableError(f"key {shown} differs from the checkout_id {checkout_id}")
    return checkout_id


def defective(record: KafkaRecord, defect: UndecodableError) -> Delivery:
    """A record that is no message of its topic; what it claims to be is not believed."""
    return _defective(record, record.place, defect)


def _defective(
    origin: KafkaRecord, place: Place | None, defect: UndecodableError, event_id: UUID | None = None
) -> Delivery:
    identity = event_id or place_identity(origin)
    # a lane of its own: what can't be read is in nobody's order
    return Delivery(str(identity), None, identity, origin.timestamp, origin, place, defect, letter_id=str(identity))


def refused_as(delivery: Delivery) -> list[Seen]:
    """Its identities as a message that is refused for what it claims to be: by the place where it lies."""
    if delivery.event is None and not delivery.replay.id:
        return []
    records = {id(each): each for each in (delivery.carrier, delivery.origin) if each is not None}
    return [Seen(place_identity(each), each.timestamp.date()) for each in records.values()]


def conflicting(delivery: Delivery) -> Delivery:
    """A message that says something else than the one before it under the same event id, topic and key."""
    if delivery.origin is None:
        return delivery
    why = f"conflicting duplicate: event id {delivery.event_id} was used for another message with this key"
    return defective(delivery.carrier or delivery.origin, UndecodableError(why))


def _pending(origin: KafkaRecord, place: Place | None, error: Exception, event_id: UUID | None) -> Delivery:
    """What can't be read now. It waits in the order of its key, as far as it has one that could be a checkout's."""
    delivery = _defective(origin, place, UndecodableError(str(error)), event_id)
    key = (origin.key or b"")[:65].decode("utf-8", "replace")
    if CHECKOUT_ID.fullmatch(key) and not has_card_number(key):
        delivery.key = key
    delivery.defect = error
    return delivery
