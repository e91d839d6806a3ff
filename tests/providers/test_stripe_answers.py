"""Stripe's payments and errors, in the shapes that its API documents, as our values."""

import json
from datetime import UTC, datetime, timedelta
from typing import Any, Final

import pytest
import stripe

from services.payment.provider.declines import nobody
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
from services.payment.provider.stripe_answers import (
    HELD_FOR,
    authorization,
    is_of,
    read_token,
    refunded,
    refusal,
    state,
    stated_capture_before,
    unknown,
)
from tests.providers.broken_servers import dead_url
from tests.providers.using import STRIPE, ask, authorize, outcome

CREATED: Final = 1_790_000_000
UNTIL: Final = 1_790_432_000
AUTHORIZE: Final = Authorize(checkout_id="c-1", amount_minor=2500, currency="EUR", token="cus_1:pm_1", customer_id="x")
CAPTURE: Final = Capture(checkout_id="c-1", payment_id="pi_1", amount_minor=2500)
VOID: Final = Void(checkout_id="c-1", payment_id="pi_1")
REFUND: Final = Refund(checkout_id="c-1", payment_id="pi_1", amount_minor=2500)


def charge(*, until: int | None = UNTIL, status: str = "succeeded", back: int = 0) -> dict[str, Any]:
    card = {"brand": "visa", "last4": "4242"} | ({} if until is None else {"capture_before": until})
    details = {"type": "card", "card": card}
    return {"id": "ch_1", "status": status, "amount_refunded": back, "payment_method_details": details}


def intent(status: str, **fields: Any) -> dict[str, Any]:
    """A PaymentIntent as the API shows it, with its charge expanded."""
    usual: dict[str, Any] = {
        "id": "pi_1",
        "object": "payment_intent",
        "status": status,
        "amount": 2500,
        "amount_received": 2500 if status == "succeeded" else 0,
        "created": CREATED,
        "cancellation_reason": None,
        "last_payment_error": None,
        "latest_charge": charge(),
        "metadata": {"checkout_id": "c-1"},
    }
    return usual | fields


HELD: Final = Authorized(payment_id="pi_1", capture_before=datetime.fromtimestamp(UNTIL, UTC))
NEVER_APPROVED: Final = Declined(code="AUTHENTICATION_REQUIRED", provider_code="requires_action")
CARD_ERROR: Final = {"type": "card_error", "code": "card_declined", "decline_code": "insufficient_funds"}

AUTHORIZATIONS: Final = [
    (intent("requires_capture"), HELD),
    (intent("succeeded"), HELD),
    (intent("canceled", cancellation_reason="abandoned"), HELD),
    (intent("canceled", latest_charge=None), NEVER_APPROVED),
    (intent("canceled", latest_charge=charge(status="failed")), NEVER_APPROVED),
    (
        intent("requires_payment_method", last_payment_error=CARD_ERROR),
        Declined(code="INSUFFICIENT_FUNDS", provider_code="insufficient_funds"),
    ),
    (intent("requires_payment_method"), None),
    (intent("requires_action"), None),
    (intent("requires_confirmation"), None),
]


@pytest.mark.parametrize(("found", "answer"), AUTHORIZATIONS)
def test_a_payment_tells_what_became_of_its_authorization(found: dict[str, Any], answer: Answer | None) -> None:
    assert authorization(AUTHORIZE, found, nobody) == answer


def test_seven_days_are_assumed_only_where_stripe_does_not_say_until_when_it_holds_the_money() -> None:
    silent = intent("requires_capture", latest_charge=charge(until=None))
    assert stated_capture_before(silent) is None
    assumed = authorization(AUTHORIZE, silent, nobody)
    assert isinstance(assumed, Authorized)
    assert assumed.capture_before == datetime.fromtimestamp(CREATED, UTC) + timedelta(days=7)
    assert timedelta(days=7) == HELD_FOR
    assert stated_capture_before(intent("requires_capture")) == HELD.capture_before
    assert stated_capture_before(intent("requires_capture", latest_charge="ch_1")) is None


def said(refusal: Refusal, status: str) -> Refused:
    return Refused(refusal=refusal, provider_code=f"payment_intent_{status}")


