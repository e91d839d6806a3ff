"""Where in its checkout a dead letter stands: what was said of that checkout on every event topic."""

from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Final

from dlq.letters import DeadLetter
from dlq.messages import headers_of, instant, raw, time_of
from dlq.settings import DlqSettings
from dlq.topics import Progress, dump, untold
from schemas.choreography import topics

_BEFORE: Final = timedelta(days=1)
"""A checkout is over in minutes, and events of different topics may carry different clocks' times."""


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
    messages = dump(settings.kafka, names, letter.original_at - _BEFORE, progress)
    found = []
    for message in messages:
        if raw(message.key()) != letter.key:
            continue
        place = (str(message.topic()), int(message.partition() or 0), int(message.offset() or 0))
        said = {name: (value or b"").decode("utf-8", "replace") for name, value in headers_of(message)}
        found.append(
            Said(
                at=instant(said.get("ce_time", "")) or time_of(message),
                event_type=place[0].removeprefix(prefix),
                place=place,
                event_id=said.get("ce_id", ""),
                source=said.get("ce_source", "").removeprefix("/"),
                is_letter=place == _original(letter),
            )
        )
    return sorted(found, key=lambda event: (event.at, event.place))


def _original(letter: DeadLetter) -> tuple[str, int, int] | None:
    try:
        partition, offset = (int(letter.info[f"dlq-original-{name}"]) for name in ("partition", "offset"))
    except ValueError:
        return None
    return letter.info["dlq-original-topic"], partition, offset
