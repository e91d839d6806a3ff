"""What the checkout service decides: (what it knows, what it hears, when) -> what it knows then, what it says.

Pure: no I/O, no clock, no chance. Events of different topics arrive in any order, so every function also answers
for the state in which "its" event comes too late.
"""

import hashlib
from collections.abc import Callable
from dataclasses import replace
from datetime import datetime, timedelta
from typing import Final
from uuid import UUID, uuid5

from schemas.decision import Decision, UnsafeError
from schemas.events import (
    CheckoutAccepted,
    CheckoutCancelRequested,
    CheckoutCompleted,
    CheckoutConfirmed,
    CheckoutFailed,
    CheckoutRequested,
    PaymentAuthorized,
    PaymentCaptured,
    PaymentCaptureFailed,
    PaymentDeclined,
    PaymentDelayed,
    PaymentRefunded,
    PaymentVoided,
    WarehouseConfirmed,
    WarehouseConfirmFailed,
    WarehouseRejected,
    WarehouseReleased,
)
from schemas.failures import Code, entry_of
from schemas.limits import code_said, identifier_fault, short
from services.checkout.money import check_answers, check_paid, check_refunded, check_voided
from services.checkout.rules import Problem, problem_of
from services.checkout.state import BEFORE_CAPTURE, OPEN, Checkout, DeadlinePassed, Outcome, Status

_ORDERS: Final = UUID("8d6b8f0e-5f0b-4b43-9c0e-6a2f5f3a7c11")
"""Name space of order ids: one checkout can only ever have one order."""


_NOBODYS: Final = "no checkout of this id was ever requested"


def on_checkout_requested(
    known: Checkout | None, event: CheckoutRequested, at: datetime, *, time_to_pay: timedelta
) -> Outcome:
    """Accept a sound request, fail an unsound one, ignore a copy, refuse another content under the same id."""
    content = fingerprint(event)
    if known is not None and known.status is not Status.CANCELLED_FIRST:
        same = known.fingerprint in ("", content)  # a request that may not be kept leaves no fingerprint
        if not same:
            return Decision(known, refusal="conflicting duplicate: this checkout_id has other content")
        return _too_late(known)
    deadline = min(event.expires_at or at + time_to_pay, at + time_to_pay)
    fresh = Checkout(
        checkout_id=event.checkout_id,
        status=Status.ACCEPTED,
        created_at=at,
        fingerprint=content,
        customer_id=event.customer_id,
        currency=event.currency,
        total_minor=event.total_minor,
        expires_at=deadline,
        accepted=True,
    )
    problem = problem_of(event, at) or _cancelled_first(known)
    if problem is not None:
        return _fail(replace(fresh, accepted=False, **problem.unusable), problem.code, problem.detail)
    accepted = CheckoutAccepted(
        checkout_id=event.checkout_id,
        customer_id=event.customer_id,
        payment_method_id=event.payment_method_id,
        currency=event.currency,
        total_minor=event.total_minor,
        lines=event.lines,
        expires_at=deadline,
    )
    return Decision(fresh, (accepted,))


def on_checkout_cancel_requested(known: Checkout | None, event: CheckoutCancelRequested, at: datetime) -> Outcome:
    """Cancel what is not captured yet; a wish that comes before its checkout waits for it."""
    reason = short(event.reason)
    wish = f"cancel requested: {reason or 'no reason given'}"
    if known is None:
        first = Checkout(checkout_id=event.checkout_id, status=Status.CANCELLED_FIRST, created_at=at, detail=wish)
        return Decision(first, note=wish)
    if known.status in OPEN:
        return _fail(known, Code.CANCELLED, reason)
    return Decision(known, note=f"{wish}; too late, already {known.status}")


def on_payment_authorized(known: Checkout | None, event: PaymentAuthorized, _at: datetime) -> Outcome:
    """Create the order. Too late: the payment hears checkout.failed and lets the money go."""
    if known is None:
        return Decision(None, early=_NOBODYS)
    check_paid(known, event)
    if known.status is not Status.ACCEPTED:
        return _too_late(known)
    order_id = uuid5(_ORDERS, event.checkout_id)
    confirmed = CheckoutConfirmed(checkout_id=event.checkout_id, order_id=order_id)
    paid = replace(known, status=Status.AUTHORIZED, order_id=order_id, payment_id=event.payment_id, delay=None)
    return Decision(paid, (confirmed,))


def on_warehouse_confirmed(known: Checkout | None, _event: WarehouseConfirmed, _at: datetime) -> Outcome:
    """The goods are committed; the money comes next."""
    if known is None:
        return Decision(None, early=_NOBODYS)
    if known.status is not Status.AUTHORIZED:
        return _too_late(known)
    return Decision(replace(known, status=Status.CAPTURE_PENDING))


