"""Stripe's PaymentIntents, refunds and errors as values. Pure.

What has another form than Stripe's documents give it raises one of the errors that `reading.readable` takes for an
unknown outcome. A payment that says that it is another one than was asked for raises UnsafeError.

Source: https://docs.stripe.com/payments/paymentintents/lifecycle and https://docs.stripe.com/error-codes.
"""

from collections.abc import Mapping
from datetime import UTC, datetime, timedelta
from typing import Final

import stripe

from schemas.limits import short
from services.payment.provider.declines import MAX_WORD, OnUnmapped, bounded, declined, invalid
from services.payment.provider.protocol import (
    Answer,
    Authorize,
    Authorized,
    Call,
    Capture,
    Captured,
    OutcomeUnknownError,
    Refund,
    Refunded,
    Refusal,
    Refused,
    Void,
    Voided,
)
from services.payment.provider.reading import (
    Body,
    amount_of,
    body_of,
    check_same,
    in_short,
    payment_id_of,
    text_of,
)

HELD_FOR: Final = timedelta(days=7)
"""How long an authorization lasts where Stripe does not say: its shortest time for payments without the customer."""

_REFUSALS: Final[Mapping[str, Refusal]] = {
    "charge_already_captured": Refusal.CAPTURED_ALREADY,
    "charge_already_refunded": Refusal.REFUNDED_ALREADY,
    "charge_expired_for_capture": Refusal.EXPIRED,
    "capture_charge_authorization_expired": Refusal.EXPIRED,
}
_LAPSED: Final = ("automatic", "expired")
"""Reasons for a cancellation that Stripe gives itself, when an authorization's time is over."""


def read_token(token: str) -> tuple[str, str] | None:
    """(Stripe's customer, Stripe's payment method) of a stored token `cus_...:pm_...`; None when it is none."""
    customer, _, method = token.partition(":")
    return (customer, method) if customer.startswith("cus_") and method.startswith("pm_") else None


def is_of(intent: Body, checkout_id: str) -> bool:
    """Whether a PaymentIntent is this checkout's."""
    return bool(body_of(intent.get("metadata") or {}).get("checkout_id") == checkout_id)


def stated_capture_before(intent: Body) -> datetime | None:
    """Until when Stripe says that it holds the money; None where it does not say."""
    details = (_charge(intent).get("payment_method_details") or {}).get("card") or {}
    until = details.get("capture_before")
    return None if until is None else datetime.fromtimestamp(until, UTC)


def authorization(call: Authorize, intent: Body, on_unmapped: OnUnmapped) -> Answer | None:
    """What a PaymentIntent says of the authorization that made it.

    None: it has not come to an end; the same call again ends it. Raises OutcomeUnknownError while the bank is asked.
    """
    match intent["status"]:
        # also captured, or let go of since: it was authorized
        case "requires_capture" | "succeeded":
            return _held(call, intent)
        case "canceled" if _charge(intent).get("status") == "succeeded":
            return _held(call, intent)
        case "canceled":
            # cancelled before anything was held: it wanted the customer, see StripeProvider
            return declined("requires_action", on_unmapped)
        case "requires_payment_method" if intent.get("last_payment_error"):
            return declined(_word(body_of(intent["last_payment_error"])), on_unmapped)
        case "processing":
            raise OutcomeUnknownError(f"{call.key}: {payment_id_of(intent, 'id')} is being processed")
    return None


def state(call: Capture | Void | Refund, intent: Body) -> Answer | None:
    """What a PaymentIntent as it stands says of `call`: its effect, or why it is refused; None: not executed yet.

    Raises OutcomeUnknownError while the bank is asked.
    """
    _check_asked(call, intent)
    match text_of(intent, "status"):
        case "requires_capture":
            return None
        case "processing":
            raise OutcomeUnknownError(f"{call.key}: {call.payment_id} is being processed")
        case "succeeded":
            return _captured(call, intent)
        case "canceled" if isinstance(call, Void) and intent.get("cancellation_reason") not in _LAPSED:
            return Voided()
    return closed(call, intent)


def closed(call: Call, intent: Body) -> Refused:
    """Why a PaymentIntent in this status refuses `call`."""
    match intent["status"]:
        case "succeeded":
            refusal = Refusal.OTHER if isinstance(call, Refund) else Refusal.CAPTURED_ALREADY
        case "canceled":
            refusal = Refusal.EXPIRED if intent.get("cancellation_reason") in _LAPSED else Refusal.VOIDED_ALREADY
        case _:
            refusal = Refusal.OTHER
    return Refused(refusal=refusal, provider_code=f"payment_intent_{bounded(str(intent['status']))}")


