"""What checkout decides, event by event, in every state that the event can meet."""

from dataclasses import replace
from datetime import datetime, timedelta
from typing import Any, Final

import pytest

from schemas.decision import Decision, UnsafeError
from schemas.events import CheckoutAccepted, CheckoutCompleted, CheckoutConfirmed, CheckoutFailed, Event
from schemas.failures import Code, entry_of
from services.checkout.decisions import fingerprint, giving_up, handlers
from services.checkout.state import BEFORE_CAPTURE, OPEN, Checkout, DeadlinePassed, Status

from . import making as a

PAY_IN: Final = timedelta(minutes=15)
DEADLINE: Final = DeadlinePassed(checkout_id=a.ID)
NOBODYS: Final = "no checkout of this id was ever requested"

BEFORE_ORDER: Final = (Status.CANCELLED_FIRST, Status.ACCEPTED)
OVER: Final = tuple(status for status in Status if status not in OPEN)


def checkout(status: Status, **changes: Any) -> Checkout:
    known = Checkout(
        checkout_id=a.ID,
        status=status,
        created_at=a.AT,
        fingerprint=fingerprint(a.REQUESTED),
        customer_id="cust-1",
        currency="EUR",
        total_minor=a.TOTAL,
        expires_at=a.LATER,
        accepted=True,
        order_id=None if status in BEFORE_ORDER else a.ORDER,
        payment_id=None if status in BEFORE_ORDER else a.AUTHORIZED.payment_id,
    )
    return replace(known, **changes)


def decide(known: Checkout | None, event: Event, at: datetime = a.AT) -> Decision[Any]:
    return handlers(PAY_IN)[event.TYPE](known, event, at)


def give_up(known: Checkout | None, event: Event, code: str = Code.INTERNAL_ERROR) -> Decision[Any]:
    return giving_up()[event.TYPE](known, event, a.LATER, code)


def failed_of(decision: Decision[Any]) -> CheckoutFailed:
    (failed,) = decision.events
    assert isinstance(failed, CheckoutFailed)
    return failed


def test_a_sound_request_is_accepted_as_it_was_asked() -> None:
    decision = decide(None, a.REQUESTED)
    (accepted,) = decision.events
    assert accepted == replace(a.ACCEPTED, expires_at=a.AT + PAY_IN)
    assert (a.status(decision), decision.refusal, decision.via) == ("accepted", None, ())
    assert decision.state.accepted
    assert decision.state.order_id is None


@pytest.mark.parametrize(
    ("asked_s", "given_s"),
    [(None, 900), (60, 60), (900, 900), (901, 900), (10**7, 900)],
    ids=["none asked", "sooner", "the same", "later", "far too late"],
)
def test_the_deadline_is_the_shops_unless_ours_is_sooner(asked_s: int | None, given_s: int) -> None:
    asked = None if asked_s is None else a.AT + timedelta(seconds=asked_s)
    decision = decide(None, replace(a.REQUESTED, expires_at=asked))
    (accepted,) = decision.events
    assert isinstance(accepted, CheckoutAccepted)
    assert accepted.expires_at == decision.state.expires_at == a.AT + timedelta(seconds=given_s)


def test_an_unsound_request_fails_without_having_been_accepted() -> None:
    decision = decide(None, replace(a.REQUESTED, lines=()))
    failed = failed_of(decision)
    assert (failed.code, failed.accepted, failed.customer_id) == (Code.NO_LINES, False, "cust-1")
    assert failed.message == entry_of(Code.NO_LINES).customer
    assert (a.status(decision), decision.state.accepted) == ("failed", False)


@pytest.mark.parametrize("status", [s for s in Status if s is not Status.CANCELLED_FIRST])
def test_the_same_request_again_changes_nothing(status: Status) -> None:
    known = checkout(status)
    later = replace(a.REQUESTED, expires_at=a.LATER)  # the deadline is no part of the content
    for again in (a.REQUESTED, later):
        decision = decide(known, again)
        assert a.changes_nothing(decision, known)
        assert decision.refusal is None


