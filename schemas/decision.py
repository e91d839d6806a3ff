"""What a decision returns: values only. The shell publishes, commits and calls; a decision never does."""

from dataclasses import dataclass
from typing import Generic, TypeVar

from schemas.events import Event

S = TypeVar("S")


@dataclass(frozen=True, slots=True)
class Decision(Generic[S]):
    """The outcome of one message for one checkout.

    state: what the service now knows of the checkout (the same object: nothing changed).
    events: what is published, in this order.
    call: a provider call to make before this message is settled; its answer comes back with the same event.
    via: states passed on the way, for the audit trail (`capture_failed` on the way to `failed`).
    note: a remark for the audit trail where the state's name stays the same.
    refusal: why the message is a dead letter; the state stays as it was.
    """

    state: S
    events: tuple[Event, ...] = ()
    call: object | None = None
    via: tuple[str, ...] = ()
    note: str = ""
    refusal: str | None = None
