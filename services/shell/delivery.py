"""One message on its way through a service, and what tells it from every other one."""

from dataclasses import dataclass, field
from datetime import datetime
from hashlib import blake2b
from typing import Final, Protocol
from uuid import UUID, uuid5

from uuid_utils.compat import uuid7

from dlq.letter import NO_REPLAY, Fault, Replay
from outbox.inbox import Seen
from schemas.codec import UndecodableError
from schemas.envelope import Header
from schemas.events import Event
from schemas.kafka.record import KafkaRecord, Place
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
    when it is handled. fault: why it was not handled. is_ahead: it lies behind an open transaction: the consumer
    delivers it again, and only then its offset is committed.
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
    is_ahead: bool = False

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


def from_timer(event: Event, at: datetime, traceparent: str | None = None) -> Delivery:
    """What a service tells itself when time has passed, in the trace that `traceparent` names."""
    headers: list[Header] = [("traceparent", traceparent.encode())] if traceparent else []
    return Delivery(event.checkout_id, event, uuid7(), at, own_headers=headers)


def identity_of(event_id: UUID, topic: str, key: bytes | None) -> UUID:
    """What makes two messages the same one: event id, topic and key. One id on two topics is two events."""
    named = b"%b/%b/%b" % (event_id.bytes, topic.encode(), key or b"")
    return UUID(bytes=blake2b(named, digest_size=16).digest())


def content_of(record: KafkaRecord) -> int:
    """What two copies of one message have in common, and another message under the same identity has not."""
    return int.from_bytes(blake2b(record.value or b"", digest_size=8).digest(), "big", signed=True)


def place_identity(record: KafkaRecord) -> UUID:
    """The identity of a message that has none of its own: where it lies."""
    lies_at = f"{record.topic}/{record.partition}/{record.offset}/{record.timestamp.isoformat()}"
    return uuid5(_DEFECTIVE, lies_at)


def defective(record: KafkaRecord, defect: UndecodableError) -> Delivery:
    """A record that is no message of its topic; what it claims to be is not believed."""
    return unreadable(record, record.place, defect)


def unreadable(
    origin: KafkaRecord, place: Place | None, defect: UndecodableError, event_id: UUID | None = None
) -> Delivery:
    """What can't be read, under the identity that it is known by, or by the place where it lies."""
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
