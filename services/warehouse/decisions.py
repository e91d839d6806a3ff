"""What the warehouse decides: (reservation and stock, what it hears, when) -> the reservation then, what it says.

Pure. Stock follows from the reservation: `stock_moves` tells which units change places when a reservation does.
"""

from collections import Counter
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field, replace
from datetime import datetime, timedelta
from enum import StrEnum
from typing import ClassVar, Final

from schemas.decision import Decision, UnsafeError
from schemas.events import (
    CheckoutAccepted,
    CheckoutConfirmed,
    CheckoutFailed,
    Event,
    ReleasedLine,
    WarehouseConfirmed,
    WarehouseConfirmFailed,
    WarehouseRejected,
    WarehouseReleased,
    WarehouseReserved,
)
from schemas.failures import Code
from schemas.limits import accepted_fault


class Status(StrEnum):
    """The states of a reservation. `closed` holds nothing: the checkout failed before or without a reservation."""

    RESERVED = "reserved"
    REJECTED = "rejected"
    CONFIRM_FAILED = "confirm_failed"
    COMMITTED = "committed"
    LAPSED = "lapsed"
    RELEASED = "released"
    CLOSED = "closed"


@dataclass(frozen=True, slots=True, kw_only=True)
class Reservation:
    """What is set aside for one checkout: sku -> units."""

    checkout_id: str
    status: Status
    units: Mapping[str, int] = field(default_factory=dict)
    expires_at: datetime | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class Stock:
    """Units of one product by place. Their sum only changes when goods arrive.

    on_hold: a quality hold; units may be promised, but not committed.
    """

    sku: str
    on_hand: int
    reserved: int
    committed: int
    on_hold: bool = False


@dataclass(frozen=True, slots=True, kw_only=True)
class Shelf:
    """What a decision sees: this checkout's reservation and the stock of the products it is about."""

    reservation: Reservation | None
    stock: Mapping[str, Stock]


@dataclass(frozen=True, slots=True, kw_only=True)
class ReservationExpired(Event):
    """The warehouse's own timer: the reservation's time to live has passed."""

    TYPE: ClassVar[str] = "timer.reservation_lapsed"


Outcome = Decision[Reservation | None]

_PLACE: Final = {
    Status.RESERVED: "reserved",
    Status.CONFIRM_FAILED: "reserved",
    Status.COMMITTED: "committed",
}


def place_of(reservation: Reservation | None) -> str:
    """Where the units of a reservation are: on_hand, reserved or committed."""
    return "on_hand" if reservation is None else _PLACE.get(reservation.status, "on_hand")


def stock_moves(old: Reservation | None, new: Reservation | None) -> list[tuple[str, str, str, int]]:
    """(sku, from place, to place, units) for each product whose units change places with the reservation."""
    source, target = place_of(old), place_of(new)
    if new is None or source == target:
        return []
    return [(sku, source, target, units) for sku, units in new.units.items()]


def on_checkout_accepted(shelf: Shelf, event: CheckoutAccepted, at: datetime, *, hold_for: timedelta) -> Outcome:
    """Set every line aside, or none. After checkout.failed the door is closed."""
    units = _units(event)
    fault = accepted_fault(event) or _conflict(shelf.reservation, units)
    if fault:
        raise UnsafeError(f"{event.TYPE}: {fault}")
    if shelf.reservation is not None:
        return _nothing_to_do(shelf.reservation)
    missing = _missing(shelf.stock, units)
    if missing is not None:
        code, sku = missing
        rejected = Reservation(checkout_id=event.checkout_id, status=Status.REJECTED)
        return Decision(rejected, (WarehouseRejected(checkout_id=event.checkout_id, code=code, sku=sku),))
    reserved = Reservation(
        checkout_id=event.checkout_id, status=Status.RESERVED, units=dict(units), expires_at=at + hold_for
    )
    return Decision(reserved, (WarehouseReserved(checkout_id=event.checkout_id, expires_at=at + hold_for),))


def on_checkout_confirmed(shelf: Shelf, event: CheckoutConfirmed, _at: datetime) -> Outcome:
    """Commit what is reserved. As long as the units are still held they are the customer's, lapsed or not."""
    known = shelf.reservation
    if known is None:
        return Decision(None, early="no reservation was ever made for this checkout")
    if known.status is Status.LAPSED:
        return _confirmed_too_late(known)
    if known.status is not Status.RESERVED:
        return _nothing_to_do(known)
    held = next((sku for sku in sorted(known.units) if shelf.stock[sku].on_hold), None)
    if held is not None:
        return _confirm_failed(replace(known, status=Status.CONFIRM_FAILED), Code.STOCK_ON_HOLD, held)
    committed = replace(known, status=Status.COMMITTED)
    return Decision(committed, (WarehouseConfirmed(checkout_id=event.checkout_id),))


