"""Pairs of events that race each other, in both orders and at once: one service alone, the tests play the others."""

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from itertools import permutations
from pathlib import Path
from typing import Any, Final
from uuid import uuid4

import pytest

from compose.setting_up import CUSTOMERS, stock
from schemas import events as ev
from schemas.choreography import may_publish
from schemas.envelope import Envelope
from schemas.kafka.record import record_of
from services.shell.reading import read
from tests.servers import TestServers
from tests.system import System, wait_for

Make = Callable[[str], ev.Event]
"""An event of a checkout."""
Step = Make | str
"""An event, or TIME."""
TIME: Final = "its time runs out"
LATER: Final = datetime.now(UTC) + timedelta(hours=1)
TOTAL: Final = 2500
LINES: Final = (ev.Line(sku="sku-1", quantity=2, unit_price_minor=1250),)
FORWARD, BACKWARD, AT_ONCE = "in this order", "the other way round", "at once"
ORDERS: Final = (FORWARD, BACKWARD, AT_ONCE)


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

    before: Sequence[Step]
    pair: tuple[Step, Step]
    forward: Outcome
    backward: Outcome


def new_id() -> str:
    return f"race-{uuid4().hex[:12]}"


def service_of(system: System) -> str:
    """The one service of a system."""
    [service] = system.fleet._services
    return service


def is_handled(system: System, envelope: Envelope) -> bool:
    event = envelope.event
    known_as = system.identity(envelope.event_id, event.TYPE, event.checkout_id)
    return bool(system.rows(service_of(system), "SELECT 1 FROM inbox WHERE event_id = :id", id=known_as))


def in_turn(system: System, checkout_id: str, steps: Sequence[Step]) -> None:
    """Each step is over, the provider's answer included, before the next is taken."""
    for step in steps:
        at_once(system, checkout_id, [step])


def at_once(system: System, checkout_id: str, steps: Sequence[Step]) -> None:
    """Take all steps in one go; returns when they are handled and what was said of them is on the topics."""
    envelopes = [system.shop.publish(step(checkout_id)) for step in steps if not isinstance(step, str)]
    if TIME in steps:
        run_out(system, checkout_id)
    system.shop.flush()
    wait_for(lambda: all(is_handled(system, e) for e in envelopes), f"{envelopes} to be handled")
    wait_for(lambda: not system.rows(service_of(system), "SELECT 1 FROM outbox LIMIT 1"), "the outbox to be empty")


def run_out(system: System, checkout_id: str) -> None:
    """Move a checkout's time into the past; returns when the timer has seen it, by a witness whose time is later."""
    table, first, over = {
        "warehouse": ("reservations", accepted, "lapsed"),
        "checkout": ("checkouts", requested, "failed"),
    }[service_of(system)]
    witness = new_id()
    in_turn(system, witness, [first])
    for moved, seconds in ((checkout_id, 2), (witness, 1)):
        past = f"UPDATE {table} SET expires_at = now() - interval '{seconds} s' WHERE checkout_id = :id"
        system.execute(service_of(system), past, id=moved)
    system.await_status(service_of(system), witness, over)


def run(system: System, race: Race, order: str, checkout_id: str) -> None:
    """Run a race."""
    in_turn(system, checkout_id, race.before)
    if order == AT_ONCE:
        at_once(system, checkout_id, race.pair)
    else:
        in_turn(system, checkout_id, race.pair if order == FORWARD else race.pair[::-1])


def said(system: System, checkout_id: str) -> tuple[str, ...]:
    """What the service alone said of a checkout, in order: ids of one process grow, times of one batch are equal."""
    found = system.messages(*sorted(may_publish(service_of(system))))
    own = [
        read(record_of(m), system.codec, system.servers.topic_prefix) for m in found if m.key() == checkout_id.encode()
    ]
    return tuple(d.event.TYPE for d in sorted(own, key=lambda d: d.event_id) if d.event is not None)


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
    checkout_id = new_id()
    run(payment, race, order, checkout_id)
    assert outcome(payment, checkout_id, payment.ledger(checkout_id)) in expected(race, order)
    assert_nothing_set_aside(payment, checkout_id)


@pytest.mark.parametrize("order", list(permutations((accepted, reserved, failed))))
def test_three_events_in_any_order_leave_nothing_held(payment: System, order: tuple[Make, ...]) -> None:
    checkout_id = new_id()
    in_turn(payment, checkout_id, order)
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
        (accepted, reserved), committed, "capture_pending", [("latency:1000", "capture")], TAKEN_AND_GIVEN_BACK
    ),
    "the capture is out and its answer is lost": Overtaken(
        (accepted, reserved),
        committed,
        "capture_pending",
        [("latency:700", "capture"), ("lost_answer", "capture")],
        TAKEN_AND_GIVEN_BACK,
    ),
    "the capture is out and will be refused": Overtaken(
        (paying_with("refuses-capture"), reserved),
        committed,
        "capture_pending",
        [("latency:1000", "capture")],
        Outcome("voided", (HELD, "payment.capture_failed", LET_GO), ("authorized", "capture_refused", "voided")),
    ),
}