def on_payment_captured(known: Checkout | None, event: PaymentCaptured, _at: datetime) -> Outcome:
    """An end: completed. After checkout.failed it is no end: the payment refunds."""
    if known is None:
        return Decision(None, early=_NOBODYS)
    check_paid(known, event)
    if known.status not in OPEN:
        return _too_late(known)
    if known.order_id is None:
        return Decision(known, early="captured without an order")
    completed = CheckoutCompleted(
        checkout_id=event.checkout_id,
        order_id=known.order_id,
        customer_id=known.customer_id,
        currency=known.currency,
        total_minor=known.total_minor,
    )
    # the capture may be heard before the commitment that it followed, and after tries without an answer
    via = () if known.status is Status.CAPTURE_PENDING else (Status.CAPTURE_PENDING,)
    paid = replace(known, status=Status.CAPTURED, payment_id=event.payment_id, delay=None)
    return Decision(paid, (completed,), via=via)


def on_payment_delayed(known: Checkout | None, event: PaymentDelayed, _at: datetime) -> Outcome:
    """Nothing is lost yet: the payment waits for its provider. What the customer reads meanwhile is in the event."""
    if known is None:
        return Decision(None, early=_NOBODYS)
    code, remark = code_said(event.code)
    if event.operation == "authorize" and known.status is Status.ACCEPTED:
        note = _joined(f"payment delayed: {code}, {max(event.attempts, 0)} tries", remark)
        return Decision(replace(known, delay=code), note=note)
    if event.operation == "capture" and known.status in BEFORE_CAPTURE:
        # each try is a pass through capture_pending
        via = () if known.status is Status.CAPTURE_PENDING else (Status.CAPTURE_PENDING,)
        return Decision(replace(known, status=Status.CAPTURE_FAILED, delay=code), via=via)
    return _too_late(known)


def on_warehouse_rejected(known: Checkout | None, event: WarehouseRejected, _at: datetime) -> Outcome:
    """No stock, no checkout."""
    return _fail_if_open(known, event.code, f"sku {event.sku}" if event.sku else "")


def on_payment_declined(known: Checkout | None, event: PaymentDeclined, _at: datetime) -> Outcome:
    """No money, no checkout; the warehouse hears checkout.failed and puts the goods back."""
    return _fail_if_open(known, event.code, _provider_said(event.provider_code))


def on_warehouse_confirm_failed(known: Checkout | None, event: WarehouseConfirmFailed, _at: datetime) -> Outcome:
    """The goods can't leave: cancel the order; the payment hears checkout.failed and voids."""
    return _fail_if_open(known, event.code, f"sku {event.sku}" if event.sku else "")


def on_payment_capture_failed(known: Checkout | None, event: PaymentCaptureFailed, _at: datetime) -> Outcome:
    """The money did not come: cancel the order; the payment hears checkout.failed and voids."""
    via: tuple[str, ...] = (Status.CAPTURE_FAILED,)
    if known is not None and known.status in (Status.AUTHORIZED, Status.CAPTURE_FAILED):
        via = (Status.CAPTURE_PENDING, Status.CAPTURE_FAILED)
    return _fail_if_open(known, event.code, _provider_said(event.provider_code), via)


def on_warehouse_released(known: Checkout | None, event: WarehouseReleased, _at: datetime) -> Outcome:
    """The warehouse's answer to checkout.failed; or a reservation that lapsed before the money was authorized."""
    if known is None:
        return Decision(None, early=_NOBODYS)
    if event.outcome in ("released", "nothing"):
        check_answers(known, event.TYPE)
        return _let_go(replace(known, stock_let_go=True))
    if event.outcome != "lapsed":
        raise UnsafeError(f"{event.TYPE} has the outcome {short(event.outcome, 40)!r}: lapsed, released or nothing")
    if known.status is Status.ACCEPTED:
        return _fail(known, Code.RESERVATION_LAPSED, "")
    return Decision(known, note="the reservation lapsed")


def on_payment_voided(known: Checkout | None, event: PaymentVoided, _at: datetime) -> Outcome:
    """The payment's answer to checkout.failed: nothing is held."""
    if known is None:
        return Decision(None, early=_NOBODYS)
    check_voided(known, event)
    return _let_go(replace(known, money_let_go=True, payment_id=event.payment_id or known.payment_id))


def on_payment_refunded(known: Checkout | None, event: PaymentRefunded, _at: datetime) -> Outcome:
    """The payment's answer to checkout.failed: what was captured went back."""
    if known is None:
        return Decision(None, early=_NOBODYS)
    check_refunded(known, event)
    return _let_go(replace(known, money_let_go=True, payment_id=event.payment_id))


def on_deadline_passed(known: Checkout | None, _event: DeadlinePassed, at: datetime) -> Outcome:
    """Not authorized in time: over."""
    if known is None or known.status is not Status.ACCEPTED or known.expires_at is None or known.expires_at > at:
        return Decision(known)
    detail = f"not authorized by {known.expires_at:%Y-%m-%dT%H:%M:%SZ}"
    return _fail(known, known.delay or Code.EXPIRED, detail)