@pytest.mark.parametrize("status", [s for s in Status if s is not Status.CANCELLED_FIRST])
@pytest.mark.parametrize(
    "other",
    [
        replace(a.REQUESTED, total_minor=1),
        replace(a.REQUESTED, customer_id="cust-2"),
        replace(a.REQUESTED, payment_method_id="pm-2"),
        replace(a.REQUESTED, currency="USD"),
        replace(a.REQUESTED, lines=a.LINES[:1]),
        replace(a.REQUESTED, lines=a.LINES[::-1]),
    ],
    ids=["total", "customer", "method", "currency", "fewer lines", "order of lines"],
)
def test_other_content_under_the_same_id_is_refused_and_never_a_failure(status: Status, other: Event) -> None:
    known = checkout(status)
    decision = decide(known, other)
    assert a.changes_nothing(decision, known)
    assert (decision.refusal or "").startswith("conflicting duplicate")


def test_a_request_that_comes_after_its_cancellation_fails_unaccepted() -> None:
    wish = decide(None, a.CANCEL)
    assert (a.status(wish), wish.events) == ("cancelled_first", ())
    decision = decide(wish.state, a.REQUESTED)
    failed = failed_of(decision)
    assert (failed.code, failed.accepted, failed.detail) == (
        Code.CANCELLED, False, "cancel requested: found it cheaper"
    )  # fmt: skip
    assert a.changes_nothing(decide(decision.state, a.REQUESTED), decision.state)


# what each open state makes of what it hears: the status after it, what is said, the stations passed
ON_ITS_WAY: Final[list[tuple[Event, Status, str, list[str], tuple[str, ...]]]] = [
    (a.AUTHORIZED, Status.ACCEPTED, "authorized", ["checkout.confirmed"], ()),
    (a.AUTHORIZED, Status.AUTHORIZED, "authorized", [], ()),
    (a.AUTHORIZED, Status.CAPTURE_PENDING, "capture_pending", [], ()),
    (a.COMMITTED, Status.ACCEPTED, "accepted", [], ()),
    (a.COMMITTED, Status.AUTHORIZED, "capture_pending", [], ()),
    (a.COMMITTED, Status.CAPTURE_PENDING, "capture_pending", [], ()),
    (a.CAPTURED, Status.AUTHORIZED, "captured", ["checkout.completed"], ("capture_pending",)),
    (a.CAPTURED, Status.CAPTURE_PENDING, "captured", ["checkout.completed"], ()),
    (a.CAPTURED, Status.CAPTURE_FAILED, "captured", ["checkout.completed"], ("capture_pending",)),
    (a.AUTHORIZED, Status.CAPTURE_FAILED, "capture_failed", [], ()),
    (a.COMMITTED, Status.CAPTURE_FAILED, "capture_failed", [], ()),
    (a.DELAYED, Status.ACCEPTED, "accepted", [], ()),
    *((a.DELAYED, met, met.value, [], ()) for met in BEFORE_CAPTURE),
    (a.CAPTURE_DELAYED, Status.ACCEPTED, "accepted", [], ()),
    (a.CAPTURE_DELAYED, Status.AUTHORIZED, "capture_failed", [], ("capture_pending",)),
    (a.CAPTURE_DELAYED, Status.CAPTURE_PENDING, "capture_failed", [], ()),
    (a.CAPTURE_DELAYED, Status.CAPTURE_FAILED, "capture_failed", [], ("capture_pending",)),
    (a.LAPSED, Status.CAPTURE_FAILED, "capture_failed", [], ()),
    (DEADLINE, Status.CAPTURE_FAILED, "capture_failed", [], ()),
    (a.LAPSED, Status.AUTHORIZED, "authorized", [], ()),
    (a.LAPSED, Status.CAPTURE_PENDING, "capture_pending", [], ()),
    (DEADLINE, Status.AUTHORIZED, "authorized", [], ()),
    (DEADLINE, Status.CAPTURE_PENDING, "capture_pending", [], ()),
]


