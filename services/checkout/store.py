"""Loads what a batch of checkout decisions needs, and saves what they changed."""

from collections.abc import Sequence

from sqlalchemy import Connection

from schemas.events import Event
from services.checkout.state import Checkout, DeadlinePassed
from services.checkout.tables import CHECKOUTS
from services.shell.service import DueTimer
from services.shell.states import States

DEADLINE = DueTimer(
    DeadlinePassed,
    "checkouts",
)


class Checkouts:
    """The checkouts of a batch."""

    def __init__(self, states: States[Checkout]) -> None:
        self._states = states

    def view(self, event: Event) -> Checkout | None:
        """What is known of the event's checkout."""
        return self._states.get(event.checkout_id)

    def current(self, checkout_id: str) -> Checkout | None:
        """The state of a checkout."""
        return self._states.get(checkout_id)

    def keep(self, state: Checkout) -> None:
        """The new state of a checkout."""
        self._states.put(state)

    def save(self, db: Connection) -> None:
        """Write what changed: one statement."""
        self._states.save(db)


def load(db: Connection, events: Sequence[Event]) -> Checkouts:
    """The checkouts that `events` are about: one statement."""
    return Checkouts(CHECKOUTS.load(db, (event.checkout_id for event in events)))
