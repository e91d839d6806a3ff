"""The provider's decisions, pure: (payment, command, moment) → new payment + answer + journal entries.

Nothing here reads a clock, draws an id or touches the ledger. The rules that hold whatever is asked:
captured ≤ authorized, refunded ≤ captured, never both captured and voided, captured at most once.
"""

from dataclasses import dataclass, replace
from typing import Final

from compose.sandbox import errors
from compose.sandbox.model import (
    Answer,
    Authorize,
    Capture,
    Command,
    Entry,
    Kind,
    Payment,
    Refund,
    Status,
    Void,
    view,
)
from compose.sandbox.payment_methods import DECLINES, behaviour


@dataclass(frozen=True, slots=True)
class Moment:
    """What a decision gets from outside: the time, the caller's key, and what a new payment needs."""

    now_us: int
    idempotency_key: str
    new_payment_id: str
    authorization_ttl_us: int


@dataclass(frozen=True, slots=True)
class Outcome:
    """What is to be answered and, in the same transaction, written.

    `payment` is None when nothing was executed: such an answer is not stored under the key either.
    """

    answer: Answer
    payment: Payment | None
    entries: tuple[Entry, ...] = ()


# why an authorization in this state can be neither captured nor voided; "authorized" is missing because it can
CLOSED: Final[dict[Status, str]] = {
    "captured": "payment_already_captured",
    "refunded": "payment_already_captured",
    "voided": "payment_already_voided",
    "expired": "authorization_expired",
    "declined": "payment_declined",
}


def decide(command: Command, payment: Payment | None, moment: Moment) -> Outcome:
    """Decide one command on the payment it names (None: there is no such payment)."""
    if isinstance(command, Authorize):
        return authorize(command, moment)
    if payment is None:
        return Outcome(errors.missing("payment", command.payment_id), None)
    current, noticed = notice_expiry(payment, moment.now_us)
    outcome = _act(command, current, moment)
    return replace(outcome, entries=noticed + outcome.entries)


def _act(command: Capture | Void | Refund, payment: Payment, moment: Moment) -> Outcome:
    match command:
        case Capture():
            return capture(command, payment, moment)
        case Void():
            return void(payment, moment)
        case Refund():
            return refund(command, payment, moment)


def authorize(command: Authorize, moment: Moment) -> Outcome:
    """A new payment, authorized or declined as its token says."""
    bank = behaviour(command.payment_method)
    payment = Payment(
        payment_id=moment.new_payment_id,
        checkout_id=command.checkout_id,
        customer=command.customer,
        payment_method=command.payment_method,
        currency=command.currency,
        amount_minor=command.amount_minor,
        status="authorized" if bank.decline_code is None else "declined",
        created_at_us=moment.now_us,
        capture_before_us=moment.now_us + moment.authorization_ttl_us,
    )
    if bank.decline_code is None:
        return _done(payment, "authorized", payment.amount_minor, moment)
    answer = errors.declined(bank.decline_code, DECLINES[bank.decline_code], payment.payment_id)
    return Outcome(answer, payment, (_entry(payment, "declined", payment.amount_minor, moment),))


def capture(command: Capture, payment: Payment, moment: Moment) -> Outcome:
    """Capture once, at most what was authorized."""
    if closed := CLOSED.get(payment.status):
        return _refused(payment, closed)
    if command.amount_minor > payment.amount_minor:
        return _refused(payment, "amount_too_large")
    if behaviour(payment.payment_method).capture_refused:
        entry = _entry(payment, "capture_refused", command.amount_minor, moment)
        return Outcome(errors.capture_refused(payment.payment_id), payment, (entry,))
    captured = replace(payment, status="captured", captured_minor=command.amount_minor)
    return _done(captured, "captured", command.amount_minor, moment)


def void(payment: Payment, moment: Moment) -> Outcome:
    """Release the whole hold."""
    if closed := CLOSED.get(payment.status):
        return _refused(payment, closed)
    return _done(replace(payment, status="voided"), "voided", payment.amount_minor, moment)


def refund(command: Refund, payment: Payment, moment: Moment) -> Outcome:
    """Give back part or all of what was captured; the status is `refunded` from the first part on."""
    if payment.status not in ("captured", "refunded"):
        return _refused(payment, "payment_not_captured")
    refundable_minor = payment.captured_minor - payment.refunded_minor
    if refundable_minor == 0:
        return _refused(payment, "charge_already_refunded")
    if command.amount_minor > refundable_minor:
        return _refused(payment, "amount_too_large")
    refunded_minor = payment.refunded_minor + command.amount_minor
    refunded = replace(payment, status="refunded", refunded_minor=refunded_minor)
    return _done(refunded, "refunded", command.amount_minor, moment)


def notice_expiry(payment: Payment, now_us: int) -> tuple[Payment, tuple[Entry, ...]]:
    """The payment as it stands at `now_us`, and the entry that says so if its authorization has lapsed."""
    if payment.status != "authorized" or now_us < payment.capture_before_us:
        return payment, ()
    expired = replace(payment, status="expired")
    return expired, (_expired_entry(expired, now_us),)


def _expired_entry(payment: Payment, now_us: int) -> Entry:
    return Entry(
        now_us,
        "expired",
        payment.payment_id,
        payment.checkout_id,
        payment.amount_minor,
        payment.currency,
        idempotency_key=None,
    )


def _done(payment: Payment, kind: Kind, amount_minor: int, moment: Moment) -> Outcome:
    return Outcome(Answer(200, view(payment)), payment, (_entry(payment, kind, amount_minor, moment),))


def _entry(payment: Payment, kind: Kind, amount_minor: int, moment: Moment) -> Entry:
    return Entry(
        moment.now_us,
        kind,
        payment.payment_id,
        payment.checkout_id,
        amount_minor,
        payment.currency,
        moment.idempotency_key,
    )


def _refused(payment: Payment, code: str) -> Outcome:
    message = f"Payment {payment.payment_id} is {payment.status}: {code.replace('_', ' ')}."
    return Outcome(errors.invalid_request(code, message), payment)
