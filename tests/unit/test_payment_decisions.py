"""What payment decides: each question to the provider, each answer, each state in which an event comes too late."""

from dataclasses import replace
from typing import Any, Final

import pytest

from schemas.decision import Decision
from schemas.events import Event, PaymentAuthorized, PaymentCaptured, PaymentRefunded, PaymentVoided
from services.payment.decisions import Payment, PaymentMethod, Status, UndecidedError, Wallet, handlers
from services.payment.provider import protocol as p
from services.payment.provider.protocol import Answer, Refusal

from . import making as a

METHOD: Final = PaymentMethod(payment_method_id="pm-1", customer_id="cust-1", token="tok-1")
STRANGERS: Final = replace(METHOD, customer_id="cust-2")

YES: Final = p.Authorized(payment_id="pay-1", capture_before=a.LATER)
NO: Final = p.Declined(code="INSUFFICIENT_FUNDS", provider_code="insufficient_funds")
TAKEN: Final = p.Captured(amount_minor=a.TOTAL)
LET_GO: Final = p.Voided()
GIVEN_BACK: Final = p.Refunded(amount_minor=a.TOTAL)

AUTHORIZE: Final = p.Authorize(
    checkout_id=a.ID, amount_minor=a.TOTAL, currency="EUR", token="tok-1", customer_id="cust-1"
)
CAPTURE: Final = p.Capture(checkout_id=a.ID, payment_id="pay-1", amount_minor=a.TOTAL)
VOID: Final = p.Void(checkout_id=a.ID, payment_id="pay-1")
REFUND: Final = p.Refund(checkout_id=a.ID, payment_id="pay-1", amount_minor=a.TOTAL)

WITH_PAYMENT_ID: Final = (
    Status.AUTHORIZED,
    Status.CAPTURING,
    Status.CAPTURED,
    Status.CAPTURE_FAILED,
    Status.VOIDING,
    Status.VOIDED,
    Status.REFUNDING,
    Status.REFUNDED,
)
OVER: Final = (Status.VOIDED, Status.REFUNDED, Status.CLOSED)


def refused(refusal: Refusal) -> p.Refused:
    return p.Refused(refusal=refusal, provider_code="their_word")


def payment(status: Status) -> Payment:
    if status is Status.RESERVED_FIRST:
        return Payment(checkout_id=a.ID, status=status)
    return Payment(
        checkout_id=a.ID,
        status=status,
        customer_id="cust-1",
        payment_method_id="pm-1",
        token="tok-1",
        currency="EUR",
        amount_minor=a.TOTAL,
        payment_id="pay-1" if status in WITH_PAYMENT_ID else None,
    )


def decide(
    known: Payment | None, event: Event, *answer: Answer, method: PaymentMethod | None = METHOD
) -> Decision[Any]:
    return handlers()[event.TYPE](Wallet(payment=known, method=method), event, a.AT, *answer)


def test_keys_belong_to_the_checkout_and_the_operation() -> None:
    assert [call.key for call in (AUTHORIZE, CAPTURE, VOID, REFUND)] == [
        "checkout:c-1:auth",
        "checkout:c-1:capture",
        "checkout:c-1:void",
        "checkout:c-1:refund",
    ]


# event, state met, the call that is made, the state that says so
ASKED: Final[list[tuple[Event, Status, p.Call, str]]] = [
    (a.ACCEPTED, Status.RESERVED_FIRST, AUTHORIZE, "authorizing"),
    (a.ACCEPTED, Status.AUTHORIZING, AUTHORIZE, "authorizing"),
    (a.RESERVED, Status.EXPECTED, AUTHORIZE, "authorizing"),
    (a.RESERVED, Status.AUTHORIZING, AUTHORIZE, "authorizing"),
    (a.COMMITTED, Status.AUTHORIZED, CAPTURE, "capturing"),
    (a.COMMITTED, Status.CAPTURING, CAPTURE, "capturing"),
    (a.FAILED, Status.AUTHORIZING, AUTHORIZE, "authorizing"),
    (a.FAILED, Status.AUTHORIZED, VOID, "voiding"),
    (a.FAILED, Status.CAPTURING, VOID, "voiding"),
    (a.FAILED, Status.CAPTURE_FAILED, VOID, "voiding"),
    (a.FAILED, Status.VOIDING, VOID, "voiding"),
    (a.FAILED, Status.CAPTURED, REFUND, "refunding"),
    (a.FAILED, Status.REFUNDING, REFUND, "refunding"),
]


