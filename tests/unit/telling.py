"""Timelines for the observer's tests: what was said, a second apart."""

from dataclasses import replace
from typing import Final

from schemas.events import CheckoutCompleted, Event, ReleasedLine, WarehouseReleased
from services.observer.rules import Limits
from services.observer.steps import deadlines
from services.observer.timeline import Said, Timeline, add, facts_of
from tests.unit import making as m

SECOND: Final = 1_000_000
BEGAN_US: Final = 1_700_000_000 * SECOND
COMPLETED: Final = CheckoutCompleted(
    checkout_id=m.ID, order_id=m.ORDER, customer_id="cust-1", currency="EUR", total_minor=m.TOTAL
)
CAPTURED: Final = (
    m.REQUESTED,
    m.ACCEPTED,
    m.RESERVED,
    m.AUTHORIZED,
    m.CONFIRMED,
    m.COMMITTED,
    m.CAPTURED,
    COMPLETED,
)
REFUSED: Final = (m.REQUESTED, m.NEVER_ACCEPTED)
LIMITS: Final = Limits(grace_us=10 * SECOND, deadlines_us=deadlines(60, {"capture": 600}), stuck_us=900 * SECOND)


def back(**units: int) -> WarehouseReleased:
    """The warehouse's answer with these units."""
    return replace(m.RELEASED, lines=tuple(ReleasedLine(sku=sku, quantity=count) for sku, count in units.items()))


COMPENSATED: Final = (m.REQUESTED, m.ACCEPTED, m.RESERVED, m.DECLINED, m.FAILED, back(cup=2, pot=1), m.VOIDED)


def said(event: Event, after_s: int = 0, number: int = 0) -> Said:
    """An event of the checkout, so many seconds after its beginning."""
    return Said(event.TYPE, f"{event.TYPE}-{number}", BEGAN_US + after_s * SECOND, 1, number, "", facts_of(event))


def told(*events: Event) -> Timeline:
    """The timeline of events said a second apart."""
    timeline = Timeline(m.ID)
    for number, event in enumerate(events):
        timeline = add(timeline, said(event, number, number))
    return timeline
