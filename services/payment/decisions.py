"""What the payment service decides: (what it knows, what it hears, when, the provider's answer) -> the payment then,
what it says, and the provider call that is still to be made.

Pure. A decision that needs the provider is asked twice: without an answer it returns the call and the state that says
it is under way (`authorizing`, `capturing`, `voiding`, `refunding`), which is committed before the call is made;
with the answer it decides. A call is repeated after a crash with the same key, so its effect happens once.
"""

from collections.abc import Callable
from dataclasses import dataclass, replace
from datetime import datetime
from enum import StrEnum
from typing import Final

from schemas.decision import Decision
from schemas.events import (
    CheckoutAccepted,
    CheckoutFailed,
    PaymentAuthorized,
    PaymentCaptured,
    PaymentCaptureFailed,
    PaymentDeclined,
    PaymentRefunded,
    PaymentVoided,
    WarehouseConfirmed,
    WarehouseReserved,
)
from schemas.failures import Code
from services.payment.provider.protocol import (
    Answer,
    Authorize,
    Authorized,
    Capture,
    Captured,
    Declined,
    Refund,
    Refunded,
    Refusal,
    Refused,
    Void,
    Voided,
)


class Status(StrEnum):
    """The states of a payment. `closed` holds nothing: the checkout failed before any money was held."""

    RESERVED_FIRST = "reserved_first"
    EXPECTED = "expected"
    AUTHORIZING = "authorizing"
    AUTHORIZED = "authorized"
    DECLINED = "declined"
    CAPTURING = "capturing"
    CAPTURED = "captured"
    CAPTURE_FAILED = "capture_failed"
    VOIDING = "voiding"
    VOIDED = "voided"
    REFUNDING = "refunding"
    REFUNDED = "refunded"
    CLOSED = "closed"


@dataclass(frozen=True, slots=True, kw_only=True)
class Payment:
    """All that the service knows of one checkout's payment. Amounts in the currency's minor unit."""

    checkout_id: str
    status: Status
    customer_id: str = ""
    payment_method_id: str = ""
    token: str = ""
    currency: str = ""
    amount_minor: int = 0
    payment_id: str | None = None
    capture_before: datetime | None = None
    code: str | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class PaymentMethod:
    """A stored payment method: whose it is, and the provider's token for it."""

    payment_method_id: str
    customer_id: str
    token: str


@dataclass(frozen=True, slots=True, kw_only=True)
class Wallet:
    """What a decision sees: this checkout's payment, and the payment method that the event names."""

    payment: Payment | None
    method: PaymentMethod | None = None


class UndecidedError(Exception):
    """The provider said something that no rule covers. The message is set aside with these words."""


Outcome = Decision[Payment | None]
_NOTHING_HELD: Final = (Status.RESERVED_FIRST, Status.EXPECTED, Status.DECLINED)
_OVER: Final = (Status.VOIDED, Status.REFUNDED, Status.CLOSED)


def on_checkout_accepted(
    wallet: Wallet, event: CheckoutAccepted, _at: datetime, answer: Answer | None = None
) -> Outcome:
    """Record the payment to come, once its method is known to be the customer's; authorize if stock is reserved."""
    known = wallet.payment
    if known is not None and known.status is Status.AUTHORIZING:
        return _authorize(known, answer)
    if known is not None and known.status is not Status.RESERVED_FIRST:
        return Decision(known)
    expected = Payment(
        checkout_id=event.checkout_id,
        status=Status.EXPECTED,
        customer_id=event.customer_id,
        payment_method_id=event.payment_method_id,
        token=wallet.method.token if wallet.method else "",
        currency=event.currency,
        amount_minor=event.total_minor,
    )
    if wallet.method is None:
        return _declined(expected, Code.PAYMENT_METHOD_UNKNOWN, None)
    if wallet.method.customer_id != event.customer_id:
        return _declined(replace(expected, token=""), Code.PAYMENT_METHOD_NOT_OWNED, None)
    return Decision(expected) if known is None else _authorize(expected, None)


