"""Who did what to which dead letters, and why, as `dlq.audit` has it. Append-only; here it is only read."""

import json
from collections.abc import Iterator
from dataclasses import dataclass
from datetime import datetime
from typing import Any, Final

from dlq.letters import DeadLetter, Warn, unheard
from dlq.messages import instant
from dlq.reading import Unpackable
from dlq.settings import DlqSettings
from dlq.topics import Progress, check_topics, dump, untold
from schemas import strict_json
from schemas.choreography import DLQ_AUDIT_TOPIC
from schemas.kafka.record import KafkaRecord, record_of

_MOST_LETTERS: Final = 2**31
_TEXTS: Final = ("at", "by", "action", "why", "replay_id")


@dataclass(frozen=True, slots=True, kw_only=True)
class Line:
    """One act. key: `<service>/<letter id>`, or the id of a job. fields: what was written, as it was written."""

    at: datetime
    key: str
    fields: dict[str, Any]

    def text(self, name: str) -> str:
        """One of the fields for people; "" where it says nothing."""
        value = self.fields.get(name)
        if value is None:
            return ""
        return value if isinstance(value, str) else json.dumps(value, ensure_ascii=False)

    def as_json(self) -> dict[str, Any]:
        """For `--json`."""
        return {"key": self.key, **self.fields, "at": self.at}


def read_trail(
    settings: DlqSettings, since: datetime | None = None, *, progress: Progress = untold, warn: Warn = unheard
) -> list[Line]:
    """The lines of the audit in the order of their times. since: none older. Raises KafkaException, NoTopicError."""
    topic = settings.topic_prefix + DLQ_AUDIT_TOPIC
    check_topics(settings.kafka, [topic])
    lines, unreadable = [], 0
    bad = Unpackable()
    for message in dump(settings.kafka, [topic], since, progress, bad):
        line = line_in(record_of(message))
        if line is None:
            unreadable += 1
        else:
            lines.append(line)
    bad.tell(warn)
    if unreadable:
        warn(f"{unreadable} records of {DLQ_AUDIT_TOPIC} can't be read and were left out")
    return sorted(lines, key=lambda line: line.at)


def line_in(record: KafkaRecord) -> Line | None:
    """The line in a record; None for what is none. Raises nothing."""
    fields = fields_in(record.value)
    if fields is None:
        return None
    key = (record.key or b"").decode("utf-8", "replace")
    return Line(at=instant(fields.get("at", "")) or record.timestamp, key=key, fields=fields)


def fields_in(value: bytes | None) -> dict[str, Any] | None:
    """The fields of a line of the audit, each of its type; None for anything else. Raises nothing."""
    try:
        found = strict_json.loads(value or b"")
    except ValueError:
        return None
    sound = (
        isinstance(found, dict)
        and all(isinstance(found.get(name, ""), str) for name in _TEXTS)
        and isinstance(found.get("detail", {}), dict)
        and _counts(found.get("letters", 1))
    )
    return found if sound else None


def _counts(letters: Any) -> bool:
    """How many letters a line is about, or which."""
    if isinstance(letters, list):
        return all(isinstance(each, str) for each in letters)
    return isinstance(letters, str) or (type(letters) is int and 0 <= letters < _MOST_LETTERS)


def about(lines: list[Line], letter: DeadLetter) -> Iterator[Line]:
    """The lines that concern a letter: its own, and those of the job that replayed it."""
    replay_id = letter.entry.replay_id if letter.entry else letter.info["dlq-replay-id"]
    for line in lines:
        named = line.fields.get("letters")
        if (
            line.key == letter.ledger_key
            or (isinstance(named, str) and named == letter.id)
            or (isinstance(named, list) and letter.id in named)
            or (replay_id and replay_id in (line.key, line.fields.get("replay_id")))
        ):
            yield line
