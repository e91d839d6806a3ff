"""What payment decides: each question to the provider, each answer, each state in which an event comes too late."""

from dataclasses import replace
from datetime import datetime, timedelta
from typing import Any, Final

import pytest

from schemas.decision import Decision, NotAsked, Unknown, UnsafeError
from schemas.events import Event, PaymentAuthorized, PaymentCaptured, PaymentDelayed, PaymentRefunded, PaymentVoided
from schemas.failures import MEANWHILE
from services.payment.decisions import giving_up, handlers
from services.payment.provider import protocol as p
from services.payment.provider.protocol import Answer, Refusal, Told
from services.payment.state import LET_GO as OVER
from services.payment.state import MAYBE_HELD, NOTHING_HELD, Payment, PaymentMethod, Status, Wallet

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
    Status.CAPTURE_PENDING,
    Status.CAPTURE_FAILED,
    Status.CAPTURE_REFUSED,
    Status.CAPTURE_ABANDONED,
    Status.CAPTURED,
    Status.VOIDING,
    Status.VOIDED,
    Status.REFUNDING,
    Status.REFUNDED,
)
SILENT: Final = Unknown(attempts=2)
LATE_ANSWER: Final = Unknown(attempts=1, timed_out=True)
CAN_AUTHORIZE: Final = (
    Status.EXPECTED,
    Status.AUTHORIZING,
    Status.AUTHORIZATION_DELAYED,
    Status.AUTHORIZATION_UNKNOWN,
)
CAN_CAPTURE: Final = (Status.AUTHORIZED, Status.CAPTURE_PENDING, Status.CAPTURE_FAILED)


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
        expires_at=a.LATER,
    )


def decide(
    known: Payment | None,
    event: Event,
    *answer: Told,
    method: PaymentMethod | None = METHOD,
    at: datetime = a.AT,
) -> Decision[Any]:
    return handlers()[event.TYPE](Wallet(payment=known, method=method), event, at, *answer)


def give_up(known: Payment | None, event: Event, code: str = "INTERNAL_ERROR") -> Decision[Any]:
    return giving_up()[event.TYPE](Wallet(payment=known, method=METHOD), event, a.LATER, code)


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
    *((a.ACCEPTED, met, AUTHORIZE, "authorizing") for met in CAN_AUTHORIZE if met is not Status.EXPECTED),
    *((a.RESERVED, met, AUTHORIZE, "authorizing") for met in CAN_AUTHORIZE),
    *((a.COMMITTED, met, CAPTURE, "capture_pending") for met in CAN_CAPTURE),
    *((a.FAILED, met, AUTHORIZE, met.value) for met in MAYBE_HELD),
    *((a.FAILED, met, VOID, "voiding") for met in CAN_CAPTURE),
    (a.FAILED, Status.CAPTURE_REFUSED, VOID, "voiding"),
    (a.FAILED, Status.CAPTURE_ABANDONED, VOID, "voiding"),
    (a.FAILED, Status.VOIDING, VOID, "voiding"),
    (a.FAILED, Status.CAPTURED, REFUND, "refunding"),
    (a.FAILED, Status.REFUNDING, REFUND, "refunding"),
]


@pytest.mark.parametrize(("event", "met", "call", "then"), ASKED, ids=[f"{c[0].TYPE} in {c[1]}" for c in ASKED])
def test_what_needs_the_provider_asks_it_and_says_nothing_yet(
    event: Event, met: Status, call: p.Call, then: str
) -> None:
    decision = decide(payment(met), event)
    assert (decision.call, a.status(decision), decision.events) == (call, then, ())
    assert (decision.refusal, decision.early, decision.waits) == (None, None, None)