def on_warehouse_reserved(
    wallet: Wallet, event: WarehouseReserved, _at: datetime, answer: Answer | None = None
) -> Outcome:
    """The goods are there: authorize. Heard before checkout.accepted, it waits for it."""
    known = wallet.payment
    if known is None:
        return Decision(Payment(checkout_id=event.checkout_id, status=Status.RESERVED_FIRST))
    if known.status in (Status.EXPECTED, Status.AUTHORIZING):
        return _authorize(known, answer)
    return Decision(known)


def on_warehouse_confirmed(
    wallet: Wallet, _event: WarehouseConfirmed, _at: datetime, answer: Answer | None = None
) -> Outcome:
    """The goods are committed: capture, once, and only what was authorized for them."""
    known = wallet.payment
    if known is None or known.status in (*_NOTHING_HELD, Status.AUTHORIZING):
        return Decision(known, refusal="warehouse.confirmed without an authorized payment: nobody asked for it")
    if known.status not in (Status.AUTHORIZED, Status.CAPTURING):
        return Decision(known)
    return _capture(known, answer)


def on_checkout_failed(wallet: Wallet, event: CheckoutFailed, _at: datetime, answer: Answer | None = None) -> Outcome:
    """Let go of the money and answer exactly once, also when there is none; close the door for late events."""
    known = wallet.payment
    if not event.accepted or (known is not None and known.status in _OVER):
        return Decision(known)
    if known is None or known.status in _NOTHING_HELD:
        return _nothing_held(known or Payment(checkout_id=event.checkout_id, status=Status.CLOSED))
    if answer is not None and _is_stale(known.status, answer):
        answer = None
    if known.status is Status.AUTHORIZING:
        return _undo_authorizing(known, answer)
    if known.status in (Status.CAPTURED, Status.REFUNDING):
        return _refund(known, answer)
    return _void(known, answer)


def handlers() -> dict[str, Callable[..., Outcome]]:
    """Event type -> decision."""
    return {
        CheckoutAccepted.TYPE: on_checkout_accepted,
        CheckoutFailed.TYPE: on_checkout_failed,
        WarehouseConfirmed.TYPE: on_warehouse_confirmed,
        WarehouseReserved.TYPE: on_warehouse_reserved,
    }


def _authorize(known: Payment, answer: Answer | None) -> Outcome:
    match answer:
        case None:
            return Decision(replace(known, status=Status.AUTHORIZING), call=_authorization(known))
        case Authorized():
            return Decision(_held(known, answer), (_authorized(known, answer),))
        case Declined():
            return _declined(known, answer.code, answer.provider_code)
    raise UndecidedError(f"authorize was answered with {answer}")


def _authorization(known: Payment) -> Authorize:
    return Authorize(
        checkout_id=known.checkout_id,
        amount_minor=known.amount_minor,
        currency=known.currency,
        token=known.token,
        customer_id=known.customer_id,
    )


def _held(known: Payment, answer: Authorized) -> Payment:
    return replace(known, status=Status.AUTHORIZED, payment_id=answer.payment_id, capture_before=answer.capture_before)


def _authorized(known: Payment, answer: Authorized) -> PaymentAuthorized:
    return PaymentAuthorized(
        checkout_id=known.checkout_id,
        payment_id=answer.payment_id,
        amount_minor=known.amount_minor,
        currency=known.currency,
        capture_before=answer.capture_before,
    )


def _declined(known: Payment, code: str, provider_code: str | None) -> Outcome:
    event = PaymentDeclined(checkout_id=known.checkout_id, code=code, provider_code=provider_code)
    return Decision(replace(known, status=Status.DECLINED, code=code), (event,))


