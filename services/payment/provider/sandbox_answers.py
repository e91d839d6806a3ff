"""The sandbox provider's language: our calls as requests, its answers and payments as values. Pure.

The form is Stripe's: `{"error": {"type", "code", "decline_code"}}`; amounts in the currency's minor unit. An answer of
another form raises one of the errors that `reading.readable` takes for an unknown outcome.
"""

from collections.abc import Iterable, Mapping
from datetime import UTC, datetime
from typing import Any, Final

from services.payment.provider.declines import OnUnmapped, bounded, declined, invalid
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
from services.payment.provider.reading import amount_of, body_of, check_asked, check_same, payment_id_of, text_of

Body = dict[str, Any]
SERVER_ERROR: Final = 500
_OK: Final = 200
_TOO_MANY: Final = 429
_DEFINITE: Final = (400, 402, 404, 405, 413)
"""A no that will stay one. 401 and 403 are not among them: see services.payment.provider.stripe on unusable keys."""

_EFFECTS: Final[Mapping[type[Call], tuple[str, ...]]] = {
    Authorize: ("authorized",),
    Capture: ("captured",),
    Void: ("voided",),
    Refund: ("captured", "refunded"),
}
"""What a payment is right after a call that was taken; a part of it may have been refunded."""

_REFUSALS: Final[Mapping[str, Refusal]] = {
    "capture_refused": Refusal.BY_BANK,
    "payment_already_voided": Refusal.VOIDED_ALREADY,
    "payment_already_captured": Refusal.CAPTURED_ALREADY,
    "charge_already_refunded": Refusal.REFUNDED_ALREADY,
    "authorization_expired": Refusal.EXPIRED,
}
_CLOSED: Final[Mapping[str, str]] = {
    "captured": "payment_already_captured",
    "refunded": "payment_already_captured",
    "voided": "payment_already_voided",
    "expired": "authorization_expired",
    "declined": "payment_declined",
}
"""A payment's status -> what a capture or void of it is answered."""


def request(call: Call) -> tuple[str, Body]:
    """Path and body of the POST that asks for `call`."""
    match call:
        case Authorize():
            return "/v1/authorizations", {
                "checkout_id": call.checkout_id,
                "amount_minor": call.amount_minor,
                "currency": call.currency,
                "payment_method": call.token,
                "customer": call.customer_id,
            }
        case Capture():
            return f"/v1/authorizations/{call.payment_id}/capture", {"amount_minor": call.amount_minor}
        case Void():
            return f"/v1/authorizations/{call.payment_id}/void", {}
        case Refund():
            return f"/v1/authorizations/{call.payment_id}/refund", {"amount_minor": call.amount_minor}


def answer(call: Call, status: int, body: Body, on_unmapped: OnUnmapped) -> Answer:
    """The answer as a value. Raises OutcomeUnknownError for a status that does not say what happened."""
    if status == _OK:
        if text_of(body, "status") not in _EFFECTS[type(call)]:
            raise ValueError(f"the provider took the call, and the payment is {bounded(body['status'])}")
        return _done(call, body)
    error = body.get("error")
    if status not in _DEFINITE or not isinstance(error, dict) or not isinstance(error.get("type"), str):
        raise OutcomeUnknownError(f"{call.key}: the provider answered {status}", throttled=status == _TOO_MANY)
    return _refusal(call, error["type"], error, on_unmapped)


def _refusal(call: Call, kind: str, error: Body, on_unmapped: OnUnmapped) -> Answer:
    words = (error.get("decline_code"), error.get("code"), kind)
    word = next(word for word in words if word and isinstance(word, str))
    # a key that was used for something else says nothing about this call: no rule may take it for a decline
    if not isinstance(call, Authorize) or kind == "idempotency_error":
        return _refused(word)
    return declined(word, on_unmapped) if kind == "card_error" else invalid(word)


def authorization(call: Authorize, payments: Iterable[Any], on_unmapped: OnUnmapped) -> Answer | None:
    """What a checkout's payments say of its authorization; None where there is none.

    A payment that was held counts also when it is captured, voided or expired by now: it was authorized.
    """
    word = None
    for payment in map(body_of, payments):
        if text_of(payment, "status") != "declined":
            return _held(call, payment)
        word = "payment_declined"
    return None if word is None else declined(word, on_unmapped)


def state(call: Capture | Void | Refund, payment: Body) -> Answer | None:
    """What a payment as it stands says of `call`: its effect, or why it is refused; None: not executed yet."""
    status = text_of(payment, "status")
    match call:
        case Capture() if status in ("captured", "refunded"):
            return _done(call, payment)
        case Void() if status == "voided":
            return _done(call, payment)
        case Refund() if status in ("captured", "refunded"):
            return _done(call, payment) if amount_of(payment, "refunded_minor") >= call.amount_minor else None
        case Refund() if status != "authorized":
            return _refused("payment_not_captured")
    check_asked(call, payment_id=text_of(payment, "payment_id"), checkout_id=text_of(payment, "checkout_id"))
    return _refused(_CLOSED[status]) if status in _CLOSED else None


def _refused(word: str) -> Refused:
    return Refused(refusal=_REFUSALS.get(word, Refusal.OTHER), provider_code=bounded(word))


def _held(call: Authorize, payment: Body) -> Authorized:
    check_asked(call, payment_id=payment_id_of(payment, "payment_id"), checkout_id=text_of(payment, "checkout_id"))
    check_same(call, "the amount", call.amount_minor, amount_of(payment, "amount_minor"))
    check_same(call, "the currency", call.currency, text_of(payment, "currency"))
    until = datetime.fromisoformat(text_of(payment, "capture_before"))
    if until.tzinfo is None:
        raise ValueError("capture_before has no time zone")
    return Authorized(payment_id=payment["payment_id"], capture_before=until.astimezone(UTC))


def _done(call: Call, payment: Body) -> Answer:
    if isinstance(call, Authorize):
        return _held(call, payment)
    check_asked(call, payment_id=text_of(payment, "payment_id"), checkout_id=text_of(payment, "checkout_id"))
    match call:
        case Capture():
            return Captured(amount_minor=amount_of(payment, "captured_minor"))
        case Void():
            return Voided()
        case Refund():
            return Refunded(amount_minor=amount_of(payment, "refunded_minor"))