# event, state met, the provider's answer, the state then, what is said
ANSWERED: Final[list[tuple[Event, Status, Answer, str, list[str]]]] = [
    *((a.ACCEPTED, met, YES, "authorized", ["payment.authorized"]) for met in CAN_AUTHORIZE[1:]),
    *((a.ACCEPTED, met, NO, "declined", ["payment.declined"]) for met in CAN_AUTHORIZE[1:]),
    *((a.RESERVED, met, YES, "authorized", ["payment.authorized"]) for met in CAN_AUTHORIZE),
    *((a.RESERVED, met, NO, "declined", ["payment.declined"]) for met in CAN_AUTHORIZE),
    *((a.COMMITTED, met, TAKEN, "captured", ["payment.captured"]) for met in CAN_CAPTURE),
    *(
        (a.COMMITTED, Status.CAPTURE_PENDING, refused(why), "capture_refused", ["payment.capture_failed"])
        for why in (Refusal.BY_BANK, Refusal.VOIDED_ALREADY, Refusal.EXPIRED)
    ),
    *((a.FAILED, met, NO, "closed", ["payment.voided"]) for met in MAYBE_HELD),
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
    *((f"held after all in {met}: void", met, YES, VOID, "voiding") for met in MAYBE_HELD),
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
    (captured,) = decide(payment(Status.CAPTURE_PENDING), a.COMMITTED, TAKEN).events
    assert isinstance(authorized, PaymentAuthorized)
    assert isinstance(captured, PaymentCaptured)
    assert (authorized, captured) == (a.AUTHORIZED, a.CAPTURED)


def test_another_amount_than_the_one_asked_for_is_never_taken_for_a_capture() -> None:
    with pytest.raises(UnsafeError, match="7 was captured, 2500 was asked for"):
        decide(payment(Status.CAPTURE_PENDING), a.COMMITTED, p.Captured(amount_minor=7))


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
    decision = decide(payment(Status.CAPTURE_PENDING), a.COMMITTED, answer)
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
    (a.FAILED, Status.AUTHORIZATION_DELAYED, "closed", ["payment.voided"]),
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
    *((a.ACCEPTED, s) for s in Status if s not in (Status.RESERVED_FIRST, *CAN_AUTHORIZE[1:])),
    *((a.RESERVED, s) for s in Status if s not in CAN_AUTHORIZE),
    *((a.COMMITTED, s) for s in WITH_PAYMENT_ID if s not in CAN_CAPTURE),
    (a.COMMITTED, Status.AUTHORIZATION_ABANDONED),
    (a.COMMITTED, Status.CLOSED),
    *((a.FAILED, s) for s in OVER),
]


@pytest.mark.parametrize(("event", "met"), IGNORED, ids=[f"{c[0].TYPE} in {c[1]}" for c in IGNORED])
def test_what_comes_too_late_or_again_changes_nothing(event: Event, met: Status) -> None:
    known = payment(met)
    # with the answer of a call that another copy of the service has already dealt with, too
    for answer in ((), (YES,), (TAKEN,), (SILENT,), (NotAsked(),)):
        decision = decide(known, event, *answer)
        assert a.changes_nothing(decision, known)
        assert (decision.refusal, decision.early, decision.waits) == (None, None, None)


ON_ITS_WAY: Final = (Status.RESERVED_FIRST, *CAN_AUTHORIZE, *CAN_CAPTURE, Status.CAPTURED)


@pytest.mark.parametrize(("event", "met"), IGNORED, ids=[f"{c[0].TYPE} in {c[1]}" for c in IGNORED])
def test_a_dead_letter_that_comes_back_after_the_end_is_told_that_it_is_late(event: Event, met: Status) -> None:
    told_late = event is not a.FAILED and met not in ON_ITS_WAY
    assert decide(payment(met), event).late == (f"the payment is {met} already" if told_late else None)


@pytest.mark.parametrize("met", [None, *Status])
def test_a_checkout_that_was_never_accepted_concerns_nobody(met: Status | None) -> None:
    known = payment(met) if met else None
    assert a.changes_nothing(decide(known, a.NEVER_ACCEPTED), known)


@pytest.mark.parametrize("met", [None, Status.RESERVED_FIRST, *CAN_AUTHORIZE], ids=lambda met: met or "none")
def test_a_commitment_that_no_authorization_stands_behind_waits_for_it(met: Status | None) -> None:
    known = payment(met) if met else None
    decision = decide(known, a.COMMITTED)
    assert a.changes_nothing(decision, known)
    assert "nobody asked for it" in (decision.early or "")
    assert decision.refusal is None


def test_a_commitment_after_the_payment_was_declined_is_refused() -> None:
    known = payment(Status.DECLINED)
    decision = decide(known, a.COMMITTED)
    assert a.changes_nothing(decision, known)
    assert "nobody asked for it" in (decision.refusal or "")
    assert decision.early is None


# --- nobody answers --------------------------------------------------------------------------------------------------