@pytest.mark.parametrize(
    ("event", "met", "then", "said", "via"), ON_ITS_WAY, ids=[f"{case[0].TYPE} in {case[1]}" for case in ON_ITS_WAY]
)
def test_an_open_checkout_goes_on(event: Event, met: Status, then: str, said: list[str], via: tuple[str, ...]) -> None:
    decision = decide(checkout(met), event, a.LATER)
    assert (a.status(decision), a.told(decision), decision.via) == (then, said, via)
    assert (decision.refusal, decision.early, decision.late) == (None, None, None)


def test_a_delay_is_kept_until_the_step_is_done() -> None:
    waits = decide(checkout(Status.ACCEPTED), a.DELAYED)
    assert (waits.state.delay, waits.note) == (a.DELAYED.code, "payment delayed: PAYMENT_UNAVAILABLE, 2 tries")
    assert decide(waits.state, replace(a.DELAYED, code="PAYMENT_TIMED_OUT")).state.delay == "PAYMENT_TIMED_OUT"
    assert decide(waits.state, a.AUTHORIZED).state.delay is None
    captures = decide(checkout(Status.CAPTURE_PENDING), a.CAPTURE_DELAYED)
    assert captures.state.delay == "PAYMENT_TIMED_OUT"
    assert decide(captures.state, a.CAPTURED).state.delay is None
    assert decide(captures.state, a.CAPTURE_FAILED).state.delay is None


def test_a_delay_of_an_authorization_that_is_there_changes_nothing() -> None:
    known = checkout(Status.AUTHORIZED)
    assert a.changes_nothing(decide(known, a.DELAYED), known)


@pytest.mark.parametrize("delay", ["PAYMENT_UNAVAILABLE", "PAYMENT_TIMED_OUT"])
def test_at_the_deadline_a_delayed_payment_is_the_reason(delay: str) -> None:
    known = decide(checkout(Status.ACCEPTED), replace(a.DELAYED, code=delay)).state
    failed = failed_of(decide(known, DEADLINE, a.LATER))
    assert (failed.code, failed.message) == (delay, entry_of(delay).customer)
    assert failed.detail == "not authorized by 2026-03-01T12:10:00Z"


def test_the_order_of_a_checkout_is_always_the_same_one() -> None:
    first, again = (decide(checkout(Status.ACCEPTED), a.AUTHORIZED) for _ in range(2))
    (confirmed,) = first.events
    assert isinstance(confirmed, CheckoutConfirmed)
    assert confirmed.order_id == first.state.order_id == again.state.order_id
    other = decide(checkout(Status.ACCEPTED), replace(a.AUTHORIZED, checkout_id="c-2"))
    assert other.state.order_id != first.state.order_id


def test_a_completed_checkout_says_what_was_bought() -> None:
    (completed,) = decide(checkout(Status.CAPTURE_PENDING), a.CAPTURED).events
    assert completed == CheckoutCompleted(
        checkout_id=a.ID, order_id=a.ORDER, customer_id="cust-1", currency="EUR", total_minor=a.TOTAL
    )


# event, state met, code, detail, stations passed on the way to `failed`
CAPTURE_FAILED_VIA: Final = ("capture_pending", "capture_failed")
FAILURES: Final[list[tuple[Event, Status, str, str, tuple[str, ...]]]] = [
    *((a.CANCEL, status, "CANCELLED", "found it cheaper", ()) for status in OPEN),
    *((a.REJECTED, status, "OUT_OF_STOCK", "sku cup", ()) for status in OPEN),
    *((a.DECLINED, status, "CARD_EXPIRED", "provider: expired_card", ()) for status in OPEN),
    *((a.CONFIRM_FAILED, status, "STOCK_ON_HOLD", "sku pot", ()) for status in OPEN),
    (a.CAPTURE_FAILED, Status.AUTHORIZED, "CAPTURE_REFUSED", "provider: lost_card", CAPTURE_FAILED_VIA),
    (a.CAPTURE_FAILED, Status.CAPTURE_PENDING, "CAPTURE_REFUSED", "provider: lost_card", CAPTURE_FAILED_VIA[1:]),
    (a.CAPTURE_FAILED, Status.CAPTURE_FAILED, "CAPTURE_REFUSED", "provider: lost_card", CAPTURE_FAILED_VIA),
    (a.LAPSED, Status.ACCEPTED, "RESERVATION_LAPSED", "", ()),
    (DEADLINE, Status.ACCEPTED, "EXPIRED", "not authorized by 2026-03-01T12:10:00Z", ()),
]