def refunded(refund: Body) -> Answer:
    """What a refund says: money that is on its way back is given back."""
    status = text_of(refund, "status")
    if status in ("succeeded", "pending"):
        return Refunded(amount_minor=amount_of(refund, "amount"))
    return Refused(refusal=Refusal.OTHER, provider_code=bounded(f"refund_{status}"))


def refusal(call: Call, error: stripe.StripeError, on_unmapped: OnUnmapped) -> Answer:
    """A definite no as a value. Raises OutcomeUnknownError for an error that does not say what happened."""
    said = _said(error)
    word = _word(said)
    match error:
        case stripe.CardError() if isinstance(call, Authorize):
            return declined(word, on_unmapped)
        case stripe.CardError():
            return Refused(refusal=Refusal.BY_BANK, provider_code=bounded(word))
        # a key that was used for something else says nothing about this call: no rule may take it for a decline
        case stripe.IdempotencyError():
            return Refused(refusal=Refusal.OTHER, provider_code="idempotency_error")
        case stripe.InvalidRequestError() if isinstance(call, Authorize):
            return invalid(word)
        case stripe.InvalidRequestError() if word == "payment_intent_unexpected_state":
            return _unexpected(call, error, said)
        case stripe.InvalidRequestError():
            return Refused(refusal=_REFUSALS.get(word, Refusal.OTHER), provider_code=bounded(word))
    raise unknown(call, error) from error


def unknown(call: Call, error: Exception) -> OutcomeUnknownError:
    """The exception for an error that does not say what happened: no answer, a server error, too many requests."""
    cause = error.__cause__ or error
    text = f"{call.key}: {_in_short(cause)}"
    late = isinstance(cause, TimeoutError)
    return OutcomeUnknownError(text, timed_out=late, throttled=isinstance(error, stripe.RateLimitError))


def _in_short(error: BaseException) -> str:
    """Stripe's own sentences are left out: the one about a wrong API key quotes it."""
    if not isinstance(error, stripe.StripeError):
        return in_short(error)
    word, request = bounded(_word(_said(error))), short(str(error.request_id), MAX_WORD)
    return f"{type(error).__name__}: status {error.http_status}, {word}, request {request}"


def _unexpected(call: Call, error: stripe.StripeError, said: Body) -> Answer:
    intent = said.get("payment_intent")
    if not isinstance(intent, Mapping) or not isinstance(intent.get("status"), str):
        # its status is the answer; `find` looks at it
        raise unknown(call, error) from error
    return closed(call, intent)


def _captured(call: Capture | Void | Refund, intent: Body) -> Answer | None:
    match call:
        case Capture():
            return Captured(amount_minor=amount_of(intent, "amount_received"))
        case Void():
            return closed(call, intent)
        case Refund():
            charge = _charge(intent)
            back = amount_of(charge, "amount_refunded") if charge.get("amount_refunded") else 0
            return Refunded(amount_minor=back) if back >= call.amount_minor else None


def _held(call: Authorize, intent: Body) -> Authorized:
    _check_asked(call, intent)
    until = stated_capture_before(intent) or datetime.fromtimestamp(intent["created"], UTC) + HELD_FOR
    return Authorized(payment_id=payment_id_of(intent, "id"), capture_before=until)


def _check_asked(call: Call, intent: Body) -> None:
    """A PaymentIntent that is another one than was asked for, or says that it is about other money, is UnsafeError."""
    named = body_of(intent.get("metadata") or {}).get("checkout_id", call.checkout_id)
    check_same(call, "checkout", call.checkout_id, named)
    if not isinstance(call, Authorize):
        check_same(call, "payment", call.payment_id, payment_id_of(intent, "id"))
    elif "currency" in intent:
        check_same(call, "the currency", call.currency, text_of(intent, "currency").upper())
    if isinstance(call, Authorize):
        check_same(call, "the amount", call.amount_minor, amount_of(intent, "amount"))


def _charge(intent: Body) -> Body:
    """The latest charge, where it was asked for; empty where there is none."""
    charge = intent.get("latest_charge")
    return charge if isinstance(charge, Mapping) else {}


def _said(error: stripe.StripeError) -> Body:
    body = error.json_body
    said = body.get("error") if isinstance(body, Mapping) else None
    return said if isinstance(said, Mapping) else {}


def _word(said: Body) -> str:
    words = (said.get("decline_code"), said.get("code"), said.get("type"), "none")
    return next(word for word in words if word and isinstance(word, str))
