"""How a message is read: from an event's topic, a replay, or the retry table.

Reading is total: whatever is raised on the way is the message's defect, which makes it a dead letter, never the end of
the process. Only a registry that answers nothing is passed on to the caller.
"""

from datetime import UTC, datetime
from typing import Final
from uuid import UUID

import structlog

from dlq.letter import Replay, originals
from schemas.cards import has_card_number
from schemas.codec import Codec, RegistryUnavailableError, SchemaPendingError, UndecodableError
from schemas.envelope import CHECKOUT_ID, Envelope, text_of
from schemas.events import EVENTS
from schemas.kafka.record import KafkaRecord, Place
from services.shell.delivery import Delivery, content_of, defective, identity_of, unreadable
from services.shell.waiting import Waiting

_INT32: Final = 2**31
_REPLAY_ID: Final = 64

log = structlog.get_logger("shell.reading")


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


def _delivery(
    origin: KafkaRecord, place: Place | None, codec: Codec, topic_prefix: str, event_id: UUID | None = None
) -> Delivery:
    try:
        envelope = _decoded(origin, codec, topic_prefix)
        key = _checked_key(origin.key, envelope.event.checkout_id)
    except UndecodableError as error:
        return unreadable(origin, place, error, event_id)
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
        return unreadable(origin, place, UndecodableError(f"it can't be read: {type(error).__name__}"), event_id)
    identity, content = identity_of(envelope.event_id, origin.topic, origin.key), content_of(origin)
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


def _decoded(origin: KafkaRecord, codec: Codec, topic_prefix: str) -> Envelope:
    event_type = origin.topic.removeprefix(topic_prefix)
    if event_type not in EVENTS:
        raise UndecodableError(f"topic {origin.topic[:260]} holds no event that is known here")
    if origin.defect:
        raise UndecodableError(origin.defect)
    return codec.decode(event_type, origin.value)


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


def _pending(origin: KafkaRecord, place: Place | None, error: Exception, event_id: UUID | None) -> Delivery:
    """What can't be read now. It waits in the order of its key, as far as it has one that could be a checkout's."""
    delivery = unreadable(origin, place, UndecodableError(str(error)), event_id)
    key = (origin.key or b"")[:65].decode("utf-8", "replace")
    if CHECKOUT_ID.fullmatch(key) and not has_card_number(key):
        delivery.key = key
    delivery.defect = error
    return delivery