@pytest.mark.parametrize(
    ("event", "met", "code", "detail", "via"), FAILURES, ids=[f"{case[0].TYPE} in {case[1]}" for case in FAILURES]
)
def test_an_open_checkout_fails_with_the_reason_and_the_customers_sentence(
    event: Event, met: Status, code: str, detail: str, via: tuple[str, ...]
) -> None:
    decision = decide(checkout(met), event, a.LATER)
    failed = failed_of(decision)
    assert (failed.code, failed.detail, failed.accepted) == (code, detail, True)
    entry = entry_of(code)
    assert (failed.message, failed.error_class, failed.retryable) == (
        entry.customer,
        entry.error_class,
        entry.retryable,
    )
    assert (a.status(decision), decision.state.code, decision.via) == ("failed", code, via)


def test_no_detail_is_made_up_where_none_was_given() -> None:
    without = (replace(a.REJECTED, sku=None), replace(a.DECLINED, provider_code=None))
    assert {failed_of(decide(checkout(Status.ACCEPTED), event)).detail for event in without} == {""}


ENDINGS: Final = (
    a.CANCEL,
    a.AUTHORIZED,
    a.COMMITTED,
    a.CAPTURED,
    a.REJECTED,
    a.DECLINED,
    a.CONFIRM_FAILED,
    a.CAPTURE_FAILED,
    a.DELAYED,
    a.CAPTURE_DELAYED,
    a.LAPSED,
    DEADLINE,
)
TELLS_LATE: Final = tuple(event for event in ENDINGS if event not in (a.CANCEL, a.LAPSED, DEADLINE))


@pytest.mark.parametrize("status", [s for s in OVER if s is not Status.CANCELLED_FIRST])
@pytest.mark.parametrize("event", ENDINGS, ids=lambda event: event.TYPE)
def test_what_comes_after_the_end_changes_nothing(event: Event, status: Status) -> None:
    known = checkout(status)
    decision = decide(known, event, a.LATER)
    assert a.changes_nothing(decision, known)
    assert (decision.refusal, decision.early) == (None, None)
    assert decision.late == (f"the checkout is {status} already" if event in TELLS_LATE else None)


@pytest.mark.parametrize("status", [Status.FAILED, Status.COMPENSATED])
def test_a_capture_after_a_failure_without_an_order_is_late_and_not_early(status: Status) -> None:
    known = checkout(status, order_id=None)
    decision = decide(known, a.CAPTURED)
    assert a.changes_nothing(decision, known)
    assert (decision.early, decision.late) == (None, f"the checkout is {status} already")


@pytest.mark.parametrize("status", OVER)
def test_a_cancellation_that_comes_too_late_is_noted(status: Status) -> None:
    assert f"too late, already {status}" in decide(checkout(status), a.CANCEL).note


def test_a_lapse_that_comes_too_late_is_noted() -> None:
    assert decide(checkout(Status.AUTHORIZED), a.LAPSED).note == "the reservation lapsed"


@pytest.mark.parametrize("event", [a.VOIDED, a.REFUNDED], ids=lambda event: event.TYPE)
def test_a_failed_checkout_is_compensated_when_both_have_answered_in_any_order(event: Event) -> None:
    for first, second in ((event, a.RELEASED), (a.RELEASED, event)):
        half = decide(checkout(Status.FAILED), first)
        assert (a.status(half), half.events) == ("failed", ())
        assert a.status(decide(half.state, first)) == "failed"
        whole = decide(half.state, second)
        assert (a.status(whole), whole.events) == ("compensated", ())
        assert a.status(decide(whole.state, second)) == "compensated"


def test_a_lapse_is_no_answer_to_the_failure() -> None:
    half = decide(checkout(Status.FAILED), a.VOIDED)
    assert a.status(decide(half.state, a.LAPSED)) == "failed"


UNREQUESTED: Final = [
    event for event in (*ENDINGS, a.RELEASED, a.VOIDED, a.REFUNDED) if event not in (a.CANCEL, DEADLINE)
]


