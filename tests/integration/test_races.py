"""Pairs of events that race each other, in both orders and at once: one service alone, the tests play the others."""

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from itertools import permutations
from pathlib import Path
from typing import Any, Final
from uuid import uuid4

import pytest

from compose.setting_up import CUSTOMERS
from schemas import events as ev
from schemas.choreography import may_publish
from tests.servers import TestServers
from tests.system import System, wait_for

Make = Callable[[str], ev.Event]
LATER: Final = datetime.now(UTC) + timedelta(hours=1)
TOTAL: Final = 2500
LINES: Final = (ev.Line(sku="sku-1", quantity=2, unit_price_minor=1250),)
FORWARD, BACKWARD, AT_ONCE = "in this order", "the other way round", "at once"
ORDERS: Final = (FORWARD, BACKWARD, AT_ONCE)
_STATE_OF: Final = {"checkout": "checkouts", "payment": "payments", "warehouse": "reservations"}


def alone(servers: TestServers, scratch: Path, service: str) -> Iterator[System]:
    with System(servers, scratch, services=(service,), partitions=1) as system:
        yield system


@pytest.fixture(scope="module")
def payment(servers: TestServers, scratch: Path) -> Iterator[System]:
    """The payment service and the provider."""
    yield from alone(servers, scratch, "payment")


@pytest.fixture(scope="module")
def warehouse(servers: TestServers, scratch: Path) -> Iterator[System]:
    """The warehouse."""
    yield from alone(servers, scratch, "warehouse")


@pytest.fixture(scope="module")
def checkout(servers: TestServers, scratch: Path) -> Iterator[System]:
    """The checkout service."""
    yield from alone(servers, scratch, "checkout")


# --- the events that race ------------------------------------------------------------------------------------------


