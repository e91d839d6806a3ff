"""What a decision returns, and what it is told of a provider call: values only.

The shell publishes, commits and calls; a decision never does.
"""

from dataclasses import dataclass
from datetime import datetime
from typing import Any, Generic, TypeVar

from schemas.events import Event

S = TypeVar("S")


@dataclass(frozen=True, slots=True, kw_only=True)
class NotAsked:
    """The provider was not asked this time, its circuit breaker is open. What earlier tries did is another matter."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Unknown:
    """Asked, and nobody knows what happened. attempts: tries that ended so; timed_out: nobody answered in time."""

    attempts: int
    timed_out: bool = False


class UnsafeError(Exception):
    """What was said fits no rule: money may be at stake, so a person has to look. The message is set aside."""


@dataclass(frozen=True, slots=True)
class Decision(Generic[S]):
    """The outcome of one message for one checkout.

    state: what the service now knows of the checkout (the same object: nothing changed).
    events: what is published, in this order.
    call: a provider call to make before this message is settled; its answer comes back with the same event.
    via: states passed on the way, for the audit trail (`capture_failed` on the way to `failed`).
    note: a remark for the audit trail where the state's name stays the same.
    refusal: why the message is a dead letter; the state stays as it was.
    early: which event must be heard first; the message waits for it, and the state stays as it was.
    late: why there is nothing left to do; a message that comes from the dead letters is told so.
    waits: why the provider call has to be made later; the message is tried again, at `until` at the latest.
    """

    state: S
    events: tuple[Event, ...] = ()
    call: Any = None
    via: tuple[str, ...] = ()
    note: str = ""
    refusal: str | None = None
    early: str | None = None
    late: str | None = None
    waits: str | None = None
    until: datetime | None = None
