"""What the sandbox's adapter finds out after an answer was lost, for every call and every fault."""

from typing import Any, Final

import pytest

from services.payment.provider.protocol import (
    Answer,
    Authorize,
    Authorized,
    Call,
    Capture,
    Captured,
    Declined,
    OutcomeUnknownError,
    Refund,
    Refunded,
    Refusal,
    Refused,
    Void,
    Voided,
)
from tests.providers.using import AMOUNT_MINOR, SANDBOX, ask, authorize, on_payment, outcome
from tests.sandbox.conftest import StartProvider
from tests.sandbox.driving import Provider, fresh, wait_until

LOST: Final = ("lost_answer", "reset_after", "error_after:500")
"""Faults after the effect."""
STOPPED: Final = ("hang", "reset_before", "error:503")
"""Faults before it."""
DONE: Final[dict[type[Call], Any]] = {
    Capture: Captured(amount_minor=AMOUNT_MINOR),
    Void: Voided(),
    Refund: Refunded(amount_minor=AMOUNT_MINOR),
}
EFFECTS: Final = {Authorize: "authorized", Capture: "captured", Void: "voided", Refund: "refunded"}
HANG_S: Final = 0.5

every_call = pytest.mark.parametrize("kind", EFFECTS)


def url_of(provider: Provider) -> str:
    return f"http://127.0.0.1:{provider.port}"


def perform(provider: Provider, call: Call, timeout_s: float = 10.0) -> Any:
    return ask(SANDBOX, url_of(provider), lambda p: outcome(p.perform(call)), timeout_s)


def find(provider: Provider, call: Call) -> Any:
    return ask(SANDBOX, url_of(provider), lambda p: outcome(p.find(call)))


def prepare(provider: Provider, kind: type[Call], token: str = "tok_ok") -> Call:
    """A call whose payment is ready for it."""
    first = authorize(token)
    if kind is Authorize:
        return first
    held = perform(provider, first)
    assert isinstance(held, Authorized)
    if kind is Refund:
        assert perform(provider, on_payment(Capture, first.checkout_id, held.payment_id)) == DONE[Capture]
    return on_payment(kind, first.checkout_id, held.payment_id)


def strike(provider: Provider, fault: str, call: Call, operation: str = "") -> None:
    """The next such request of this checkout meets the fault."""
    named = operation or call.operation
    provider.set_faults({"fault": fault, "operation": named, "checkout_id": call.checkout_id, "times": 1})


def assert_done(call: Call, answer: Answer | None, provider: Provider) -> None:
    if isinstance(call, Authorize):
        assert isinstance(answer, Authorized)
        assert provider.payment(answer.payment_id)["checkout_id"] == call.checkout_id
    else:
        assert answer == DONE[type(call)]


def times(provider: Provider, call: Call) -> int:
    return provider.effects_of(call.checkout_id).count(EFFECTS[type(call)])


# after an answer that was lost


@every_call
@pytest.mark.parametrize("fault", LOST)
def test_an_effect_whose_answer_was_lost_is_found(provider: Provider, kind: type[Call], fault: str) -> None:
    call = prepare(provider, kind)
    strike(provider, fault, call)
    assert isinstance(perform(provider, call), OutcomeUnknownError)
    assert times(provider, call) == 1
    assert_done(call, find(provider, call), provider)
    assert times(provider, call) == 1


@every_call
@pytest.mark.parametrize("fault", STOPPED)
def test_a_call_that_never_took_effect_is_found_nowhere_and_can_be_repeated(
    provider: Provider, kind: type[Call], fault: str
) -> None:
    call = prepare(provider, kind)
    strike(provider, fault, call)
    lost = perform(provider, call, HANG_S)
    assert isinstance(lost, OutcomeUnknownError)
    assert lost.timed_out == (fault == "hang")
    assert find(provider, call) is None
    assert times(provider, call) == 0
    assert_done(call, perform(provider, call), provider)
    assert times(provider, call) == 1


@every_call
def test_finding_has_no_effect_however_often_it_is_asked(provider: Provider, kind: type[Call]) -> None:
    call = prepare(provider, kind)
    before = provider.effects_of(call.checkout_id)
    assert [find(provider, call) for _ in range(3)] == [None] * 3
    assert provider.effects_of(call.checkout_id) == before
    perform(provider, call)
    after = provider.effects_of(call.checkout_id)
    for _ in range(3):
        assert_done(call, find(provider, call), provider)
    assert provider.effects_of(call.checkout_id) == after


@pytest.mark.parametrize("fault", ["error:503", "lost_answer", "reset_before"])
def test_a_question_that_is_not_answered_leaves_the_outcome_unknown(provider: Provider, fault: str) -> None:
    call = prepare(provider, Capture)
    provider.set_faults({"fault": fault, "operation": "lookup"})
    assert isinstance(find(provider, call), OutcomeUnknownError)


