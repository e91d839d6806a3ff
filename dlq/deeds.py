"""What people do to dead letters, as it is written to `dlq.audit`: who, when, what and why."""

import json
from dataclasses import asdict, dataclass, field
from datetime import datetime
from enum import StrEnum
from typing import Any

from dlq.desk import Out
from dlq.ledger import moment
from dlq.trail import fields_in
from schemas.choreography import DLQ_AUDIT_TOPIC


class Action(StrEnum):
    """What somebody did. A closed list."""

    REPLAY_STARTED = "replay_started"
    REPLAY_ENDED = "replay_ended"
    REPLAY_CANCELLED = "replay_cancelled"
    DISCARDED = "discarded"
    RESTORED = "restored"
    EDITED = "edited"
    IMPORTED = "imported"
    SET_ASIDE = "set_aside"
    FORGOTTEN = "forgotten"


@dataclass(frozen=True, slots=True, kw_only=True)
class Deed:
    """One line of the audit. at: RFC 3339, UTC. letters: how many it is about. detail: JSON-ready."""

    at: str
    by: str
    action: str
    why: str = ""
    letters: int = 1
    replay_id: str = ""
    detail: dict[str, Any] = field(default_factory=dict)

    def record(self, key: str) -> Out:
        """The line, to be written. key: `<service>/<letter id>`, or the job's id."""
        value = json.dumps(asdict(self), separators=(",", ":"), ensure_ascii=False)
        # a command line may hold bytes that are no text
        return Out(DLQ_AUDIT_TOPIC, key.encode("utf-8", "replace"), value.encode("utf-8", "replace"))


@dataclass(frozen=True, slots=True, kw_only=True)
class Author:
    """Who does something, when and why."""

    by: str
    at: datetime
    why: str = ""

    def deed(self, action: Action, **more: Any) -> Deed:
        """A line of the audit in their name."""
        return Deed(at=moment(self.at), by=self.by, action=action.value, **{"why": self.why} | more)


def deed_from(value: bytes | None) -> Deed | None:
    """The deed in a record's value; None where there is none. Unknown fields are dropped. Raises nothing."""
    fields = fields_in(value)
    if fields is None or not {"at", "by", "action"} <= fields.keys():
        return None
    if type(fields.get("letters", 1)) is not int:
        fields["letters"] = 1
    return Deed(**{name: fields[name] for name in Deed.__dataclass_fields__ if name in fields})
