"""What the payment service decides: (what it knows, what it hears, when, what the provider said) -> the payment then,
what it says, and the provider call that is still to be made.

Pure. A decision that needs the provider is asked twice: without an answer it returns the call and the state that says
it is under way (`authorizing`, `capture_pending`, `voiding`, `refunding`), which is committed before the call is made;
with the answer it decides. A call is repeated after a crash with the same key, so its effect happens once.
"""

from collections.abc import Callable
from dataclasses import replace
from datetime import datetime

from schemas.decision import Decision, NotAsked, Unknown, UnsafeError
from schemas.events import CheckoutAccepted, CheckoutFailed, Event, WarehouseConfirmed, WarehouseReserved
from schemas.failures import Code
from schemas.limits import accepted_fault
from services.payment import steps
from services.payment.provider.protocol import Authorized, Refusal, Refused, Told
from services.payment.state import LET_GO, MAYBE_HELD, NOTHING_HELD, Outcome, Payment, Status, Wallet

_CAN_AUTHORIZE = (
    Status.EXPECTED,
    Status.AUTHORIZING,
    Status.AUTHORIZATION_DELAYED,
    Status.AUTHORIZATION_UNKNOWN,
)
_CAN_CAPTURE = (Status.AUTHORIZED, Status.CAPTURE_PENDING, Status.CAPTURE_FAILED)
_NOT_YET_AUTHORIZED = (Status.RESERVED_FIRST, *_CAN_AUTHORIZE)


def on_checkout_accepted(wallet: Wallet, event: CheckoutAccepted, at: datetime, told: Told | None = None) -> Outcome:
    """Record the payment to come, once its method is known to be the customer's; authorize if stock is reserved."""
    known = wallet.payment
    fault = accepted_fault(event) or _conflict(known, event)
    if fault:
        raise UnsafeError(f"{event.TYPE}: {fault}")
    if known is not None and known.status in _CAN_AUTHORIZE and known.status is not Status.EXPECTED:
        return steps.authorize(known, at, told)
    if known is not None and known.status is not Status.RESERVED_FIRST:
        return _nothing_to_do(known)
    expected = Payment(
        checkout_id=event.checkout_id,
        status=Status.EXPECTED,
        customer_id=event.customer_id,
        payment_method_id=event.payment_method_id,
        token=wallet.method.token if wallet.method else "",
        currency=event.currency,
        amount_minor=event.total_minor,
        expires_at=event.expires_at,
    )
    if wallet.method is None:
        return steps.declined(expected, Code.PAYMENT_METHOD_UNKNOWN, None)
    if wallet.method.customer_id != event.customer_id:
        return steps.declined(replace(expected, token=""), Code.PAYMENT_METHOD_NOT_OWNED, None)
    return Decision(expected) if known is None else steps.authorize(expected, at, told)


def on_warehouse_reserved(wallet: Wallet, event: WarehouseReserved, at: datetime, told: Told | None = None) -> Outcome:
    """The goods are there: authorize. Heard before checkout.accepted, it waits for it."""
    known = wallet.payment
    if known is None:
        return Decision(Payment(checkout_id=event.checkout_id, status=Status.RESERVED_FIRST))
    if known.status in _CAN_AUTHORIZE:
        return steps.authorize(known, at, told)
    return _nothing_to_do(known)


def on_warehouse_confirmed(
    wallet: Wallet, _event: WarehouseConfirmed, _at: datetime, told: Told | None = None
) -> Outcome:
    """The goods are committed: capture, once, and only what was authorized for them."""
    known = wallet.payment
    if known is None or known.status in _NOT_YET_AUTHORIZED:
        return Decision(known, early="warehouse.confirmed without an authorized payment: nobody asked for it")
    if known.status is Status.DECLINED:
        return Decision(known, refusal="warehouse.confirmed after the payment was declined: nobody asked for it")
    if known.status not in _CAN_CAPTURE:
        return _nothing_to_do(known)
    return steps.capture(known, told)