@pytest.mark.parametrize("case", CALLS_OUT.values(), ids=CALLS_OUT)
def test_a_failure_that_comes_while_a_call_is_out_waits_for_its_answer(payment: System, case: Overtaken) -> None:
    checkout_id = new_id()
    in_turn(payment, checkout_id, case.before)
    payment.faults(*({"fault": f, "operation": on, "checkout_id": checkout_id, "times": 1} for f, on in case.faults))
    payment.publish(case.calling(checkout_id))
    payment.await_status("payment", checkout_id, case.while_status)
    at_once(payment, checkout_id, [failed])
    assert outcome(payment, checkout_id, payment.ledger(checkout_id)) == case.ends


def test_a_commitment_that_comes_while_the_void_is_out_captures_nothing(payment: System) -> None:
    checkout_id = new_id()
    in_turn(payment, checkout_id, (accepted, reserved))
    payment.faults({"fault": "latency:1000", "operation": "void", "checkout_id": checkout_id, "times": 1})
    payment.publish(failed(checkout_id))
    payment.await_status("payment", checkout_id, "voiding")
    at_once(payment, checkout_id, [committed])
    assert outcome(payment, checkout_id, payment.ledger(checkout_id)) == HELD_AND_VOIDED


# --- warehouse -----------------------------------------------------------------------------------------------------

SET_ASIDE: Final = "warehouse.reserved"
PUT_BACK: Final = "warehouse.released"
ON_THE_SHELF: Final = (10, 0, 0)
"""Units on hand, reserved, committed, of a product of which ten were received."""

COMMITTED: Final = Outcome("committed", (SET_ASIDE, "warehouse.confirmed"), (8, 0, 2))


def accepted_for_ten(checkout_id: str) -> ev.Event:
    """Two units of a product of the checkout's own, of which ten were received."""
    return accepted(checkout_id, sku=checkout_id)


WAREHOUSE: Final = {
    "accepted, failed": Race(
        (),
        (accepted_for_ten, failed),
        Outcome("released", (SET_ASIDE, PUT_BACK), ON_THE_SHELF),
        Outcome("closed", (PUT_BACK,), ON_THE_SHELF),
    ),
    "confirmed, failed": Race(
        (accepted_for_ten,),
        (confirmed, failed),
        Outcome("released", (SET_ASIDE, "warehouse.confirmed", PUT_BACK), ON_THE_SHELF),
        Outcome("released", (SET_ASIDE, PUT_BACK), ON_THE_SHELF),
    ),
    "confirmed, its time runs out": Race(
        (accepted_for_ten,),
        (confirmed, TIME),
        COMMITTED,
        Outcome("lapsed", (SET_ASIDE, PUT_BACK, "warehouse.confirm_failed"), ON_THE_SHELF),
    ),
    "failed, its time runs out": Race(
        (accepted_for_ten,),
        (failed, TIME),
        Outcome("released", (SET_ASIDE, PUT_BACK), ON_THE_SHELF),
        Outcome("closed", (SET_ASIDE, PUT_BACK, PUT_BACK), ON_THE_SHELF),
    ),
}


def units(system: System, sku: str) -> tuple[int, ...]:
    [row] = system.rows("warehouse", "SELECT on_hand, reserved, committed FROM stock WHERE sku = :sku", sku=sku)
    return tuple(row)


@pytest.mark.parametrize("order", ORDERS)
@pytest.mark.parametrize("race", WAREHOUSE.values(), ids=WAREHOUSE)
def test_warehouse_ends_with_every_unit_in_its_place(warehouse: System, race: Race, order: str) -> None:
    checkout_id = new_id()
    stock(warehouse.servers, {checkout_id: 10})
    run(warehouse, race, order, checkout_id)
    assert outcome(warehouse, checkout_id, units(warehouse, checkout_id)) in expected(race, order)
    assert_nothing_set_aside(warehouse, checkout_id)


@pytest.mark.parametrize("order", ORDERS)
def test_two_checkouts_that_want_the_last_unit(warehouse: System, order: str) -> None:
    one, two = sorted((new_id(), new_id()), reverse=order == BACKWARD)
    stock(warehouse.servers, {one: 1})
    wishes: list[Step] = [lambda _, c=c: accepted(c, sku=one, quantity=1) for c in (one, two)]  # type: ignore[misc]
    (at_once if order == AT_ONCE else in_turn)(warehouse, one, wishes)
    outcomes = {c: outcome(warehouse, c) for c in (one, two)}
    assert units(warehouse, one) == (0, 1, 0)
    # one topic, one partition: who was first there is first here
    assert outcomes[one] == Outcome("reserved", (SET_ASIDE,))
    assert outcomes[two] == Outcome("rejected", ("warehouse.rejected",))


# --- checkout ------------------------------------------------------------------------------------------------------

STARTED: Final = "checkout.accepted"
ORDERED: Final = "checkout.confirmed"
COMPLETED: Final = "checkout.completed"
OVER: Final = "checkout.failed"


