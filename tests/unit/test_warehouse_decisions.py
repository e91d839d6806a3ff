"""What the warehouse decides, and where the units are after it."""

from collections.abc import Mapping
from dataclasses import replace
from datetime import datetime, timedelta
from typing import Any, Final

import pytest

from schemas.decision import Decision, UnsafeError
from schemas.events import Event, Line, ReleasedLine, WarehouseReleased
from services.warehouse.decisions import (
    Reservation,
    ReservationExpired,
    Shelf,
    Status,
    Stock,
    giving_up,
    handlers,
    place_of,
    stock_moves,
)

from . import making as a

HOLD: Final = timedelta(minutes=30)
EXPIRED: Final = ReservationExpired(checkout_id=a.ID)
UNITS: Final = {"cup": 2, "pot": 1}
HOLDING: Final = (Status.RESERVED, Status.CONFIRM_FAILED, Status.COMMITTED)


def stock(cup: int = 10, pot: int = 10, **changes: Any) -> dict[str, Stock]:
    return {
        "cup": Stock(sku="cup", on_hand=cup, reserved=0, committed=0, **changes),
        "pot": Stock(sku="pot", on_hand=pot, reserved=0, committed=0),
    }


def reservation(status: Status | None) -> Reservation | None:
    if status is None:
        return None
    units = {} if status in (Status.REJECTED, Status.CLOSED) else UNITS
    return Reservation(checkout_id=a.ID, status=status, units=units, expires_at=a.LATER if units else None)


def decide(
    known: Reservation | None, event: Event, at: datetime = a.AT, on: Mapping[str, Stock] | None = None
) -> Decision[Any]:
    return handlers(HOLD)[event.TYPE](Shelf(reservation=known, stock=stock() if on is None else on), event, at)


def give_up(known: Reservation | None, event: Event, code: str = "INTERNAL_ERROR") -> Decision[Any]:
    return giving_up()[event.TYPE](Shelf(reservation=known, stock=stock()), event, a.LATER, code)


def test_every_line_is_set_aside_for_the_time_to_live() -> None:
    decision = decide(None, a.ACCEPTED)
    assert decision.state == Reservation(checkout_id=a.ID, status=Status.RESERVED, units=UNITS, expires_at=a.AT + HOLD)
    assert decision.events == (replace(a.RESERVED, expires_at=a.AT + HOLD),)


@pytest.mark.parametrize(
    ("cup", "pot", "missing"),
    [(2, 1, None), (1, 1, "cup"), (2, 0, "pot"), (0, 0, "cup")],
    ids=["just enough", "too few cups", "no pot", "nothing"],
)
def test_all_lines_are_set_aside_or_none(cup: int, pot: int, missing: str | None) -> None:
    decision = decide(None, a.ACCEPTED, on=stock(cup, pot))
    if missing is None:
        assert (a.status(decision), decision.state.units) == ("reserved", UNITS)
    else:
        assert (a.status(decision), decision.state.units) == ("rejected", {})
        assert decision.events == (replace(a.REJECTED, code="OUT_OF_STOCK", sku=missing),)


def test_a_product_that_is_not_kept_is_told_by_name() -> None:
    decision = decide(None, a.ACCEPTED, on={"cup": stock()["cup"]})
    assert decision.events == (replace(a.REJECTED, code="UNKNOWN_SKU", sku="pot"),)


@pytest.mark.parametrize(("on_hand", "then"), [(5, "reserved"), (4, "rejected")])
def test_lines_of_one_product_count_together(on_hand: int, then: str) -> None:
    line = Line(sku="cup", quantity=2, unit_price_minor=1)
    asked = replace(a.ACCEPTED, lines=(line, replace(line, quantity=3, unit_price_minor=2)), total_minor=8)
    assert a.status(decide(None, asked, on=stock(cup=on_hand))) == then


def test_stock_on_hold_may_be_promised() -> None:
    assert a.status(decide(None, a.ACCEPTED, on=stock(on_hold=True))) == "reserved"