# event, state met, what is told, the state then, the code; nothing is said again where nothing is new
UNANSWERED: Final[list[tuple[Event, Status, Told, str, str, bool]]] = [
    *((a.RESERVED, met, SILENT, "authorization_unknown", "PAYMENT_UNAVAILABLE", True) for met in CAN_AUTHORIZE[:3]),
    *((a.RESERVED, met, LATE_ANSWER, "authorization_unknown", "PAYMENT_TIMED_OUT", True) for met in CAN_AUTHORIZE[:3]),
    (a.RESERVED, Status.EXPECTED, NotAsked(), "authorization_delayed", "PAYMENT_UNAVAILABLE", True),
    (a.RESERVED, Status.AUTHORIZATION_DELAYED, NotAsked(), "authorization_delayed", "PAYMENT_UNAVAILABLE", False),
    (a.RESERVED, Status.AUTHORIZING, NotAsked(), "authorization_unknown", "PAYMENT_UNAVAILABLE", True),
    (a.RESERVED, Status.AUTHORIZATION_UNKNOWN, NotAsked(), "authorization_unknown", "PAYMENT_UNAVAILABLE", False),
    (a.ACCEPTED, Status.RESERVED_FIRST, NotAsked(), "authorization_delayed", "PAYMENT_UNAVAILABLE", True),
    (a.ACCEPTED, Status.AUTHORIZING, SILENT, "authorization_unknown", "PAYMENT_UNAVAILABLE", True),
    *((a.COMMITTED, met, SILENT, "capture_failed", "PAYMENT_UNAVAILABLE", True) for met in CAN_CAPTURE[:2]),
    *((a.COMMITTED, met, LATE_ANSWER, "capture_failed", "PAYMENT_TIMED_OUT", True) for met in CAN_CAPTURE[:2]),
    *((a.COMMITTED, met, NotAsked(), "capture_failed", "PAYMENT_UNAVAILABLE", True) for met in CAN_CAPTURE[:2]),
]


@pytest.mark.parametrize(
    ("event", "met", "told", "then", "code", "speaks"),
    UNANSWERED,
    ids=[f"{c[0].TYPE} in {c[1]} told {c[2]}" for c in UNANSWERED],
)
def test_without_an_answer_the_customer_hears_why_and_the_step_waits(
    event: Event, met: Status, told: Told, then: str, code: str, speaks: bool
) -> None:
    decision = decide(payment(met), event, told)
    assert (a.status(decision), decision.state.code, decision.call) == (then, code, None)
    assert decision.waits
    operation = "capture" if event is a.COMMITTED else "authorize"
    attempts = told.attempts if isinstance(told, Unknown) else 0
    delayed = PaymentDelayed(checkout_id=a.ID, operation=operation, code=code, message=MEANWHILE, attempts=attempts)
    assert decision.events == ((delayed,) if speaks else ())


def test_a_capture_that_waits_already_waits_on_without_a_word() -> None:
    known = payment(Status.CAPTURE_FAILED)
    for told in (NotAsked(), SILENT):
        decision = decide(known, a.COMMITTED, told)
        assert a.changes_nothing(decision, known)
        assert decision.waits


def test_a_capture_that_is_not_asked_for_passes_through_pending_in_the_trail() -> None:
    assert decide(payment(Status.AUTHORIZED), a.COMMITTED, NotAsked()).via == ("capture_pending",)
    assert decide(payment(Status.CAPTURE_PENDING), a.COMMITTED, SILENT).via == ()


def test_an_authorization_waits_until_the_deadline_and_a_capture_without_one() -> None:
    assert decide(payment(Status.EXPECTED), a.RESERVED, NotAsked()).until == a.LATER
    assert decide(payment(Status.AUTHORIZING), a.RESERVED, SILENT).until == a.LATER
    assert decide(payment(Status.CAPTURE_PENDING), a.COMMITTED, SILENT).until is None


@pytest.mark.parametrize("told", [NotAsked(), SILENT, LATE_ANSWER], ids=str)
@pytest.mark.parametrize("met", [s for s in Status if s not in (*NOTHING_HELD, *OVER)])
def test_what_can_not_be_let_go_of_now_waits_as_it_is(met: Status, told: Told) -> None:
    known = payment(met)
    decision = decide(known, a.FAILED, told)
    assert (decision.state, decision.events, decision.call, decision.until) == (known, (), None, None)
    assert decision.waits
    assert bool(decision.note) is isinstance(told, Unknown)  # each try is in the trail


# state met at the deadline, without an answer: the state then, the code
AT_THE_DEADLINE: Final = [
    (Status.EXPECTED, None, "declined", "EXPIRED"),
    (Status.AUTHORIZATION_DELAYED, "PAYMENT_UNAVAILABLE", "declined", "PAYMENT_UNAVAILABLE"),
    (Status.AUTHORIZING, None, "authorization_abandoned", "EXPIRED"),
    (Status.AUTHORIZATION_UNKNOWN, "PAYMENT_TIMED_OUT", "authorization_abandoned", "PAYMENT_TIMED_OUT"),
]


