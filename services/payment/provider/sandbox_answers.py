"""The sandbox provider's language: our calls as requests, its answers and payments as values. Pure.

The form is Stripe's: `{"error": {"type", "code", "decline_code"}}`; amounts in the currency's minor unit.
"""

from collections.abc import Iterable, Mapping
from datetime import datetime
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

Body = dict[str, Any]
SERVER_ERROR: Final = 500
_OK: Final = 200
_TOO_MANY: Final = 429
_DEFINITE: Final = (400, 402, 404, 405, 413)
"""A no that will stay one. 401 and 403 are not among them: see services.payment.provider.stripe on unusable keys."""

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
        return _done(call, body)
    kind = body.get("error", {}).get("type")
    if status not in _DEFINITE or kind is None:
        raise OutcomeUnknownError(f"{call.key}: the provider answered {status}", throttled=status == _TOO_MANY)
    return _refusal(call, kind, body["error"], on_unmapped)


def _refusal(call: Call, kind: str, error: Body, on_unmapped: OnUnmapped) -> Answer:
    word = str(error.get("decline_code") or error.get("code") or kind)
    # a key that was used for something else says nothing about this call: no rule may take it for a decline
    if not isinstance(call, Authorize) or kind == "idempotency_error":
        return _refused(word)
    return declined(word, on_unmapped) if kind == "card_error" else invalid(word)


def authorization(payments: Iterable[Body], on_unmapped: OnUnmapped) -> Answer | None:
    """What a checkout's payments say of its authorization; None where there is none.

    A payment that was held counts also when it is captured, voided or expired by now: it was authorized.
    """
    word = None
    for payment in payments:
        if payment["status"] != "declined":
            return _held(payment)
        word = "payment_declined"
    return None if word is None else declined(word, on_unmapped)


def state(call: Capture | Void | Refund, payment: Body) -> Answer | None:
    """What a payment as it stands says of `call`: its effect, or why it is refused; None: not executed yet."""
    status = payment["status"]
    match call:
        case Capture() if status in ("captured", "refunded"):
            return _done(call, payment)
        case Void() if status == "voided":
            return _done(call, payment)
        case Refund() if status in ("captured", "refunded"):
            return _done(call, payment) if payment["refunded_minor"] >= call.amount_minor else None
        case Refund() if status != "authorized":
            return _refused("payment_not_captured")
    return _refused(_CLOSED[status]) if status in _CLOSED else None


def _refused(word: str) -> Refused:
    return Refused(refusal=_REFUSALS.get(word, Refusal.OTHER), provider_code=bounded(word))


def _held(payment: Body) -> Authorized:
    until = datetime.fromisoformat(payment["capture_before"])
    return Authorized(payment_id=payment["payment_id"], capture_before=until)


def _done(call: Call, payment: Body) -> Answer:
    match call:
        case Authorize():
            return _held(payment)
        case Capture():
            return Captured(amount_minor=int(payment["captured_minor"]))
        case Void():
            return Voided()
        case Refund():
            return Refunded(amount_minor=int(payment["refunded_minor"]))