LAPSED: Final = intent("canceled", cancellation_reason="automatic")
BACK: Final = intent("succeeded", latest_charge=charge(back=2500))
STATES: Final[list[tuple[Capture | Void | Refund, dict[str, Any], Answer | None]]] = [
    (CAPTURE, intent("requires_capture"), None),
    (CAPTURE, intent("succeeded"), Captured(amount_minor=2500)),
    (CAPTURE, BACK, Captured(amount_minor=2500)),
    (CAPTURE, intent("canceled", cancellation_reason="abandoned"), said(Refusal.VOIDED_ALREADY, "canceled")),
    (CAPTURE, LAPSED, said(Refusal.EXPIRED, "canceled")),
    (CAPTURE, intent("requires_payment_method"), said(Refusal.OTHER, "requires_payment_method")),
    (VOID, intent("requires_capture"), None),
    (VOID, intent("canceled", cancellation_reason="abandoned"), Voided()),
    (VOID, LAPSED, said(Refusal.EXPIRED, "canceled")),
    (VOID, intent("succeeded"), said(Refusal.CAPTURED_ALREADY, "succeeded")),
    (REFUND, intent("succeeded"), None),
    (REFUND, intent("succeeded", latest_charge=charge(back=100)), None),
    (REFUND, BACK, Refunded(amount_minor=2500)),
    (REFUND, intent("requires_capture"), None),
    (REFUND, intent("canceled"), said(Refusal.VOIDED_ALREADY, "canceled")),
]


@pytest.mark.parametrize(("call", "found", "answer"), STATES)
def test_a_payment_tells_what_became_of_a_call(
    call: Capture | Void | Refund, found: dict[str, Any], answer: Answer | None
) -> None:
    assert state(call, found) == answer


def test_a_payment_that_is_being_processed_tells_nothing_yet() -> None:
    with pytest.raises(OutcomeUnknownError, match="being processed"):
        authorization(AUTHORIZE, intent("processing"), nobody)
    with pytest.raises(OutcomeUnknownError, match="being processed"):
        state(CAPTURE, intent("processing"))


@pytest.mark.parametrize(
    ("status", "answer"),
    [
        ("succeeded", Refunded(amount_minor=2500)),
        ("pending", Refunded(amount_minor=2500)),
        ("failed", Refused(refusal=Refusal.OTHER, provider_code="refund_failed")),
        ("canceled", Refused(refusal=Refusal.OTHER, provider_code="refund_canceled")),
    ],
)
def test_money_that_is_on_its_way_back_is_given_back(status: str, answer: Answer) -> None:
    assert refunded({"object": "refund", "status": status, "amount": 2500}) == answer


@pytest.mark.parametrize(
    ("token", "read"),
    [
        ("cus_1:pm_1", ("cus_1", "pm_1")),
        ("pm_1", None),
        ("cus_1", None),
        ("cus_1:", None),
        ("pm_1:cus_1", None),
        ("tok_ok", None),
        ("", None),
    ],
)
def test_a_token_names_stripes_customer_and_method(token: str, read: tuple[str, str] | None) -> None:
    assert read_token(token) == read


def test_a_token_that_is_none_is_an_unknown_payment_method_and_stripe_is_not_asked() -> None:
    with dead_url() as url:
        answer = ask(STRIPE, url, lambda p: outcome(p.perform(authorize("tok_ok"))))
        assert answer == Declined(code="PAYMENT_METHOD_UNKNOWN", provider_code="no_such_token")
        assert ask(STRIPE, url, lambda p: outcome(p.find(authorize("tok_ok")))) is None


def test_a_method_that_is_not_the_customers_is_not_charged(stripe_url: str) -> None:
    answer = ask(STRIPE, stripe_url, lambda p: outcome(p.perform(authorize("cus_1:pm_1"))))
    assert answer == Declined(code="PAYMENT_METHOD_NOT_OWNED", provider_code="customer_mismatch")


def test_a_payment_is_a_checkouts_by_its_metadata() -> None:
    assert is_of(intent("succeeded"), "c-1")
    assert not is_of(intent("succeeded"), "c-2")
    assert not is_of(intent("succeeded", metadata={}), "c-1")
    assert not is_of(intent("succeeded", metadata=None), "c-1")


# errors


def error(status: int, **said: Any) -> stripe.StripeError:
    """The exception that Stripe's library makes of an error answer."""
    body = {"error": {"message": "A sentence of theirs.", **said}}
    requestor = stripe.StripeClient("sk_test_123")._requestor
    with pytest.raises(stripe.StripeError) as raised:
        requestor.handle_error_response(json.dumps(body), status, body, {"request-id": "req_1"}, "V1")
    return raised.value


def unexpected(**fields: Any) -> stripe.StripeError:
    code = "payment_intent_unexpected_state"
    return error(400, type="invalid_request_error", code=code, payment_intent=intent(**fields))


def invalid(code: str, status: int = 400) -> stripe.StripeError:
    return error(status, type="invalid_request_error", code=code)