@pytest.mark.parametrize("told", [(), (NotAsked(),), (SILENT,)], ids=["not asked yet", "breaker open", "no answer"])
@pytest.mark.parametrize(("met", "delay", "then", "code"), AT_THE_DEADLINE)
def test_after_the_deadline_nothing_is_asked_any_more(
    met: Status, delay: str | None, then: str, code: str, told: tuple[Told, ...]
) -> None:
    known = replace(payment(met), code=delay)
    decision = decide(known, a.RESERVED, *told, at=a.LATER)
    assert (a.status(decision), decision.call, decision.waits) == (then, None, None)
    assert decision.events == (replace(a.DECLINED, code=code, provider_code=None),)


def test_the_deadline_counts_from_its_very_instant() -> None:
    assert decide(payment(Status.EXPECTED), a.RESERVED, at=a.LATER - timedelta(microseconds=1)).call == AUTHORIZE


def test_an_answer_that_comes_after_the_deadline_still_counts() -> None:
    assert a.status(decide(payment(Status.AUTHORIZING), a.RESERVED, YES, at=a.LATER)) == "authorized"
    assert a.status(decide(payment(Status.AUTHORIZING), a.RESERVED, NO, at=a.LATER)) == "declined"


# --- given up ---------------------------------------------------------------------------------------------------------

# event, state met, the state then; None: nothing is said, as there is nothing to give up
GIVEN_UP: Final[list[tuple[Event, Status | None, str | None]]] = [
    *(
        (event, met, "authorization_abandoned" if met in MAYBE_HELD else "declined")
        for event in (a.ACCEPTED, a.RESERVED)
        for met in (None, Status.RESERVED_FIRST, *CAN_AUTHORIZE)
    ),
    *(
        (event, met, None)
        for event in (a.ACCEPTED, a.RESERVED)
        for met in Status
        if met not in (Status.RESERVED_FIRST, *CAN_AUTHORIZE)
    ),
    *((a.COMMITTED, met, "capture_abandoned") for met in CAN_CAPTURE),
    *((a.COMMITTED, met, None) for met in (None, *Status) if met not in CAN_CAPTURE),
]


@pytest.mark.parametrize(("event", "met", "then"), GIVEN_UP, ids=[f"{c[0].TYPE} in {c[1] or 'none'}" for c in GIVEN_UP])
def test_a_step_that_is_given_up_is_announced_unless_it_is_done(
    event: Event, met: Status | None, then: str | None
) -> None:
    known = payment(met) if met else None
    decision = give_up(known, event, "PAYMENT_TIMED_OUT")
    if then is None:
        assert a.changes_nothing(decision, known)
        return
    assert (a.status(decision), decision.call, decision.state.code) == (then, None, "PAYMENT_TIMED_OUT")
    says = a.CAPTURE_FAILED if event is a.COMMITTED else a.DECLINED
    assert decision.events == (replace(says, code="PAYMENT_TIMED_OUT", provider_code=None),)


def test_what_lets_go_is_never_given_up_with_a_word() -> None:
    assert set(giving_up()) == {a.ACCEPTED.TYPE, a.RESERVED.TYPE, a.COMMITTED.TYPE}


def test_a_given_up_authorization_that_was_made_after_all_is_let_go() -> None:
    known = give_up(payment(Status.AUTHORIZATION_UNKNOWN), a.RESERVED).state
    asked = decide(known, a.FAILED)
    assert asked.call == AUTHORIZE
    assert decide(asked.state, a.FAILED, YES).call == VOID


def test_a_given_up_capture_that_was_made_after_all_is_given_back() -> None:
    known = give_up(payment(Status.CAPTURE_FAILED), a.COMMITTED).state
    void = decide(known, a.FAILED)
    assert void.call == VOID
    assert decide(void.state, a.FAILED, refused(Refusal.CAPTURED_ALREADY)).call == REFUND


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
    answer: tuple[Told, ...] = ()
    for _ in range(6):
        decision = decide(state, a.FAILED, *answer)
        state, answer = decision.state, (provider_says(decision.call),) if decision.call else ()
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
    (a.COMMITTED, Status.CAPTURE_PENDING, YES),
    (a.COMMITTED, Status.CAPTURE_PENDING, refused(Refusal.OTHER)),
    (a.COMMITTED, Status.CAPTURE_PENDING, refused(Refusal.CAPTURED_ALREADY)),
    (a.FAILED, Status.AUTHORIZING, LET_GO),
    (a.FAILED, Status.VOIDING, refused(Refusal.OTHER)),
    (a.FAILED, Status.VOIDING, GIVEN_BACK),
    (a.FAILED, Status.REFUNDING, refused(Refusal.OTHER)),
    (a.FAILED, Status.REFUNDING, LET_GO),
]