def over(code: str, *before: str, status: str = "failed") -> Outcome:
    """One end, checkout.failed with `code`, after what was said before."""
    return Outcome(status, (*before, OVER), (code,))


PAID: Final = Outcome("captured", (STARTED, ORDERED, COMPLETED), (None,))
GIVEN_BACK: Final = over("CANCELLED", STARTED, status="compensated")

CHECKOUT: Final = {
    "requested, cancel": Race((), (requested, cancel), over("CANCELLED", STARTED), over("CANCELLED")),
    "authorized, cancel": Race(
        (requested,), (authorized, cancel), over("CANCELLED", STARTED, ORDERED), over("CANCELLED", STARTED)
    ),
    "authorized, its time runs out": Race(
        (requested,),
        (authorized, TIME),
        Outcome("authorized", (STARTED, ORDERED), (None,)),
        over("EXPIRED", STARTED),
    ),
    "cancel, its time runs out": Race(
        (requested,), (cancel, TIME), over("CANCELLED", STARTED), over("EXPIRED", STARTED)
    ),
    "declined, its time runs out": Race(
        (requested,), (declined, TIME), over("CARD_EXPIRED", STARTED), over("EXPIRED", STARTED)
    ),
    "lapsed, authorized": Race(
        (requested,),
        (lapsed, authorized),
        over("RESERVATION_LAPSED", STARTED),
        Outcome("authorized", (STARTED, ORDERED), (None,)),
    ),
    "rejected, declined": Race(
        (requested,), (rejected, declined), over("OUT_OF_STOCK", STARTED), over("CARD_EXPIRED", STARTED)
    ),
    "lapsed, warehouse.confirm_failed": Race(
        (requested, authorized),
        (lapsed, confirm_failed),
        over("STOCK_ON_HOLD", STARTED, ORDERED),
        over("STOCK_ON_HOLD", STARTED, ORDERED),
    ),
    "warehouse.confirmed, cancel": Race(
        (requested, authorized),
        (committed, cancel),
        over("CANCELLED", STARTED, ORDERED),
        over("CANCELLED", STARTED, ORDERED),
    ),
    "warehouse.confirmed, captured": Race((requested, authorized), (committed, captured), PAID, PAID),
    "warehouse.confirmed, capture_failed": Race(
        (requested, authorized),
        (committed, capture_failed),
        over("CAPTURE_REFUSED", STARTED, ORDERED),
        over("CAPTURE_REFUSED", STARTED, ORDERED),
    ),
    "captured, cancel": Race(
        (requested, authorized, committed), (captured, cancel), PAID, over("CANCELLED", STARTED, ORDERED)
    ),
    "capture_failed, cancel": Race(
        (requested, authorized, committed),
        (capture_failed, cancel),
        over("CAPTURE_REFUSED", STARTED, ORDERED),
        over("CANCELLED", STARTED, ORDERED),
    ),
    "released, voided": Race((requested, cancel), (released, voided), GIVEN_BACK, GIVEN_BACK),
    "released, refunded": Race((requested, cancel), (released, refunded), GIVEN_BACK, GIVEN_BACK),
    "refunded, released; captured after the cancel": Race(
        (requested, authorized, committed, cancel, captured),
        (refunded, released),
        over("CANCELLED", STARTED, ORDERED, status="compensated"),
        over("CANCELLED", STARTED, ORDERED, status="compensated"),
    ),
    "captured, refunded; after the cancel": Race(
        (requested, authorized, committed, cancel, released),
        (captured, refunded),
        over("CANCELLED", STARTED, ORDERED, status="compensated"),
        over("CANCELLED", STARTED, ORDERED, status="compensated"),
    ),
    "authorized, voided; after the cancel": Race(
        (requested, cancel, released), (authorized, voided), GIVEN_BACK, GIVEN_BACK
    ),
}


@pytest.mark.parametrize("order", ORDERS)
@pytest.mark.parametrize("race", CHECKOUT.values(), ids=CHECKOUT)
def test_checkout_says_one_end(checkout: System, race: Race, order: str) -> None:
    checkout_id = new_id()
    run(checkout, race, order, checkout_id)
    codes = checkout.rows("checkout", "SELECT code FROM checkouts WHERE checkout_id = :id", id=checkout_id)
    assert outcome(checkout, checkout_id, codes[0]) in expected(race, order)
    assert_nothing_set_aside(checkout, checkout_id)


@pytest.mark.parametrize("order", ORDERS)
def test_the_trail_of_a_payment_is_the_same_whichever_news_comes_first(checkout: System, order: str) -> None:
    checkout_id = new_id()
    run(checkout, CHECKOUT["warehouse.confirmed, captured"], order, checkout_id)
    assert checkout.trail("checkout", checkout_id) == ["accepted", "authorized", "capture_pending", "captured"]


@pytest.mark.parametrize("answer", [released, voided, refunded])
def test_one_answer_alone_is_not_everything_let_go(checkout: System, answer: Make) -> None:
    checkout_id = new_id()
    in_turn(checkout, checkout_id, (requested, cancel, answer, answer))
    assert checkout.status("checkout", checkout_id) == "failed"