@pytest.mark.parametrize(("event", "met", "call", "then"), ASKED, ids=[f"{c[0].TYPE} in {c[1]}" for c in ASKED])
def test_what_needs_the_provider_asks_it_and_says_nothing_yet(
    event: Event, met: Status, call: p.Call, then: str
) -> None:
    decision = decide(payment(met), event)
    assert (decision.call, a.status(decision), decision.events, decision.refusal) == (call, then, (), None)


# event, state met, the provider's answer, the state then, what is said
ANSWERED: Final[list[tuple[Event, Status, Answer, str, list[str]]]] = [
    (a.ACCEPTED, Status.AUTHORIZING, YES, "authorized", ["payment.authorized"]),
    (a.ACCEPTED, Status.AUTHORIZING, NO, "declined", ["payment.declined"]),
    (a.RESERVED, Status.AUTHORIZING, YES, "authorized", ["payment.authorized"]),
    (a.RESERVED, Status.AUTHORIZING, NO, "declined", ["payment.declined"]),
    (a.COMMITTED, Status.CAPTURING, TAKEN, "captured", ["payment.captured"]),
    (a.COMMITTED, Status.CAPTURING, refused(Refusal.BY_BANK), "capture_failed", ["payment.capture_failed"]),
    (a.COMMITTED, Status.CAPTURING, refused(Refusal.VOIDED_ALREADY), "capture_failed", ["payment.capture_failed"]),
    (a.COMMITTED, Status.CAPTURING, refused(Refusal.EXPIRED), "capture_failed", ["payment.capture_failed"]),
    (a.FAILED, Status.AUTHORIZING, NO, "closed", ["payment.voided"]),
    (a.FAILED, Status.VOIDING, LET_GO, "voided", ["payment.voided"]),
    (a.FAILED, Status.VOIDING, refused(Refusal.VOIDED_ALREADY), "voided", ["payment.voided"]),
    (a.FAILED, Status.VOIDING, refused(Refusal.EXPIRED), "voided", ["payment.voided"]),
    (a.FAILED, Status.REFUNDING, GIVEN_BACK, "refunded", ["payment.refunded"]),
    (a.FAILED, Status.REFUNDING, refused(Refusal.REFUNDED_ALREADY), "refunded", ["payment.refunded"]),
]


def answered_id(case: tuple[Event, Status, Answer, str, list[str]]) -> str:
    event, met, answer, _, _ = case
    word = answer.refusal if isinstance(answer, p.Refused) else type(answer).__name__.lower()
    return f"{event.TYPE} in {met} answered {word}"


@pytest.mark.parametrize(("event", "met", "answer", "then", "said"), ANSWERED, ids=map(answered_id, ANSWERED))
def test_an_answer_settles_the_event(event: Event, met: Status, answer: Answer, then: str, said: list[str]) -> None:
    decision = decide(payment(met), event, answer)
    assert (a.status(decision), a.told(decision), decision.call) == (then, said, None)


# calls of an undo that follow from the answer to another call
GOES_ON: Final[list[tuple[str, Status, Answer, p.Call, str]]] = [
    ("held after all: void", Status.AUTHORIZING, YES, VOID, "voiding"),
    ("captured already: refund", Status.VOIDING, refused(Refusal.CAPTURED_ALREADY), REFUND, "refunding"),
]


@pytest.mark.parametrize(("met", "answer", "call", "then"), [c[1:] for c in GOES_ON], ids=[c[0] for c in GOES_ON])
def test_an_undo_whose_answer_shows_more_to_undo_goes_on(met: Status, answer: Answer, call: p.Call, then: str) -> None:
    decision = decide(payment(met), a.FAILED, answer)
    assert (decision.call, a.status(decision), decision.events) == (call, then, ())


def test_an_unknown_outcome_is_undone_by_the_same_question_and_then_a_void() -> None:
    asked = decide(payment(Status.EXPECTED), a.RESERVED)
    # no answer ever comes: the process died, and checkout.failed is what it hears next
    again = decide(asked.state, a.FAILED)
    assert again.call == asked.call == AUTHORIZE
    void = decide(again.state, a.FAILED, YES)
    assert (void.call, void.state.payment_id) == (VOID, "pay-1")
    (voided,) = decide(void.state, a.FAILED, LET_GO).events
    assert voided == a.VOIDED


def test_a_capture_that_nobody_heard_of_is_refunded_in_full() -> None:
    void = decide(decide(payment(Status.AUTHORIZED), a.COMMITTED).state, a.FAILED)
    refund = decide(void.state, a.FAILED, refused(Refusal.CAPTURED_ALREADY))
    (refunded,) = decide(refund.state, a.FAILED, GIVEN_BACK).events
    assert refunded == a.REFUNDED


