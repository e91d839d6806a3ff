"""The ledger of dead letters: one compacted Kafka topic with the state of each, readable by anyone.

Key `<service>/<letter id>`, value JSON. A letter without an entry is open. Commands write `replaying`, `discarded`,
`superseded` and `open` (restored); what a replay led to is written by the service that handled it, in the transaction
that handled it: `resolved` means handled, not sent.
"""

import json
from dataclasses import asdict, dataclass
from datetime import datetime
from enum import StrEnum
from typing import Any, Final

from schemas import strict_json
from schemas.envelope import rfc3339

_MAX_BYTES: Final = 256 * 1024
_TEXT_CHARS: Final = 4000
_MOST_REPLAYS: Final = 2**31


class State(StrEnum):
    """Where a dead letter is. A closed list."""

    OPEN = "open"
    REPLAYING = "replaying"
    RESOLVED = "resolved"
    FAILED_AGAIN = "failed_again"
    TOO_LATE = "too_late"
    DISCARDED = "discarded"
    SUPERSEDED = "superseded"


@dataclass(frozen=True, slots=True, kw_only=True)
class Entry:
    """One entry: the newest one of a letter is its state.

    letter: the header dlq-id. at: RFC 3339, UTC. by: who wrote it, a person or a service. why: a sentence.
    replay_id, replay_count: of the newest replay. outcome: what the service made of it (handled, duplicate, too_late,
    failed_again). edited_to: the letter that supersedes this one.
    """

    service: str
    letter: str
    state: State
    at: str
    by: str
    why: str = ""
    replay_id: str = ""
    replay_count: int = 0
    outcome: str = ""
    fingerprint: str = ""
    edited_to: str = ""

    @property
    def key(self) -> str:
        """The record's key."""
        return f"{self.service}/{self.letter}"

    def value(self) -> bytes:
        """The record's value."""
        # a command line may hold bytes that are no text
        return json.dumps(asdict(self), separators=(",", ":"), ensure_ascii=False).encode("utf-8", "replace")


def entry_of_record(key: bytes | None, value: bytes) -> Entry:
    """The entry of the letter that a record's key names. Raises ValueError, also where it is about another letter."""
    entry = entry_from(value)
    if key != entry.key.encode("utf-8", "replace"):
        raise ValueError("the entry is about another letter than its key")
    return entry


def entry_from(value: bytes) -> Entry:
    """The entry in a record's value; newer fields are dropped, endless texts cut. Raises ValueError."""
    fields = strict_json.loads(value, max_bytes=_MAX_BYTES)
    if not isinstance(fields, dict):
        raise ValueError("no JSON object")  # noqa: TRY004 - what comes from outside is a wrong value
    if missing := {"service", "letter", "state", "at", "by"} - fields.keys():
        raise ValueError(f"without {', '.join(sorted(missing))}")
    known = {name: _checked(name, fields[name]) for name in Entry.__dataclass_fields__ if name in fields}
    return Entry(**known | {"state": State(known["state"])})


def _checked(name: str, found: Any) -> Any:
    """Raises ValueError for a value of another type than the field's."""
    if name == "replay_count":
        if type(found) is not int or not 0 <= found < _MOST_REPLAYS:
            raise ValueError(f"{name} is no count")
        return found
    if not isinstance(found, str):
        raise ValueError(f"{name} is no text")  # noqa: TRY004
    return found[:_TEXT_CHARS]


def moment(at: datetime) -> str:
    """An instant as entries have it."""
    return rfc3339(at)