# event, state met, the state then, what is said
CASES: Final[list[tuple[Event, Status | None, str, list[str]]]] = [
    (a.CONFIRMED, Status.RESERVED, "committed", ["warehouse.confirmed"]),
    (a.CONFIRMED, Status.LAPSED, "lapsed", ["warehouse.confirm_failed"]),
    (a.FAILED, None, "closed", ["warehouse.released"]),
    (a.FAILED, Status.RESERVED, "released", ["warehouse.released"]),
    (a.FAILED, Status.REJECTED, "closed", ["warehouse.released"]),
    (a.FAILED, Status.CONFIRM_FAILED, "released", ["warehouse.released"]),
    (a.FAILED, Status.COMMITTED, "released", ["warehouse.released"]),
    (a.FAILED, Status.LAPSED, "closed", ["warehouse.released"]),
    (EXPIRED, Status.RESERVED, "lapsed", ["warehouse.released"]),
]


@pytest.mark.parametrize(
    ("event", "met", "then", "said"), CASES, ids=[f"{c[0].TYPE} in {c[1] or 'none'}" for c in CASES]
)
def test_a_reservation_goes_on(event: Event, met: Status | None, then: str, said: list[str]) -> None:
    decision = decide(reservation(met), event, a.LATER)
    assert (a.status(decision), a.told(decision), decision.call, decision.refusal) == (then, said, None, None)


IGNORED: Final[list[tuple[Event, Status]]] = [
    *((a.ACCEPTED, status) for status in Status),
    *((a.CONFIRMED, s) for s in Status if s not in (Status.RESERVED, Status.LAPSED)),
    *((a.FAILED, s) for s in (Status.RELEASED, Status.CLOSED)),
    *((EXPIRED, s) for s in Status if s is not Status.RESERVED),
    *((a.NEVER_ACCEPTED, s) for s in Status),
]


@pytest.mark.parametrize(
    ("event", "met"),
    IGNORED,
    ids=[f"{c[0].TYPE}{'' if getattr(c[0], 'accepted', True) else ' unaccepted'} in {c[1]}" for c in IGNORED],
)
def test_what_comes_too_late_or_again_changes_nothing(event: Event, met: Status) -> None:
    known = reservation(met)
    decision = decide(known, event, a.LATER)
    assert a.changes_nothing(decision, known)
    assert (decision.refusal, decision.early) == (None, None)
    tells = event in (a.ACCEPTED, a.CONFIRMED) and met not in (Status.RESERVED, Status.COMMITTED)
    assert decision.late == (f"the reservation is {met} already" if tells else None)


@pytest.mark.parametrize("event", [a.NEVER_ACCEPTED, EXPIRED], ids=lambda event: event.TYPE)
def test_what_was_never_reserved_is_left_alone(event: Event) -> None:
    assert decide(None, event) == Decision(None)


def test_a_confirmation_of_nothing_waits_for_its_reservation() -> None:
    decision = decide(None, a.CONFIRMED)
    assert (decision.state, decision.events, decision.refusal) == (None, (), None)
    assert decision.early == "no reservation was ever made for this checkout"
    assert a.told(decide(decide(None, a.ACCEPTED).state, a.CONFIRMED)) == ["warehouse.confirmed"]


def test_stock_on_hold_is_not_committed_and_stays_set_aside_until_checkout_failed() -> None:
    decision = decide(reservation(Status.RESERVED), a.CONFIRMED, on=stock(on_hold=True))
    assert (a.status(decision), decision.state.units) == ("confirm_failed", UNITS)
    assert decision.events == (replace(a.CONFIRM_FAILED, sku="cup"),)
    assert stock_moves(reservation(Status.RESERVED), decision.state) == []


def test_a_lapsed_reservation_is_not_committed() -> None:
    (event,) = decide(reservation(Status.LAPSED), a.CONFIRMED).events
    assert event == replace(a.CONFIRM_FAILED, code="RESERVATION_LAPSED", sku=None)