@pytest.mark.parametrize("event", UNREQUESTED, ids=lambda event: f"{event.TYPE} {getattr(event, 'outcome', '')}")
def test_an_event_of_a_checkout_that_nobody_requested_waits_for_its_request(event: Event) -> None:
    decision = decide(None, event)
    assert (decision.state, decision.events, decision.early, decision.refusal) == (None, (), NOBODYS, None)


def test_a_deadline_of_nothing_is_nothing() -> None:
    assert decide(None, DEADLINE) == Decision(None)


def test_a_capture_without_an_order_waits_for_its_order() -> None:
    known = checkout(Status.ACCEPTED)
    decision = decide(known, a.CAPTURED)
    assert a.changes_nothing(decision, known)
    assert (decision.early, decision.refusal) == ("captured without an order", None)
    ordered = decide(known, a.AUTHORIZED).state
    assert a.told(decide(ordered, a.CAPTURED)) == ["checkout.completed"]


@pytest.mark.parametrize(("early_s", "then"), [(1, "accepted"), (0, "failed"), (-1, "failed")])
def test_the_deadline_counts_from_its_very_instant(early_s: int, then: str) -> None:
    known = checkout(Status.ACCEPTED)
    assert a.status(decide(known, DEADLINE, a.LATER - timedelta(seconds=early_s))) == then


def test_a_request_that_can_not_be_handled_fails_without_having_been_accepted() -> None:
    cancelled_first = decide(None, a.CANCEL).state
    for known in (None, cancelled_first):
        decision = give_up(known, a.REQUESTED)
        failed = failed_of(decision)
        assert (failed.code, failed.accepted, failed.customer_id) == (Code.INTERNAL_ERROR, False, "cust-1")
        assert failed.detail == "checkout.requested could not be handled"
        assert (a.status(decision), decision.state.accepted) == ("failed", False)
        late = decide(decision.state, a.REQUESTED)
        assert a.changes_nothing(late, decision.state)
        assert late.late == "the checkout is failed already"


@pytest.mark.parametrize("status", [s for s in Status if s is not Status.CANCELLED_FIRST])
def test_a_copy_of_a_request_that_can_not_be_handled_undoes_nothing(status: Status) -> None:
    known = checkout(status)
    for request in (a.REQUESTED, replace(a.REQUESTED, total_minor=1)):
        assert a.changes_nothing(give_up(known, request), known)


def test_a_card_number_in_a_request_that_can_not_be_handled_is_not_kept() -> None:
    decision = give_up(None, replace(a.REQUESTED, customer_id="4242 4242 4242 4242"))
    assert "4242" not in f"{decision.state} {decision.events}"


def test_an_authorization_that_can_not_be_handled_fails_the_checkout() -> None:
    decision = give_up(checkout(Status.ACCEPTED), a.AUTHORIZED, Code.INTERNAL_ERROR)
    failed = failed_of(decision)
    assert (failed.code, failed.accepted) == (Code.INTERNAL_ERROR, True)
    assert failed.detail == "payment.authorized could not be handled"


@pytest.mark.parametrize("status", [s for s in Status if s is not Status.ACCEPTED])
def test_an_authorization_whose_order_is_made_or_over_undoes_nothing(status: Status) -> None:
    known = checkout(status)
    assert a.changes_nothing(give_up(known, a.AUTHORIZED), known)
    assert give_up(None, a.AUTHORIZED) == Decision(None)


def test_only_what_a_customer_waits_for_is_announced_when_it_is_given_up() -> None:
    assert set(giving_up()) == {a.REQUESTED.TYPE, a.AUTHORIZED.TYPE}


# --- money that is not this checkout's -------------------------------------------------------------------------------