def test_what_is_said_names_payment_amount_and_currency() -> None:
    (authorized,) = decide(payment(Status.AUTHORIZING), a.RESERVED, YES).events
    (captured,) = decide(payment(Status.CAPTURING), a.COMMITTED, TAKEN).events
    assert isinstance(authorized, PaymentAuthorized)
    assert isinstance(captured, PaymentCaptured)
    assert (authorized, captured) == (a.AUTHORIZED, a.CAPTURED)


def test_what_was_captured_is_told_as_the_provider_told_it() -> None:
    (captured,) = decide(payment(Status.CAPTURING), a.COMMITTED, p.Captured(amount_minor=7)).events
    assert isinstance(captured, PaymentCaptured)
    assert captured.amount_minor == 7


@pytest.mark.parametrize(
    ("answer", "code"),
    [
        (refused(Refusal.BY_BANK), "CAPTURE_REFUSED"),
        (refused(Refusal.EXPIRED), "AUTHORIZATION_LOST"),
        (refused(Refusal.VOIDED_ALREADY), "AUTHORIZATION_LOST"),
    ],
    ids=["by the bank", "expired", "voided already"],
)
def test_a_refused_capture_is_told_in_our_words_and_theirs(answer: Answer, code: str) -> None:
    decision = decide(payment(Status.CAPTURING), a.COMMITTED, answer)
    assert decision.events == (replace(a.CAPTURE_FAILED, code=code, provider_code="their_word"),)
    assert decision.state.code == code


def test_a_declined_card_is_told_in_our_words_and_theirs() -> None:
    decision = decide(payment(Status.AUTHORIZING), a.RESERVED, NO)
    assert decision.events == (replace(a.DECLINED, code=NO.code, provider_code=NO.provider_code),)
    assert decision.state.code == NO.code


# what an event makes of a state without asking anybody: the state then, what is said
AT_ONCE: Final[list[tuple[Event, Status | None, str, list[str]]]] = [
    (a.ACCEPTED, None, "expected", []),
    (a.RESERVED, None, "reserved_first", []),
    (a.FAILED, None, "closed", ["payment.voided"]),
    (a.FAILED, Status.RESERVED_FIRST, "closed", ["payment.voided"]),
    (a.FAILED, Status.EXPECTED, "closed", ["payment.voided"]),
    (a.FAILED, Status.DECLINED, "closed", ["payment.voided"]),
]


@pytest.mark.parametrize(
    ("event", "met", "then", "said"), AT_ONCE, ids=[f"{c[0].TYPE} in {c[1] or 'none'}" for c in AT_ONCE]
)
def test_what_needs_nobody_is_decided_at_once(event: Event, met: Status | None, then: str, said: list[str]) -> None:
    decision = decide(payment(met) if met else None, event)
    assert (a.status(decision), a.told(decision), decision.call) == (then, said, None)


def test_the_payment_to_come_is_recorded_as_accepted() -> None:
    assert decide(None, a.ACCEPTED).state == payment(Status.EXPECTED)


@pytest.mark.parametrize("met", [None, Status.RESERVED_FIRST])
@pytest.mark.parametrize(
    ("method", "code"),
    [(None, "PAYMENT_METHOD_UNKNOWN"), (STRANGERS, "PAYMENT_METHOD_NOT_OWNED")],
    ids=["unknown", "a stranger's"],
)
def test_nobodys_or_a_strangers_method_is_declined_before_anything_is_asked(
    met: Status | None, method: PaymentMethod | None, code: str
) -> None:
    decision = decide(payment(met) if met else None, a.ACCEPTED, method=method)
    assert decision.call is None
    assert decision.events == (replace(a.DECLINED, code=code, provider_code=None),)
    assert (decision.state.status, decision.state.token) == (Status.DECLINED, "")
    late = decide(decision.state, a.RESERVED)
    assert a.changes_nothing(late, decision.state)


IGNORED: Final[list[tuple[Event, Status]]] = [
    *((a.ACCEPTED, s) for s in Status if s not in (Status.RESERVED_FIRST, Status.AUTHORIZING)),
    *((a.RESERVED, s) for s in Status if s not in (Status.EXPECTED, Status.AUTHORIZING)),
    *((a.COMMITTED, s) for s in WITH_PAYMENT_ID if s not in (Status.AUTHORIZED, Status.CAPTURING)),
    (a.COMMITTED, Status.CLOSED),
    *((a.FAILED, s) for s in OVER),
]


