"""The ledger of dead letters: one compacted Kafka topic with the state of each, readable by anyone.

Key `<service>/<letter id>`, value JSON. A letter without an entry is open. Commands write `replaying`, `discarded`,
`superseded` and `open` (restored); what a replay led to is written by the service that handled it, in the transaction
that handled it: `resolved` means handled, not sent.
"""

import json
from dataclasses import asdict, dataclass
from datetime import datetime
from enum import StrEnum
from typing import Final

from schemas.envelope import rfc3339

_ENCODING: Final = "utf-8"


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
        return json.dumps(asdict(self), separators=(",", ":"), ensure_ascii=False).encode(_ENCODING)


def entry_from(value: bytes) -> Entry:
    """The entry in a record's value; fields of a newer version are dropped. Raises ValueError, KeyError, TypeError."""
    fields = json.loads(value.decode(_ENCODING))
    known = {name: fields[name] for name in Entry.__dataclass_fields__ if name in fields}
    return Entry(**known | {"state": State(fields["state"])})


def moment(at: datetime) -> str:
    """An instant as entries have it."""
    return rfc3339(at)