PAID: Final = (a.AUTHORIZED, a.CAPTURED)
ACCEPTED_ONES: Final = tuple(status for status in Status if status is not Status.CANCELLED_FIRST)
FAILED: Final = (Status.FAILED, Status.COMPENSATED)
OTHER_MONEY: Final[dict[str, dict[str, Any]]] = {
    "1 cent": {"amount_minor": 1},
    "one cent less": {"amount_minor": a.TOTAL - 1},
    "one cent more": {"amount_minor": a.TOTAL + 1},
    "nothing": {"amount_minor": 0},
    "less than nothing": {"amount_minor": -a.TOTAL},
    "the most of 64 bits": {"amount_minor": 2**63 - 1},
    "the least of 64 bits": {"amount_minor": -(2**63)},
    "another currency": {"currency": "JPY"},
    "a currency in lower case": {"currency": "eur"},
    "no currency": {"currency": ""},
    "a megabyte of currency": {"currency": "E" * 2**20},
    "no payment": {"payment_id": ""},
    "a megabyte of payment": {"payment_id": "p" * 2**20},
    "a payment with NUL": {"payment_id": "pay\0"},
    "a payment with an escape": {"payment_id": "\x1b[2J"},
    "a card number as payment": {"payment_id": "4242424242424242"},
}


def is_unsafe(known: Checkout, event: Event) -> str:
    """What the person who looks at it reads; the state is the same, as nothing is returned."""
    with pytest.raises(UnsafeError) as raised:
        decide(known, event, a.LATER)
    text = str(raised.value)
    assert text.startswith(event.TYPE)
    assert len(text) < 200
    assert text.isprintable()
    assert "4242424242424242" not in text
    return text


@pytest.mark.parametrize("changes", OTHER_MONEY.values(), ids=OTHER_MONEY)
@pytest.mark.parametrize("event", PAID, ids=lambda event: event.TYPE)
@pytest.mark.parametrize("status", ACCEPTED_ONES)
def test_a_message_about_other_money_goes_to_a_person_in_every_state(
    status: Status, event: Event, changes: dict[str, Any]
) -> None:
    is_unsafe(checkout(status), replace(event, **changes))


@pytest.mark.parametrize("changes", OTHER_MONEY.values(), ids=OTHER_MONEY)
@pytest.mark.parametrize("status", FAILED)
def test_a_refund_of_other_money_goes_to_a_person(status: Status, changes: dict[str, Any]) -> None:
    is_unsafe(checkout(status), replace(a.REFUNDED, **changes))


@pytest.mark.parametrize("event", [*PAID, a.VOIDED, a.REFUNDED], ids=lambda event: event.TYPE)
@pytest.mark.parametrize("status", [s for s in ACCEPTED_ONES if s is not Status.ACCEPTED])
def test_another_payment_than_the_one_that_was_authorized_goes_to_a_person(status: Status, event: Event) -> None:
    text = is_unsafe(checkout(status), replace(event, payment_id="pay-2"))  # type: ignore[call-arg]
    if event in PAID or status in FAILED:
        assert "names the payment pay-2, authorized was pay-1" in text


@pytest.mark.parametrize("status", [s for s in ACCEPTED_ONES if s is not Status.ACCEPTED])
def test_a_copy_of_an_authorization_is_late_and_no_persons_matter(status: Status) -> None:
    known = checkout(status)
    assert a.changes_nothing(decide(known, a.AUTHORIZED), known)


def test_the_payment_that_was_authorized_is_kept() -> None:
    known = decide(checkout(Status.ACCEPTED), a.AUTHORIZED).state
    assert known.payment_id == "pay-1"
    assert decide(known, a.CAPTURED).state.payment_id == "pay-1"


@pytest.mark.parametrize("status", [Status.AUTHORIZED, Status.CAPTURE_PENDING, Status.CAPTURE_FAILED])
def test_a_row_that_is_older_than_the_payments_id_is_completed(status: Status) -> None:
    decision = decide(checkout(status, payment_id=None), a.CAPTURED)
    assert (a.told(decision), decision.state.payment_id) == (["checkout.completed"], "pay-1")


VOIDS: Final[dict[str, dict[str, Any]]] = {
    "an outcome that is none": {"outcome": "kept"},
    "no outcome": {"outcome": ""},
    "a megabyte of outcome": {"outcome": "x" * 2**20},
    "an escape as outcome": {"outcome": "\x1b[2J"},
    "a void of another amount": {"amount_minor": 1},
    "a void of nothing": {"amount_minor": 0},
    "a void below zero": {"amount_minor": -a.TOTAL},
    "a void of no payment": {"payment_id": None},
    "a void of another payment": {"payment_id": "pay-2"},
    "nothing was held, but something was authorized": {"outcome": "nothing", "amount_minor": 0, "payment_id": None},
}