@pytest.mark.parametrize(("event", "met"), IGNORED, ids=[f"{c[0].TYPE} in {c[1]}" for c in IGNORED])
def test_what_comes_too_late_or_again_changes_nothing(event: Event, met: Status) -> None:
    known = payment(met)
    # with the answer of a call that another copy of the service has already dealt with, too
    for answer in ((), (YES,), (TAKEN,)):
        decision = decide(known, event, *answer)
        assert a.changes_nothing(decision, known)
        assert decision.refusal is None


@pytest.mark.parametrize("met", [None, *Status])
def test_a_checkout_that_was_never_accepted_concerns_nobody(met: Status | None) -> None:
    known = payment(met) if met else None
    assert a.changes_nothing(decide(known, a.NEVER_ACCEPTED), known)


@pytest.mark.parametrize(
    "met",
    [None, Status.RESERVED_FIRST, Status.EXPECTED, Status.AUTHORIZING, Status.DECLINED],
    ids=lambda met: met or "none",
)
def test_a_commitment_that_no_authorization_stands_behind_is_refused(met: Status | None) -> None:
    known = payment(met) if met else None
    decision = decide(known, a.COMMITTED)
    assert a.changes_nothing(decision, known)
    assert "nobody asked for it" in (decision.refusal or "")


def provider_says(call: p.Call) -> Answer:
    match call:
        case p.Authorize():
            return YES
        case p.Capture():
            return TAKEN
        case p.Void():
            return LET_GO
        case p.Refund():
            return GIVEN_BACK


@pytest.mark.parametrize("met", [None, *Status], ids=lambda met: met or "none")
def test_checkout_failed_is_answered_exactly_once(met: Status | None) -> None:
    state, said = payment(met) if met else None, list[Event]()
    answer: tuple[Answer, ...] = ()
    for _ in range(6):
        decision = decide(state, a.FAILED, *answer)
        state, answer = decision.state, (provider_says(decision.call),) if decision.call else ()  # type: ignore[arg-type]
        said += decision.events
    assert len(said) == (0 if met in OVER else 1)
    assert all(isinstance(event, PaymentVoided | PaymentRefunded) for event in said)
    assert state is not None
    assert state.status in OVER
    assert a.changes_nothing(decide(state, a.ACCEPTED), state)
    assert a.changes_nothing(decide(state, a.RESERVED), state)


UNFIT: Final[list[tuple[Event, Status, Answer]]] = [
    (a.RESERVED, Status.AUTHORIZING, TAKEN),
    (a.RESERVED, Status.AUTHORIZING, refused(Refusal.OTHER)),
    (a.COMMITTED, Status.CAPTURING, YES),
    (a.COMMITTED, Status.CAPTURING, refused(Refusal.OTHER)),
    (a.COMMITTED, Status.CAPTURING, refused(Refusal.CAPTURED_ALREADY)),
    (a.FAILED, Status.AUTHORIZING, LET_GO),
    (a.FAILED, Status.VOIDING, refused(Refusal.OTHER)),
    (a.FAILED, Status.VOIDING, GIVEN_BACK),
    (a.FAILED, Status.REFUNDING, refused(Refusal.OTHER)),
    (a.FAILED, Status.REFUNDING, LET_GO),
]


@pytest.mark.parametrize(("event", "met", "answer"), UNFIT, ids=[answered_id((*c, "", [])) for c in UNFIT])
def test_an_answer_that_no_rule_covers_is_never_taken_for_a_success(event: Event, met: Status, answer: Answer) -> None:
    with pytest.raises(UndecidedError, match="was answered with"):
        decide(payment(met), event, answer)


def test_money_without_the_providers_id_of_it_is_nobodys_guess() -> None:
    lost = replace(payment(Status.AUTHORIZED), payment_id=None)
    with pytest.raises(UndecidedError, match="without a provider's payment id"):
        decide(lost, a.COMMITTED)


def test_the_answer_to_another_processs_question_is_asked_again() -> None:
    decision = decide(payment(Status.AUTHORIZED), a.FAILED, YES)
    assert (decision.call, a.status(decision)) == (VOID, "voiding")


def test_a_void_answered_after_another_process_went_on_to_refund_asks_for_the_refund() -> None:
    decision = decide(payment(Status.REFUNDING), a.FAILED, refused(Refusal.CAPTURED_ALREADY))
    assert decision.call == REFUND