def _capture(known: Payment, answer: Answer | None) -> Outcome:
    match answer:
        case None:
            call = Capture(
                checkout_id=known.checkout_id, payment_id=_payment_id(known), amount_minor=known.amount_minor
            )
            return Decision(replace(known, status=Status.CAPTURING), call=call)
        case Captured():
            captured = PaymentCaptured(
                checkout_id=known.checkout_id,
                payment_id=_payment_id(known),
                amount_minor=answer.amount_minor,
                currency=known.currency,
            )
            return Decision(replace(known, status=Status.CAPTURED), (captured,))
        case Refused(refusal=Refusal.BY_BANK | Refusal.VOIDED_ALREADY | Refusal.EXPIRED):
            code = Code.CAPTURE_REFUSED if answer.refusal is Refusal.BY_BANK else Code.AUTHORIZATION_LOST
            failed = PaymentCaptureFailed(checkout_id=known.checkout_id, code=code, provider_code=answer.provider_code)
            return Decision(replace(known, status=Status.CAPTURE_FAILED, code=code), (failed,))
    raise UndecidedError(f"capture was answered with {answer}")


def _is_stale(status: Status, answer: Answer) -> bool:
    """Whether another process moved the payment on while this answer was on its way.

    What fits the payment now is asked then, with its own key. States only move forward, so an answer is either one
    to what this state asks or one to what an earlier state asked.
    """
    match status:
        case Status.AUTHORIZING:
            return False
        case Status.VOIDING:
            return isinstance(answer, Authorized)
        case Status.REFUNDING:
            to_void = isinstance(answer, Refused) and answer.refusal is Refusal.CAPTURED_ALREADY
            return to_void or isinstance(answer, Authorized)
        case _:
            return True


def _undo_authorizing(known: Payment, answer: Answer | None) -> Outcome:
    """Whether money is held is not known: only the same call with the same key can tell. Then let it go."""
    match answer:
        case None:
            return Decision(known, call=_authorization(known))
        case Authorized():
            return _void(_held(known, answer), None)
        case Declined():
            return _nothing_held(known)
    raise UndecidedError(f"authorize was answered with {answer}")


def _void(known: Payment, answer: Answer | None) -> Outcome:
    match answer:
        case None:
            call = Void(checkout_id=known.checkout_id, payment_id=_payment_id(known))
            return Decision(replace(known, status=Status.VOIDING), call=call)
        case Voided() | Refused(refusal=Refusal.VOIDED_ALREADY | Refusal.EXPIRED):
            voided = PaymentVoided(
                checkout_id=known.checkout_id,
                outcome="voided",
                payment_id=known.payment_id,
                amount_minor=known.amount_minor,
            )
            return Decision(replace(known, status=Status.VOIDED), (voided,))
        case Refused(refusal=Refusal.CAPTURED_ALREADY):
            # a capture whose answer nobody heard
            return _refund(known, None)
    raise UndecidedError(f"void was answered with {answer}")


def _refund(known: Payment, answer: Answer | None) -> Outcome:
    match answer:
        case None:
            call = Refund(checkout_id=known.checkout_id, payment_id=_payment_id(known), amount_minor=known.amount_minor)
            return Decision(replace(known, status=Status.REFUNDING), call=call)
        case Refunded() | Refused(refusal=Refusal.REFUNDED_ALREADY):
            refunded = PaymentRefunded(
                checkout_id=known.checkout_id,
                payment_id=_payment_id(known),
                amount_minor=known.amount_minor,
                currency=known.currency,
            )
            return Decision(replace(known, status=Status.REFUNDED), (refunded,))
    raise UndecidedError(f"refund was answered with {answer}")


def _nothing_held(known: Payment) -> Outcome:
    voided = PaymentVoided(checkout_id=known.checkout_id, outcome="nothing", amount_minor=0)
    return Decision(replace(known, status=Status.CLOSED), (voided,))


def _payment_id(known: Payment) -> str:
    if known.payment_id is None:
        raise UndecidedError(f"{known.checkout_id} is {known.status} without a provider's payment id")
    return known.payment_id
