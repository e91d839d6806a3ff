"""Where in its checkout a dead letter stands: what was said of that checkout on every event topic."""

from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Final

from dlq.letters import DeadLetter
from dlq.messages import instant, whole_number
from dlq.settings import DlqSettings
from dlq.topics import Progress, dump, untold
from schemas.choreography import topics
from schemas.kafka.record import KafkaRecord, record_of

_BEFORE: Final = timedelta(days=1)
"""A checkout is over in minutes, and events of different topics may carry different clocks' times."""

_TEXT_CHARS: Final = 200


@dataclass(frozen=True, slots=True, kw_only=True)
class Said:
    """One event. at: when it happened, UTC; event_type: without prefix; is_letter: it is the dead letter's original."""

    at: datetime
    event_type: str
    place: tuple[str, int, int]
    event_id: str
    source: str
    is_letter: bool


def timeline(settings: DlqSettings, letter: DeadLetter, *, progress: Progress = untold) -> list[Said]:
    """The events with the letter's key, in the order of their times; none for a letter without a key.

    Reads the event topics from the original's time minus a day on, and decodes nothing. Raises KafkaException.
    """
    if not letter.key:
        return []
    prefix = settings.topic_prefix
    names = [prefix + topic for topic in topics()]
    unpack = settings.unpack_outbox_headers
    found = []
    for message in dump(settings.kafka, names, _earlier(letter.original_at), progress, lambda *_: None):
        # most are of other checkouts: their headers need not be looked at
        if message.key() == letter.key:
            found.append(_said(record_of(message, unpack=unpack), letter))
    return sorted(found, key=lambda event: (event.at, event.place))


def _earlier(at: datetime) -> datetime | None:
    """None, which is from the beginning, for a time before which there is no day."""
    try:
        return at - _BEFORE
    except OverflowError:
        return None


def _said(record: KafkaRecord, letter: DeadLetter) -> Said:
    said = {name: (value or b"").decode("utf-8", "replace") for name, value in record.headers}
    return Said(
        at=instant(said.get("ce_time", "")) or record.timestamp,
        event_type=record.topic.removeprefix(letter.topic_prefix),
        place=record.place,
        event_id=said.get("ce_id", "")[:_TEXT_CHARS],
        source=said.get("ce_source", "").removeprefix("/")[:_TEXT_CHARS],
        is_letter=record.place == _original(letter),
    )


def _original(letter: DeadLetter) -> tuple[str, int, int]:
    partition, offset = (whole_number(letter.info[f"dlq-original-{name}"], -1) for name in ("partition", "offset"))
    return letter.info["dlq-original-topic"], partition, offset