def give_up_accepting(known: Checkout | None, event: CheckoutRequested, at: datetime, code: str) -> Outcome:
    """A request can't be handled, however often it is tried: it fails. A copy never undoes what was accepted."""
    if known is not None and known.status is not Status.CANCELLED_FIRST:
        return _too_late(known)
    # the request's fields were not looked at yet: what is no customer's id must not be kept
    customer = "" if identifier_fault(event.customer_id) else event.customer_id
    fresh = Checkout(checkout_id=event.checkout_id, status=Status.FAILED, created_at=at, customer_id=customer)
    return _fail(fresh, code, f"{event.TYPE} could not be handled")


def give_up_ordering(known: Checkout | None, event: PaymentAuthorized, _at: datetime, code: str) -> Outcome:
    """No order can be made, however often it is tried: the checkout fails, and everybody lets go.

    A message about other money can't be handled either, and undoes nothing.
    """
    if known is None or known.status is not Status.ACCEPTED:
        return _too_late(known) if known else Decision(None)
    try:
        check_paid(known, event)
    except UnsafeError:
        return Decision(known)
    return _fail(known, code, f"{event.TYPE} could not be handled")


def giving_up() -> dict[str, Callable[..., Outcome]]:
    """Event type -> what is announced when its retries are exhausted; other events' letters wait for an engineer."""
    return {CheckoutRequested.TYPE: give_up_accepting, PaymentAuthorized.TYPE: give_up_ordering}


def handlers(time_to_pay: timedelta) -> dict[str, Callable[..., Outcome]]:
    """Event type -> decision. time_to_pay: how long a checkout may take until its money is authorized."""

    def requested(known: Checkout | None, event: CheckoutRequested, at: datetime) -> Outcome:
        return on_checkout_requested(known, event, at, time_to_pay=time_to_pay)

    return {
        CheckoutRequested.TYPE: requested,
        CheckoutCancelRequested.TYPE: on_checkout_cancel_requested,
        PaymentAuthorized.TYPE: on_payment_authorized,
        PaymentCaptured.TYPE: on_payment_captured,
        PaymentCaptureFailed.TYPE: on_payment_capture_failed,
        PaymentDeclined.TYPE: on_payment_declined,
        PaymentDelayed.TYPE: on_payment_delayed,
        PaymentRefunded.TYPE: on_payment_refunded,
        PaymentVoided.TYPE: on_payment_voided,
        WarehouseConfirmed.TYPE: on_warehouse_confirmed,
        WarehouseConfirmFailed.TYPE: on_warehouse_confirm_failed,
        WarehouseRejected.TYPE: on_warehouse_rejected,
        WarehouseReleased.TYPE: on_warehouse_released,
        DeadlinePassed.TYPE: on_deadline_passed,
    }


def fingerprint(event: CheckoutRequested) -> str:
    """What makes two requests the same: who, how, which currency, how much, which lines (not the deadline)."""
    lines = [(line.sku, line.quantity, line.unit_price_minor) for line in event.lines]
    content = (event.customer_id, event.payment_method_id, event.currency, event.total_minor, lines)
    return hashlib.sha256(repr(content).encode()).hexdigest()


def _cancelled_first(known: Checkout | None) -> Problem | None:
    return None if known is None else Problem(Code.CANCELLED, known.detail)


def _provider_said(word: str | None) -> str:
    return f"provider: {word}" if word else ""


def _fail_if_open(known: Checkout | None, code: str, detail: str, via: tuple[str, ...] = ()) -> Outcome:
    if known is None:
        return Decision(None, early=_NOBODYS)
    return _fail(known, code, detail, via) if known.status in OPEN else _too_late(known)


def _too_late(known: Checkout) -> Outcome:
    """Nothing to do; once the checkout has ended, the reason is that it has."""
    return Decision(known, late=None if known.status in OPEN else f"the checkout is {known.status} already")


def _fail(known: Checkout, code: str, detail: str, via: tuple[str, ...] = ()) -> Outcome:
    """The end. Code and detail may be another service's: checkout.failed stays short and readable."""
    code, remark = code_said(code)
    detail, entry = _joined(detail, remark), entry_of(code)
    failed = CheckoutFailed(
        checkout_id=known.checkout_id,
        customer_id=known.customer_id,
        code=code,
        message=entry.customer,
        detail=detail,
        accepted=known.accepted,
        error_class=entry.error_class,
        retryable=entry.retryable,
    )
    return Decision(replace(known, status=Status.FAILED, code=code, detail=detail, delay=None), (failed,), via=via)


def _joined(detail: str, remark: str) -> str:
    return short(f"{detail}; {remark}" if detail and remark else detail or remark)


def _let_go(known: Checkout) -> Outcome:
    """Both answers heard: nothing is held any more."""
    if known.status is Status.FAILED and known.stock_let_go and known.money_let_go:
        return Decision(replace(known, status=Status.COMPENSATED))
    return Decision(known)