def test_what_is_still_held_may_be_committed_after_its_time() -> None:
    assert a.status(decide(reservation(Status.RESERVED), a.CONFIRMED, a.LATER + timedelta(days=1))) == "committed"


@pytest.mark.parametrize(("early_s", "then"), [(1, "reserved"), (0, "lapsed"), (-1, "lapsed")])
def test_the_time_to_live_counts_to_its_very_instant(early_s: int, then: str) -> None:
    decision = decide(reservation(Status.RESERVED), EXPIRED, a.LATER - timedelta(seconds=early_s))
    assert a.status(decision) == then


@pytest.mark.parametrize(
    ("met", "event", "outcome"),
    [
        (Status.RESERVED, EXPIRED, "lapsed"),
        *((met, a.FAILED, "released") for met in HOLDING),
        *((met, a.FAILED, "nothing") for met in (None, Status.REJECTED, Status.LAPSED)),
    ],
)
def test_a_release_names_what_went_back(met: Status | None, event: Event, outcome: str) -> None:
    (released,) = decide(reservation(met), event, a.LATER).events
    lines = tuple(ReleasedLine(sku=sku, quantity=units) for sku, units in UNITS.items())
    assert released == WarehouseReleased(checkout_id=a.ID, outcome=outcome, lines=() if outcome == "nothing" else lines)


@pytest.mark.parametrize("met", [None, *Status], ids=lambda met: met or "none")
def test_checkout_failed_is_answered_exactly_once_and_closes_the_door(met: Status | None) -> None:
    first = decide(reservation(met), a.FAILED)
    assert len(first.events) == (0 if met in (Status.RELEASED, Status.CLOSED) else 1)
    for late in (a.FAILED, a.ACCEPTED, a.CONFIRMED, EXPIRED):
        assert a.changes_nothing(decide(first.state, late, a.LATER), first.state)


PLACES: Final = {
    None: "on_hand",
    Status.RESERVED: "reserved",
    Status.REJECTED: "on_hand",
    Status.CONFIRM_FAILED: "reserved",
    Status.COMMITTED: "committed",
    Status.LAPSED: "on_hand",
    Status.RELEASED: "on_hand",
    Status.CLOSED: "on_hand",
}


@pytest.mark.parametrize(("met", "place"), PLACES.items(), ids=lambda value: value or "none")
def test_units_lie_where_the_reservation_says(met: Status | None, place: str) -> None:
    assert place_of(reservation(met)) == place


@pytest.mark.parametrize(
    ("old", "new", "move"),
    [
        (None, Status.RESERVED, ("on_hand", "reserved")),
        (Status.RESERVED, Status.COMMITTED, ("reserved", "committed")),
        (Status.RESERVED, Status.CONFIRM_FAILED, None),
        (Status.RESERVED, Status.LAPSED, ("reserved", "on_hand")),
        (Status.RESERVED, Status.RELEASED, ("reserved", "on_hand")),
        (Status.CONFIRM_FAILED, Status.RELEASED, ("reserved", "on_hand")),
        (Status.COMMITTED, Status.RELEASED, ("committed", "on_hand")),
        (None, Status.CLOSED, None),
        (Status.LAPSED, Status.CLOSED, None),
        (Status.RESERVED, Status.RESERVED, None),
    ],
)
def test_units_move_with_the_reservation(old: Status | None, new: Status, move: tuple[str, str] | None) -> None:
    moves = stock_moves(reservation(old), reservation(new))
    assert moves == ([] if move is None else [(sku, *move, units) for sku, units in UNITS.items()])


def test_no_reservation_moves_nothing() -> None:
    assert stock_moves(None, None) == []