def on_checkout_failed(wallet: Wallet, event: CheckoutFailed, _at: datetime, told: Told | None = None) -> Outcome:
    """Let go of the money and answer exactly once, also when there is none; close the door for late events."""
    known = wallet.payment
    if not event.accepted or (known is not None and known.status in LET_GO):
        return Decision(known)
    if known is None or known.status in NOTHING_HELD:
        return steps.nothing_held(known or Payment(checkout_id=event.checkout_id, status=Status.CLOSED))
    if isinstance(told, NotAsked | Unknown):
        tried = f"not let go yet: {steps.reason(told)}" if isinstance(told, Unknown) else ""
        return Decision(known, note=tried, waits=steps.reason(told))
    if told is not None and _is_stale(known.status, told):
        told = None
    if known.status in MAYBE_HELD:
        return steps.undo_authorizing(known, told)
    if known.status in (Status.CAPTURED, Status.REFUNDING):
        return steps.refund(known, told)
    return steps.void(known, told)


def handlers() -> dict[str, Callable[..., Outcome]]:
    """Event type -> decision."""
    return {
        CheckoutAccepted.TYPE: on_checkout_accepted,
        CheckoutFailed.TYPE: on_checkout_failed,
        WarehouseConfirmed.TYPE: on_warehouse_confirmed,
        WarehouseReserved.TYPE: on_warehouse_reserved,
    }


def give_up_authorizing(wallet: Wallet, event: Event, _at: datetime, code: str) -> Outcome:
    """The event can't be handled, however often it is tried: the checkout has to fail, and says so to everybody."""
    known = wallet.payment or Payment(checkout_id=event.checkout_id, status=Status.EXPECTED)
    if known.status not in _NOT_YET_AUTHORIZED:
        return _nothing_to_do(known)
    if isinstance(event, CheckoutAccepted) and (accepted_fault(event) or _conflict(known, event)):
        # what can't be charged, or is not what was accepted, ends no checkout
        return Decision(wallet.payment)
    return steps.authorization_given_up(known, code)


def give_up_capturing(wallet: Wallet, _event: Event, _at: datetime, code: str) -> Outcome:
    """The capture did not succeed, however often it was tried: the checkout has to fail, and the money to go back."""
    known = wallet.payment
    if known is None or known.status not in _CAN_CAPTURE:
        return _nothing_to_do(known)
    return steps.capture_given_up(known, code)


def giving_up() -> dict[str, Callable[..., Outcome]]:
    """Event type -> what is announced when its retries are exhausted. What lets go is never given up quietly."""
    return {
        CheckoutAccepted.TYPE: give_up_authorizing,
        WarehouseReserved.TYPE: give_up_authorizing,
        WarehouseConfirmed.TYPE: give_up_capturing,
    }


def _conflict(known: Payment | None, event: CheckoutAccepted) -> str | None:
    """What another acceptance of the same checkout says otherwise; a copy says the same."""
    # what was reserved or failed first has no amount yet
    if known is None or not known.amount_minor:
        return None
    if (event.total_minor, event.currency) != (known.amount_minor, known.currency):
        accepted = f"{known.amount_minor} {known.currency}"
        return f"{event.total_minor} {event.currency}, and {accepted} was accepted before"
    if (event.customer_id, event.payment_method_id) != (known.customer_id, known.payment_method_id):
        return "another customer or payment method than was accepted before"
    return None


def _nothing_to_do(known: Payment | None) -> Outcome:
    over = known is not None and known.status not in (*_NOT_YET_AUTHORIZED, *_CAN_CAPTURE, Status.CAPTURED)
    return Decision(known, late=f"the payment is {known.status} already" if known and over else None)


def _is_stale(status: Status, answer: Told) -> bool:
    """Whether another process moved the payment on while this answer was on its way.

    What fits the payment now is asked then, with its own key. States only move forward, so an answer is either one
    to what this state asks or one to what an earlier state asked.
    """
    match status:
        case Status.AUTHORIZING | Status.AUTHORIZATION_UNKNOWN | Status.AUTHORIZATION_ABANDONED:
            return False
        case Status.VOIDING:
            return isinstance(answer, Authorized)
        case Status.REFUNDING:
            to_void = isinstance(answer, Refused) and answer.refusal is Refusal.CAPTURED_ALREADY
            return to_void or isinstance(answer, Authorized)
        case _:
            return True