def no(refusal: Refusal, word: str) -> Refused:
    return Refused(refusal=refusal, provider_code=word)


DEFINITE: Final[list[tuple[Call, stripe.StripeError, Answer]]] = [
    (AUTHORIZE, error(402, **CARD_ERROR), Declined(code="INSUFFICIENT_FUNDS", provider_code="insufficient_funds")),
    (
        AUTHORIZE,
        error(402, type="card_error", code="expired_card"),
        Declined(code="CARD_EXPIRED", provider_code="expired_card"),
    ),
    (
        AUTHORIZE,
        error(402, type="card_error", code="card_declined", decline_code="brand_new"),
        Declined(code="PAYMENT_DECLINED", provider_code="brand_new"),
    ),
    (AUTHORIZE, invalid("parameter_invalid"), Declined(code="PROVIDER_ERROR", provider_code="parameter_invalid")),
    (AUTHORIZE, invalid("amount_too_small"), Declined(code="TOTAL_OUT_OF_RANGE", provider_code="amount_too_small")),
    (AUTHORIZE, error(400, type="idempotency_error"), no(Refusal.OTHER, "idempotency_error")),
    (CAPTURE, error(402, **CARD_ERROR), no(Refusal.BY_BANK, "insufficient_funds")),
    (CAPTURE, error(400, type="idempotency_error"), no(Refusal.OTHER, "idempotency_error")),
    (CAPTURE, unexpected(status="canceled"), said(Refusal.VOIDED_ALREADY, "canceled")),
    (CAPTURE, unexpected(**LAPSED), said(Refusal.EXPIRED, "canceled")),
    (CAPTURE, unexpected(status="succeeded"), said(Refusal.CAPTURED_ALREADY, "succeeded")),
    (CAPTURE, invalid("charge_expired_for_capture"), no(Refusal.EXPIRED, "charge_expired_for_capture")),
    (CAPTURE, invalid("resource_missing", 404), no(Refusal.OTHER, "resource_missing")),
    (VOID, unexpected(status="succeeded"), said(Refusal.CAPTURED_ALREADY, "succeeded")),
    (VOID, unexpected(status="canceled"), said(Refusal.VOIDED_ALREADY, "canceled")),
    (REFUND, invalid("charge_already_refunded"), no(Refusal.REFUNDED_ALREADY, "charge_already_refunded")),
    (REFUND, invalid("charge_disputed"), no(Refusal.OTHER, "charge_disputed")),
]


@pytest.mark.parametrize(("call", "raised", "answer"), DEFINITE)
def test_a_definite_no_is_a_value(call: Call, raised: stripe.StripeError, answer: Answer) -> None:
    assert refusal(call, raised, nobody) == answer


def test_a_reason_that_the_table_lacks_is_told() -> None:
    told: list[str] = []
    refusal(AUTHORIZE, error(402, type="card_error", code="card_declined", decline_code="brand_new"), told.append)
    assert told == ["brand_new"]


UNKNOWN: Final = {
    "a server error": error(500, type="api_error"),
    "a conflict": error(409, type="idempotency_error", code="idempotency_key_in_use"),
    "a wrong key": error(401, type="invalid_request_error"),
    "a key that may not do this": error(403, type="invalid_request_error"),
    "too many requests": error(429, type="invalid_request_error", code="rate_limit"),
    "a lock that took too long": error(429, type="invalid_request_error", code="lock_timeout"),
    "a state without its payment": invalid("payment_intent_unexpected_state"),
}


@pytest.mark.parametrize("raised", UNKNOWN.values(), ids=UNKNOWN.keys())
@pytest.mark.parametrize("call", [CAPTURE, VOID, REFUND])
def test_an_error_that_does_not_say_what_happened_is_an_unknown_outcome(call: Call, raised: stripe.StripeError) -> None:
    with pytest.raises(OutcomeUnknownError) as found:
        refusal(call, raised, nobody)
    assert found.value.throttled == (raised.http_status == 429)
    assert not found.value.timed_out
    assert call.key in str(found.value)


@pytest.mark.parametrize("status", [401, 403])
def test_a_wrong_api_key_says_nothing_about_the_money(status: int) -> None:
    with pytest.raises(OutcomeUnknownError):
        refusal(AUTHORIZE, error(status, type="invalid_request_error"), nobody)


def test_what_is_said_of_an_error_never_quotes_an_api_key() -> None:
    text = str(unknown(AUTHORIZE, error(401, type="invalid_request_error", message="Invalid API Key: sk_live_1")))
    assert "sk_live" not in text
    assert "AuthenticationError" in text
    assert "req_1" in text