@pytest.mark.parametrize("changes", VOIDS.values(), ids=VOIDS)
@pytest.mark.parametrize("status", FAILED)
def test_a_void_that_does_not_fit_lets_nothing_go(status: Status, changes: dict[str, Any]) -> None:
    is_unsafe(checkout(status), replace(a.VOIDED, **changes))


NOTHING: Final = replace(a.VOIDED, outcome="nothing", amount_minor=0, payment_id=None)


def test_nothing_was_held_where_no_authorization_was_heard() -> None:
    known = checkout(Status.FAILED, payment_id=None, stock_let_go=True)
    assert a.status(decide(known, NOTHING)) == "compensated"
    for changes in ({"amount_minor": a.TOTAL}, {"payment_id": "pay-1"}):
        is_unsafe(known, replace(NOTHING, **changes))


@pytest.mark.parametrize("event", [a.VOIDED, a.REFUNDED], ids=lambda event: event.TYPE)
def test_what_is_let_go_before_its_authorization_is_heard_tells_the_payment(event: Event) -> None:
    gone = decide(checkout(Status.FAILED, payment_id=None), event).state
    assert (gone.money_let_go, gone.payment_id) == (True, "pay-1")
    assert a.changes_nothing(decide(gone, a.AUTHORIZED), gone)
    is_unsafe(gone, replace(a.AUTHORIZED, payment_id="pay-2"))


ANSWERS: Final = (a.VOIDED, NOTHING, a.REFUNDED, a.RELEASED, replace(a.RELEASED, outcome="nothing"))


@pytest.mark.parametrize("event", ANSWERS, ids=lambda event: f"{event.TYPE} {getattr(event, 'outcome', '')}")
@pytest.mark.parametrize("status", [*OPEN, Status.CAPTURED])
def test_an_answer_to_a_failure_that_never_was_goes_to_a_person(status: Status, event: Event) -> None:
    is_unsafe(checkout(status), event)


@pytest.mark.parametrize("event", [*PAID, *ANSWERS], ids=lambda event: f"{event.TYPE} {getattr(event, 'outcome', '')}")
@pytest.mark.parametrize("status", [Status.CANCELLED_FIRST, Status.FAILED])
def test_money_and_goods_of_a_checkout_that_was_never_accepted_go_to_a_person(status: Status, event: Event) -> None:
    text = is_unsafe(checkout(status, accepted=False), event)
    assert "never accepted" in text


@pytest.mark.parametrize("outcome", ["", "sold", "x" * 2**20, "\x1b[2J", "Released"])
@pytest.mark.parametrize("status", ACCEPTED_ONES)
def test_a_release_with_an_outcome_that_is_none_is_no_answer(status: Status, outcome: str) -> None:
    is_unsafe(checkout(status), replace(a.RELEASED, outcome=outcome))


@pytest.mark.parametrize("changes", OTHER_MONEY.values(), ids=OTHER_MONEY)
def test_an_authorization_of_other_money_that_can_not_be_handled_ends_nothing(changes: dict[str, Any]) -> None:
    known = checkout(Status.ACCEPTED)
    assert a.changes_nothing(give_up(known, replace(a.AUTHORIZED, **changes)), known)


# --- what other services write ---------------------------------------------------------------------------------------

NO_CODES: Final = {
    "a megabyte": "X" * (2**20 - 150),
    "markup and an escape": "[/]\x1b[2J",
    "nothing": "",
    "one letter": "X",
    "lower case": "expired",
    "65 letters": "X" * 65,
    "a blank": "OUT OF STOCK",
    "a line end": "EXPIRED\n",
    "NUL": "EX\0PIRED",
    "direction marks": "\u202eDERIPXE",
    "a card number": "X_4242424242424242",
    "letters of another script": "\u0415\u0425",
}
SAY_CODES: Final = (a.REJECTED, a.DECLINED, a.CONFIRM_FAILED, a.CAPTURE_FAILED)