def test_a_reservation_that_can_not_be_made_is_announced_as_rejected() -> None:
    decision = give_up(None, a.ACCEPTED)
    assert (a.status(decision), decision.state.units) == ("rejected", {})
    assert decision.events == (replace(a.REJECTED, code="INTERNAL_ERROR", sku=None),)
    released = decide(decision.state, a.FAILED)
    assert (a.status(released), a.told(released)) == ("closed", ["warehouse.released"])
    assert decide(released.state, a.ACCEPTED).late == "the reservation is closed already"


def test_a_commitment_that_can_not_be_made_is_announced_and_the_units_stay_set_aside() -> None:
    decision = give_up(reservation(Status.RESERVED), a.CONFIRMED)
    assert (a.status(decision), decision.state.units) == ("confirm_failed", UNITS)
    assert decision.events == (replace(a.CONFIRM_FAILED, code="INTERNAL_ERROR", sku=None),)


def test_a_commitment_of_what_lapsed_that_can_not_be_made_is_announced_too() -> None:
    """Nobody else would ever end the checkout: its money is authorized, so no deadline watches over it."""
    known = reservation(Status.LAPSED)
    decision = give_up(known, a.CONFIRMED)
    assert decision.state is known
    assert decision.events == (replace(a.CONFIRM_FAILED, code="RESERVATION_LAPSED", sku=None),)
    assert decision.note == decide(known, a.CONFIRMED).note == "confirmed after the reservation had lapsed"


@pytest.mark.parametrize("met", list(Status))
def test_what_is_done_or_over_is_not_given_up(met: Status) -> None:
    known = reservation(met)
    assert a.changes_nothing(give_up(known, a.ACCEPTED), known)
    if met not in (Status.RESERVED, Status.LAPSED):
        assert a.changes_nothing(give_up(known, a.CONFIRMED), known)
    assert give_up(None, a.CONFIRMED) == Decision(None)


def test_a_release_is_never_given_up_with_a_word() -> None:
    assert set(giving_up()) == {a.ACCEPTED.TYPE, a.CONFIRMED.TYPE}


# --- acceptances that our checkout service never said -----------------------------------------------------------------


@pytest.mark.parametrize("changes", a.IMPOSSIBLE.values(), ids=a.IMPOSSIBLE)
@pytest.mark.parametrize("met", [None, *Status], ids=lambda met: met or "none")
def test_what_can_not_be_accepted_reserves_nothing_and_goes_to_a_person(
    met: Status | None, changes: dict[str, Any]
) -> None:
    forged = replace(a.ACCEPTED, **changes)
    with pytest.raises(UnsafeError) as raised:
        decide(reservation(met), forged)
    a.assert_readable(raised.value, forged)


@pytest.mark.parametrize("changes", a.IMPOSSIBLE.values(), ids=a.IMPOSSIBLE)
def test_what_can_not_be_accepted_ends_nothing_when_it_is_given_up(changes: dict[str, Any]) -> None:
    assert give_up(None, replace(a.ACCEPTED, **changes)) == Decision(None)


OTHER_LINES: Final = {
    "one more": (replace(a.LINES[0], quantity=3, unit_price_minor=0), a.LINES[1]),
    "one less": (a.LINES[1],),
    "another product": (replace(a.LINES[0], sku="jug"), a.LINES[1]),
}


@pytest.mark.parametrize("lines", OTHER_LINES.values(), ids=OTHER_LINES)
@pytest.mark.parametrize("met", [s for s in Status if s not in (Status.REJECTED, Status.CLOSED)])
def test_a_second_acceptance_with_other_lines_goes_to_a_person(met: Status, lines: tuple[Line, ...]) -> None:
    total = sum(line.quantity * line.unit_price_minor for line in lines)
    with pytest.raises(UnsafeError, match="other products or quantities"):
        decide(reservation(met), replace(a.ACCEPTED, lines=lines, total_minor=total))


def test_a_copy_whose_lines_stand_in_another_order_is_a_copy() -> None:
    known = reservation(Status.RESERVED)
    assert a.changes_nothing(decide(known, replace(a.ACCEPTED, lines=a.LINES[::-1])), known)