def on_checkout_failed(shelf: Shelf, event: CheckoutFailed, _at: datetime) -> Outcome:
    """Put back what is held and answer exactly once, also when it is nothing; close the door for late events."""
    known = shelf.reservation
    if not event.accepted or (known is not None and known.status in (Status.RELEASED, Status.CLOSED)):
        return Decision(known)
    if place_of(known) == "on_hand" or known is None:
        closed = Reservation(checkout_id=event.checkout_id, status=Status.CLOSED)
        return Decision(closed, (WarehouseReleased(checkout_id=event.checkout_id, outcome="nothing"),))
    return Decision(replace(known, status=Status.RELEASED), (_released(known, "released"),))


def on_reservation_expired(shelf: Shelf, _event: ReservationExpired, at: datetime) -> Outcome:
    """Put back what was never confirmed in time."""
    known = shelf.reservation
    if known is None or known.status is not Status.RESERVED or known.expires_at is None or known.expires_at > at:
        return Decision(known)
    return Decision(replace(known, status=Status.LAPSED), (_released(known, "lapsed"),))


def handlers(hold_for: timedelta) -> dict[str, Callable[..., Outcome]]:
    """Event type -> decision. hold_for: a reservation's time to live until it is confirmed."""

    def accepted(shelf: Shelf, event: CheckoutAccepted, at: datetime) -> Outcome:
        return on_checkout_accepted(shelf, event, at, hold_for=hold_for)

    return {
        CheckoutAccepted.TYPE: accepted,
        CheckoutConfirmed.TYPE: on_checkout_confirmed,
        CheckoutFailed.TYPE: on_checkout_failed,
        ReservationExpired.TYPE: on_reservation_expired,
    }


def give_up_reserving(shelf: Shelf, event: Event, _at: datetime, code: str) -> Outcome:
    """Stock can't be reserved, however often it is tried: the checkout has to fail, and says so to everybody."""
    if shelf.reservation is not None:
        return _nothing_to_do(shelf.reservation)
    if isinstance(event, CheckoutAccepted) and accepted_fault(event):
        # what can't be reserved ends no checkout
        return Decision(None)
    rejected = Reservation(checkout_id=event.checkout_id, status=Status.REJECTED)
    return Decision(rejected, (WarehouseRejected(checkout_id=event.checkout_id, code=code),))


def give_up_committing(shelf: Shelf, event: Event, _at: datetime, code: str) -> Outcome:
    """What is reserved can't be committed, however often it is tried: the checkout has to fail."""
    known = shelf.reservation
    if known is not None and known.status is Status.LAPSED:
        return _confirmed_too_late(known)
    if known is None or known.status is not Status.RESERVED:
        return _nothing_to_do(known)
    return _confirm_failed(replace(known, status=Status.CONFIRM_FAILED), code, None)


def giving_up() -> dict[str, Callable[..., Outcome]]:
    """Event type -> what is announced when its retries are exhausted. A release is never given up quietly."""
    return {CheckoutAccepted.TYPE: give_up_reserving, CheckoutConfirmed.TYPE: give_up_committing}


def _units(event: CheckoutAccepted) -> Counter[str]:
    units = Counter[str]()
    for line in event.lines:
        units[line.sku] += line.quantity
    return units


def _conflict(known: Reservation | None, units: Mapping[str, int]) -> str | None:
    """Whether another acceptance of the same checkout asks for other units; a copy asks for the same."""
    # what failed first or was not there has no units
    other = known is not None and known.units and dict(known.units) != dict(units)
    return "other products or quantities than were accepted before" if other else None


def _nothing_to_do(known: Reservation | None) -> Outcome:
    over = known is not None and known.status not in (Status.RESERVED, Status.COMMITTED)
    return Decision(known, late=f"the reservation is {known.status} already" if known and over else None)


def _missing(stock: Mapping[str, Stock], units: Mapping[str, int]) -> tuple[Code, str] | None:
    for sku in sorted(units):
        if sku not in stock:
            return Code.UNKNOWN_SKU, sku
        if stock[sku].on_hand < units[sku]:
            return Code.OUT_OF_STOCK, sku
    return None


def _confirm_failed(reservation: Reservation, code: str, sku: str | None) -> Outcome:
    return Decision(reservation, (WarehouseConfirmFailed(checkout_id=reservation.checkout_id, code=code, sku=sku),))


def _confirmed_too_late(lapsed: Reservation) -> Outcome:
    refused = _confirm_failed(lapsed, Code.RESERVATION_LAPSED, None)
    return replace(refused, note="confirmed after the reservation had lapsed")


def _released(reservation: Reservation, outcome: str) -> WarehouseReleased:
    lines = tuple(ReleasedLine(sku=sku, quantity=units) for sku, units in sorted(reservation.units.items()))
    return WarehouseReleased(checkout_id=reservation.checkout_id, outcome=outcome, lines=lines)