def accepted(checkout_id: str, method: str = "ok", sku: str = "sku-1", quantity: int = 2) -> ev.CheckoutAccepted:
    return ev.CheckoutAccepted(
        checkout_id=checkout_id,
        customer_id=CUSTOMERS[0],
        payment_method_id=f"{CUSTOMERS[0]}:{method}",
        currency="EUR",
        total_minor=TOTAL,
        lines=(ev.Line(sku=sku, quantity=quantity, unit_price_minor=TOTAL // quantity),),
        expires_at=LATER,
    )


def paying_with(method: str) -> Make:
    return lambda checkout_id: accepted(checkout_id, method)


def requested(checkout_id: str) -> ev.Event:
    return ev.CheckoutRequested(
        checkout_id=checkout_id,
        customer_id=CUSTOMERS[0],
        payment_method_id=f"{CUSTOMERS[0]}:ok",
        currency="EUR",
        total_minor=TOTAL,
        lines=LINES,
    )


def cancel(checkout_id: str) -> ev.Event:
    return ev.CheckoutCancelRequested(checkout_id=checkout_id, reason="changed my mind")


def confirmed(checkout_id: str) -> ev.Event:
    return ev.CheckoutConfirmed(checkout_id=checkout_id, order_id=uuid4())


def failed(checkout_id: str) -> ev.Event:
    return ev.CheckoutFailed(
        checkout_id=checkout_id,
        customer_id=CUSTOMERS[0],
        code="CANCELLED",
        message="Sorry.",
        detail="",
        accepted=True,
    )


def reserved(checkout_id: str) -> ev.Event:
    return ev.WarehouseReserved(checkout_id=checkout_id, expires_at=LATER)


def rejected(checkout_id: str) -> ev.Event:
    return ev.WarehouseRejected(checkout_id=checkout_id, code="OUT_OF_STOCK", sku="sku-1")


def committed(checkout_id: str) -> ev.Event:
    return ev.WarehouseConfirmed(checkout_id=checkout_id)


def confirm_failed(checkout_id: str) -> ev.Event:
    return ev.WarehouseConfirmFailed(checkout_id=checkout_id, code="STOCK_ON_HOLD", sku="sku-1")


def released(checkout_id: str) -> ev.Event:
    return ev.WarehouseReleased(checkout_id=checkout_id, outcome="released")


def lapsed(checkout_id: str) -> ev.Event:
    return ev.WarehouseReleased(checkout_id=checkout_id, outcome="lapsed")


def authorized(checkout_id: str) -> ev.Event:
    return ev.PaymentAuthorized(
        checkout_id=checkout_id, payment_id="p-1", amount_minor=TOTAL, currency="EUR", capture_before=LATER
    )


def declined(checkout_id: str) -> ev.Event:
    return ev.PaymentDeclined(checkout_id=checkout_id, code="CARD_EXPIRED", provider_code="expired_card")


def captured(checkout_id: str) -> ev.Event:
    return ev.PaymentCaptured(checkout_id=checkout_id, payment_id="p-1", amount_minor=TOTAL, currency="EUR")


def capture_failed(checkout_id: str) -> ev.Event:
    return ev.PaymentCaptureFailed(checkout_id=checkout_id, code="CAPTURE_REFUSED")


def voided(checkout_id: str) -> ev.Event:
    return ev.PaymentVoided(checkout_id=checkout_id, outcome="voided", payment_id="p-1", amount_minor=TOTAL)


def refunded(checkout_id: str) -> ev.Event:
    return ev.PaymentRefunded(checkout_id=checkout_id, payment_id="p-1", amount_minor=TOTAL, currency="EUR")


# --- how they are run ----------------------------------------------------------------------------------------------


@dataclass(frozen=True)
class Outcome:
    """What a service has made of it: its status, what it said in order, what the provider or the stock shows."""

    status: str
    said: tuple[str, ...]
    traces: tuple[Any, ...] = ()


@dataclass(frozen=True)
class Race:
    """Two events after others. forward, backward: what becomes of it in each order; at once, one of the two."""

    before: Sequence[Make]
    pair: tuple[Make, Make]
    forward: Outcome
    backward: Outcome


def new_id() -> str:
    return f"race-{uuid4().hex[:12]}"


def service_of(system: System) -> str:
    """The one service of a system."""
    [service] = system.fleet._services
    return service


def is_handled(system: System, event_id: Any) -> bool:
    return bool(system.rows(service_of(system), "SELECT 1 FROM inbox WHERE event_id = :id", id=str(event_id)))


def one_after_the_other(system: System, events: Sequence[ev.Event]) -> None:
    """Each is handled, the provider's answer included, before the next is published."""
    for event in events:
        together(system, [event])


def together(system: System, events: Sequence[ev.Event]) -> None:
    """Publish all in one go; returns when they are handled and what was said of them is on the topics."""
    ids = [system.shop.publish(event).event_id for event in events]
    system.shop.flush()
    wait_for(lambda: all(is_handled(system, event_id) for event_id in ids), f"{events} to be handled")
    wait_for(lambda: not system.rows(service_of(system), "SELECT 1 FROM outbox LIMIT 1"), "the outbox to be empty")


def run(system: System, race: Race, order: str) -> str:
    """Run a race under a new id; the id."""
    checkout_id = new_id()
    one_after_the_other(system, [make(checkout_id) for make in race.before])
    first, second = (make(checkout_id) for make in race.pair)
    match order:
        case "in this order":
            one_after_the_other(system, [first, second])
        case "the other way round":
            one_after_the_other(system, [second, first])
        case _:
            together(system, [first, second])
    return checkout_id


def said(system: System, checkout_id: str) -> tuple[str, ...]:
    """What the service alone said of a checkout, in order."""
    own = may_publish(service_of(system))
    return tuple(kind for kind, _ in system.events(checkout_id) if kind in own)


def expected(race: Race, order: str) -> list[Outcome]:
    return {FORWARD: [race.forward], BACKWARD: [race.backward]}.get(order, [race.forward, race.backward])


def outcome(system: System, checkout_id: str, traces: Sequence[Any] = ()) -> Outcome:
    return Outcome(str(system.status(service_of(system), checkout_id)), said(system, checkout_id), tuple(traces))


def assert_nothing_set_aside(system: System, checkout_id: str) -> None:
    assert [letter for letter in system.letters(service_of(system)) if letter.key() == checkout_id.encode()] == []


# --- payment -------------------------------------------------------------------------------------------------------

HELD: Final = "payment.authorized"
LET_GO: Final = "payment.voided"
NOTHING_HELD: Final = Outcome("closed", (LET_GO,))
HELD_AND_VOIDED: Final = Outcome("voided", (HELD, LET_GO), ("authorized", "voided"))
TAKEN_AND_GIVEN_BACK: Final = Outcome(
    "refunded", (HELD, "payment.captured", "payment.refunded"), ("authorized", "captured", "refunded")
)
DECLINED_AND_CLOSED: Final = Outcome("closed", ("payment.declined", LET_GO), ("declined",))

PAYMENT: Final = {
    "accepted, reserved": Race(
        (),
        (accepted, reserved),
        Outcome("authorized", (HELD,), ("authorized",)),
        Outcome("authorized", (HELD,), ("authorized",)),
    ),
    "accepted, failed": Race((), (accepted, failed), NOTHING_HELD, NOTHING_HELD),
    "reserved, failed": Race((), (reserved, failed), NOTHING_HELD, NOTHING_HELD),
    "reserved, failed; accepted before": Race((accepted,), (reserved, failed), HELD_AND_VOIDED, NOTHING_HELD),
    "accepted, failed; reserved before": Race((reserved,), (accepted, failed), HELD_AND_VOIDED, NOTHING_HELD),
    "reserved, failed; the card is declined": Race(
        (paying_with("declines-lost_card"),), (reserved, failed), DECLINED_AND_CLOSED, NOTHING_HELD
    ),
    "accepted, failed; another's method": Race(
        (reserved,),
        (paying_with("unknown"), failed),
        Outcome("closed", ("payment.declined", LET_GO)),
        NOTHING_HELD,
    ),
    "warehouse.confirmed, failed": Race(
        (accepted, reserved), (committed, failed), TAKEN_AND_GIVEN_BACK, HELD_AND_VOIDED
    ),
    "warehouse.confirmed, failed; the capture is refused": Race(
        (paying_with("refuses-capture"), reserved),
        (committed, failed),
        Outcome("voided", (HELD, "payment.capture_failed", LET_GO), ("authorized", "capture_refused", "voided")),
        HELD_AND_VOIDED,
    ),
}


@pytest.mark.parametrize("order", ORDERS)
@pytest.mark.parametrize("race", PAYMENT.values(), ids=PAYMENT)
def test_payment_ends_with_nothing_held_or_the_one_hold(payment: System, race: Race, order: str) -> None:
    checkout_id = run(payment, race, order)
    assert outcome(payment, checkout_id, payment.ledger(checkout_id)) in expected(race, order)
    assert_nothing_set_aside(payment, checkout_id)


@pytest.mark.parametrize("order", list(permutations((accepted, reserved, failed))))
def test_three_events_in_any_order_leave_nothing_held(payment: System, order: tuple[Make, ...]) -> None:
    checkout_id = new_id()
    one_after_the_other(payment, [make(checkout_id) for make in order])
    wanted = HELD_AND_VOIDED if order[-1] is failed else NOTHING_HELD
    assert outcome(payment, checkout_id, payment.ledger(checkout_id)) == wanted


@dataclass(frozen=True)
class Overtaken:
    """checkout.failed comes while a call is out. fault: what delays it, with the operation it meets."""

    before: Sequence[Make]
    calling: Make
    while_status: str
    faults: Sequence[tuple[str, str]]
    ends: Outcome


CALLS_OUT: Final = {
    "the authorization is out": Overtaken(
        (accepted,), reserved, "authorizing", [("latency:1000", "authorize")], HELD_AND_VOIDED
    ),
    "the authorization is out and its answer is lost": Overtaken(
        (accepted,),
        reserved,
        "authorizing",
        [("latency:700", "authorize"), ("lost_answer", "authorize")],
        HELD_AND_VOIDED,
    ),
    "the authorization is out and will be declined": Overtaken(
        (paying_with("declines-lost_card"),),
        reserved,
        "authorizing",
        [("latency:1000", "authorize")],
        DECLINED_AND_CLOSED,
    ),
    "the capture is out": Overtaken(
        (accepted, reserved), committed, "capturing", [("latency:1000", "capture")], TAKEN_AND_GIVEN_BACK
    ),
    "the capture is out and its answer is lost": Overtaken(
        (accepted, reserved),
        committed,
        "capturing",
        [("latency:700", "capture"), ("lost_answer", "capture")],
        TAKEN_AND_GIVEN_BACK,
    ),
    "the capture is out and will be refused": Overtaken(
        (paying_with("refuses-capture"), reserved),
        committed,
        "capturing",
        [("latency:1000", "capture")],
        Outcome("voided", (HELD, "payment.capture_failed", LET_GO), ("authorized", "capture_refused", "voided")),
    ),
}


@pytest.mark.parametrize("case", CALLS_OUT.values(), ids=CALLS_OUT)
def test_a_failure_that_comes_while_a_call_is_out_waits_for_its_answer(payment: System, case: Overtaken) -> None:
    checkout_id = new_id()
    one_after_the_other(payment, [make(checkout_id) for make in case.before])
    payment.faults(
        *({"fault": f, "operation": on, "checkout_id": checkout_id, "times": 1} for f, on in case.faults)
    )
    payment.publish(case.calling(checkout_id))
    payment.await_status("payment", checkout_id, case.while_status)
    together(payment, [failed(checkout_id)])
    assert outcome(payment, checkout_id, payment.ledger(checkout_id)) == case.ends


def test_a_commitment_that_comes_while_the_void_is_out_captures_nothing(payment: System) -> None:
    checkout_id = new_id()
    one_after_the_other(payment, [accepted(checkout_id), reserved(checkout_id)])
    payment.faults({"fault": "latency:1000", "operation": "void", "checkout_id": checkout_id, "times": 1})
    payment.publish(failed(checkout_id))
    payment.await_status("payment", checkout_id, "voiding")
    together(payment, [committed(checkout_id)])
    assert outcome(payment, checkout_id, payment.ledger(checkout_id)) == HELD_AND_VOIDED


# --- warehouse -----------------------------------------------------------------------------------------------------

SET_ASIDE: Final = "warehouse.reserved"
PUT_BACK: Final = "warehouse.released"
ON_THE_SHELF: Final = (10, 0, 0)
"""Units on hand, reserved, committed, of a product of which ten were received."""

WAREHOUSE: Final = {
    "accepted, failed": (
        [],
        ("accepted", failed),
        Outcome("released", (SET_ASIDE, PUT_BACK), ON_THE_SHELF),
        Outcome("closed", (PUT_BACK,), ON_THE_SHELF),
    ),
    "confirmed, failed": (
        ["accepted"],
        (confirmed, failed),
        Outcome("released", (SET_ASIDE, "warehouse.confirmed", PUT_BACK), ON_THE_SHELF),
        Outcome("released", (SET_ASIDE, PUT_BACK), ON_THE_SHELF),
    ),
}