def test_a_call_that_is_still_being_executed_is_unknown_until_it_is_found(provider: Provider) -> None:
    call = authorize("tok_delay_1500")
    slow = perform(provider, call, 0.3)
    assert isinstance(slow, OutcomeUnknownError)
    assert slow.timed_out
    under_way = find(provider, call)
    assert isinstance(under_way, OutcomeUnknownError)
    assert "in_flight" in str(under_way)
    wait_until(lambda: isinstance(find(provider, call), Authorized), "the slow bank to answer")
    assert times(provider, call) == 1


def test_a_refused_call_keeps_its_answer(provider: Provider) -> None:
    declined = authorize("tok_decline_expired_card")
    no = Declined(code="CARD_EXPIRED", provider_code="expired_card")
    assert [perform(provider, declined), find(provider, declined)] == [no, no]
    refused = prepare(provider, Capture, "tok_capture_refused")
    by_bank = Refused(refusal=Refusal.BY_BANK, provider_code="capture_refused")
    assert [perform(provider, refused), find(provider, refused)] == [by_bank, by_bank]


def test_a_refusal_that_is_hidden_behind_a_server_error_stays_unknown(provider: Provider) -> None:
    call = prepare(provider, Capture, "tok_capture_refused")
    strike(provider, "error_after:500", call)
    assert isinstance(perform(provider, call), OutcomeUnknownError)
    hidden = find(provider, call)
    assert isinstance(hidden, OutcomeUnknownError)
    assert not hidden.timed_out


# after a key was forgotten


def forget(provider: Provider, call: Call) -> None:
    """Wait until the key is gone; the provider tidies up when it writes."""

    def gone() -> bool:
        provider.authorize(fresh("other"))
        return provider.get(f"/v1/idempotency-keys/{call.key}").status == 404

    wait_until(gone, "the key to be forgotten")


@every_call
def test_an_effect_is_found_when_its_key_is_forgotten(start_provider: StartProvider, kind: type[Call]) -> None:
    provider = start_provider("--key-ttl-s", "0.2")
    call = prepare(provider, kind)
    assert_done(call, perform(provider, call), provider)
    forget(provider, call)
    assert_done(call, find(provider, call), provider)
    assert times(provider, call) == 1


def test_a_decline_is_found_when_its_key_is_forgotten(start_provider: StartProvider) -> None:
    provider = start_provider("--key-ttl-s", "0.2")
    call = authorize("tok_decline_lost_card")
    perform(provider, call)
    forget(provider, call)
    assert find(provider, call) == Declined(code="PAYMENT_DECLINED", provider_code="payment_declined")


CLOSED: Final = [
    ((Capture,), Void, Refusal.CAPTURED_ALREADY),
    ((Void,), Capture, Refusal.VOIDED_ALREADY),
    ((Capture, Refund), Void, Refusal.CAPTURED_ALREADY),
    ((Void,), Refund, Refusal.OTHER),
]


@pytest.mark.parametrize(("done", "asked", "refusal"), CLOSED)
def test_a_payment_that_is_closed_says_of_a_call_what_the_call_itself_would_hear(
    provider: Provider, done: tuple[type[Call], ...], asked: type[Call], refusal: Refusal
) -> None:
    held = prepare(provider, Capture)
    assert isinstance(held, Capture)
    for kind in done:
        assert perform(provider, on_payment(kind, held.checkout_id, held.payment_id)) == DONE[kind]
    call = on_payment(asked, held.checkout_id, held.payment_id)
    found = find(provider, call)
    assert isinstance(found, Refused)
    assert found.refusal is refusal
    assert found == perform(provider, call)


@pytest.mark.parametrize("kind", [Capture, Void])
def test_an_authorization_whose_time_is_over_is_found_expired(start_provider: StartProvider, kind: type[Call]) -> None:
    provider = start_provider("--authorization-ttl-s", "0.2")
    call = prepare(provider, kind)
    assert not isinstance(call, Authorize)
    wait_until(lambda: provider.payment(call.payment_id)["status"] == "expired", "the authorization to expire")
    expired = Refused(refusal=Refusal.EXPIRED, provider_code="authorization_expired")
    assert [find(provider, call), perform(provider, call)] == [expired, expired]


# no decline


def test_an_invalid_request_is_our_fault_and_no_decline_of_a_bank(provider: Provider) -> None:
    call = authorize("tok_of_nobody")
    assert perform(provider, call) == Declined(code="PROVIDER_ERROR", provider_code="resource_missing")
    assert find(provider, call) is None


def test_a_key_that_was_used_for_something_else_is_no_decline(provider: Provider) -> None:
    call = authorize("tok_ok")
    perform(provider, call)
    other = authorize("tok_ok", call.checkout_id, AMOUNT_MINOR + 1)
    assert perform(provider, other) == Refused(refusal=Refusal.OTHER, provider_code="idempotency_key_reused")
    assert times(provider, call) == 1


def test_a_payment_that_nobody_knows_is_refused_alike(provider: Provider) -> None:
    call = on_payment(Void, fresh("checkout"), "pay_unknown")
    missing = Refused(refusal=Refusal.OTHER, provider_code="resource_missing")
    assert [perform(provider, call), find(provider, call)] == [missing, missing]