@pytest.mark.parametrize("code", NO_CODES.values(), ids=NO_CODES)
@pytest.mark.parametrize("event", SAY_CODES, ids=lambda event: event.TYPE)
def test_what_is_no_code_is_our_fault_and_a_short_remark(event: Event, code: str) -> None:
    decision = decide(checkout(Status.AUTHORIZED), replace(event, code=code))  # type: ignore[call-arg]
    failed = failed_of(decision)
    assert (failed.code, decision.state.code) == (Code.INTERNAL_ERROR, Code.INTERNAL_ERROR)
    assert (failed.message, failed.accepted) == (entry_of(Code.INTERNAL_ERROR).customer, True)
    assert "not a code" in failed.detail
    is_small(decision)


def is_small(decision: Decision[Any]) -> None:
    assert len(repr(decision)) < 4000
    assert repr(decision).isprintable()
    for text in (decision.state.detail, decision.note, *(getattr(event, "detail", "") for event in decision.events)):
        assert len(text) <= 200
        assert text.isprintable()
    assert "4242424242424242" not in repr(decision)


@pytest.mark.parametrize("event", SAY_CODES, ids=lambda event: event.TYPE)
def test_a_code_that_only_a_newer_service_knows_is_kept(event: Event) -> None:
    newer: Any = {"code": "NEW_IN_2031"}
    failed = failed_of(decide(checkout(Status.AUTHORIZED), replace(event, **newer)))
    assert (failed.code, failed.message) == ("NEW_IN_2031", entry_of("NEW_IN_2031").customer)
    assert "not a code" not in failed.detail


TEXTS: Final = (
    "x" * 2**20,
    "\x1b]0;pwned\x07",
    "a\0b\u202e\u200b",
    "card 4242 4242 4242 4242",
    "two\nlines\u2028three",
)


@pytest.mark.parametrize("text", TEXTS, ids=lambda text: text[:12])
@pytest.mark.parametrize(
    "event",
    [
        lambda text: replace(a.REJECTED, sku=text),
        lambda text: replace(a.CONFIRM_FAILED, sku=text),
        lambda text: replace(a.DECLINED, provider_code=text),
        lambda text: replace(a.CAPTURE_FAILED, provider_code=text),
        lambda text: replace(a.CANCEL, reason=text),
    ],
    ids=["rejected", "confirm failed", "declined", "capture failed", "cancel"],
)
def test_whatever_is_written_into_a_text_the_failure_stays_short_and_readable(event: Any, text: str) -> None:
    decision = decide(checkout(Status.AUTHORIZED), event(text))
    assert failed_of(decision).detail
    is_small(decision)


@pytest.mark.parametrize("code", NO_CODES.values(), ids=NO_CODES)
def test_a_delay_with_what_is_no_code_ends_with_a_known_one(code: str) -> None:
    waits = decide(checkout(Status.ACCEPTED), replace(a.DELAYED, code=code, attempts=-5))
    assert waits.state.delay == Code.INTERNAL_ERROR
    assert waits.note.startswith("payment delayed: INTERNAL_ERROR, 0 tries; not a code")
    is_small(waits)
    assert failed_of(decide(waits.state, DEADLINE, a.LATER)).code == Code.INTERNAL_ERROR
    captures = decide(checkout(Status.AUTHORIZED), replace(a.CAPTURE_DELAYED, code=code, message="x" * 2**20))
    assert captures.state.delay == Code.INTERNAL_ERROR
    is_small(captures)


def test_a_delay_that_was_kept_before_codes_were_checked_ends_with_a_known_one() -> None:
    failed = failed_of(decide(checkout(Status.ACCEPTED, delay="[/]\x1b[2J"), DEADLINE, a.LATER))
    assert failed.code == Code.INTERNAL_ERROR


def test_a_delay_of_an_operation_that_is_none_changes_nothing() -> None:
    for status in ACCEPTED_ONES:
        known = checkout(status)
        assert a.changes_nothing(decide(known, replace(a.DELAYED, operation="[/]\x1b[2J")), known)