@pytest.mark.parametrize(("event", "met", "answer"), UNFIT, ids=[answered_id((*c, "", [])) for c in UNFIT])
def test_an_answer_that_no_rule_covers_is_never_taken_for_a_success(event: Event, met: Status, answer: Answer) -> None:
    with pytest.raises(UnsafeError, match="was answered with"):
        decide(payment(met), event, answer)


def test_money_without_the_providers_id_of_it_is_nobodys_guess() -> None:
    lost = replace(payment(Status.AUTHORIZED), payment_id=None)
    with pytest.raises(UnsafeError, match="without a provider's payment id"):
        decide(lost, a.COMMITTED)


def test_the_answer_to_another_processs_question_is_asked_again() -> None:
    decision = decide(payment(Status.AUTHORIZED), a.FAILED, YES)
    assert (decision.call, a.status(decision)) == (VOID, "voiding")


def test_a_void_answered_after_another_process_went_on_to_refund_asks_for_the_refund() -> None:
    decision = decide(payment(Status.REFUNDING), a.FAILED, refused(Refusal.CAPTURED_ALREADY))
    assert decision.call == REFUND


# --- acceptances that our checkout service never said -----------------------------------------------------------------


@pytest.mark.parametrize("changes", a.IMPOSSIBLE.values(), ids=a.IMPOSSIBLE)
@pytest.mark.parametrize("met", [None, *Status], ids=lambda met: met or "none")
def test_what_can_not_be_accepted_asks_nothing_and_goes_to_a_person(
    met: Status | None, changes: dict[str, Any]
) -> None:
    forged = replace(a.ACCEPTED, **changes)
    with pytest.raises(UnsafeError) as raised:
        decide(payment(met) if met else None, forged)
    a.assert_readable(raised.value, forged)
    assert "tok-1" not in str(raised.value)


@pytest.mark.parametrize("changes", a.IMPOSSIBLE.values(), ids=a.IMPOSSIBLE)
@pytest.mark.parametrize("met", [None, Status.RESERVED_FIRST, *CAN_AUTHORIZE], ids=lambda met: met or "none")
def test_what_can_not_be_accepted_ends_nothing_when_it_is_given_up(met: Status | None, changes: dict[str, Any]) -> None:
    known = payment(met) if met else None
    assert a.changes_nothing(give_up(known, replace(a.ACCEPTED, **changes)), known)


OTHER_CONTENT: Final[dict[str, dict[str, Any]]] = {
    "another amount": {"total_minor": 2501, "lines": (*a.LINES, replace(a.LINES[0], quantity=1, unit_price_minor=1))},
    "another currency": {"currency": "JPY"},
    "another customer": {"customer_id": "cust-2"},
    "another payment method": {"payment_method_id": "pm-2"},
}
WITH_AMOUNT: Final = tuple(status for status in Status if status is not Status.RESERVED_FIRST)


@pytest.mark.parametrize("changes", OTHER_CONTENT.values(), ids=OTHER_CONTENT)
@pytest.mark.parametrize("met", WITH_AMOUNT)
def test_a_second_acceptance_with_other_content_goes_to_a_person(met: Status, changes: dict[str, Any]) -> None:
    known, forged = payment(met), replace(a.ACCEPTED, **changes)
    with pytest.raises(UnsafeError, match="accepted before"):
        decide(known, forged)
    assert a.changes_nothing(give_up(known, forged), known)


@pytest.mark.parametrize("status", [Status.CLOSED, Status.DECLINED])
def test_what_was_over_before_it_had_an_amount_is_late_and_no_persons_matter(status: Status) -> None:
    known = Payment(checkout_id=a.ID, status=status)
    assert decide(known, a.ACCEPTED).late == f"the payment is {status} already"


def test_another_amount_than_the_captured_one_is_never_taken_for_a_refund() -> None:
    with pytest.raises(UnsafeError, match="7 was given back, 2500 was asked for"):
        decide(payment(Status.REFUNDING), a.FAILED, p.Refunded(amount_minor=7))
