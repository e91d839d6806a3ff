"""Whether what payment says fits what checkout knows: amount, currency, payment. Pure.

Events of different topics arrive in any order, and what stands on a topic may have been written by anybody: a message
about other money than this checkout's is set aside for a person, also when it comes too late to do anything. It neither
completes a checkout nor ends one.
"""

from typing import Final

from schemas.decision import UnsafeError
from schemas.events import PaymentAuthorized, PaymentCaptured, PaymentRefunded, PaymentVoided
from schemas.limits import payment_id_fault, short
from services.checkout.state import Checkout, Status

_FAILED: Final = (Status.FAILED, Status.COMPENSATED)
_QUOTED: Final = 40
"""Characters of a foreign value in a sentence."""


def check_paid(known: Checkout, event: PaymentAuthorized | PaymentCaptured) -> None:
    """An authorization or a capture: of the whole amount, in one payment. Raises UnsafeError."""
    _check_accepted(known, event.TYPE)
    _check_amount(known, event.TYPE, event.amount_minor)
    _check_currency(known, event.TYPE, event.currency)
    _check_payment(known, event.TYPE, event.payment_id)


def check_voided(known: Checkout, event: PaymentVoided) -> None:
    """The answer to checkout.failed where nothing was captured. Raises UnsafeError."""
    check_answers(known, event.TYPE)
    match event.outcome:
        case "voided":
            _check_amount(known, event.TYPE, event.amount_minor)
            _check_payment(known, event.TYPE, event.payment_id or "")
        case "nothing" if known.payment_id is not None:
            raise UnsafeError(f"{event.TYPE} says that nothing was held, and {known.payment_id} was authorized")
        case "nothing" if event.amount_minor or event.payment_id:
            raise UnsafeError(f"{event.TYPE} says that nothing was held, and names {event.amount_minor} or a payment")
        case "nothing":
            return
        case _:
            raise UnsafeError(f"{event.TYPE} has the outcome {short(event.outcome, _QUOTED)!r}: voided or nothing")


def check_refunded(known: Checkout, event: PaymentRefunded) -> None:
    """The answer to checkout.failed where the money was captured. Raises UnsafeError."""
    check_answers(known, event.TYPE)
    _check_amount(known, event.TYPE, event.amount_minor)
    _check_currency(known, event.TYPE, event.currency)
    _check_payment(known, event.TYPE, event.payment_id)


def check_answers(known: Checkout, what: str) -> None:
    """What answers checkout.failed is only said of a checkout that was accepted and has failed. Raises UnsafeError."""
    _check_accepted(known, what)
    if known.status not in _FAILED:
        raise UnsafeError(f"{what} answers checkout.failed, and the checkout is {known.status}")


def _check_accepted(known: Checkout, what: str) -> None:
    if not known.accepted:
        raise UnsafeError(f"{what} of a checkout that was never accepted: it is {known.status}")


def _check_amount(known: Checkout, what: str, amount_minor: int) -> None:
    if amount_minor != known.total_minor:
        raise UnsafeError(f"{what} says {amount_minor}, the checkout's total is {known.total_minor}")


def _check_currency(known: Checkout, what: str, currency: str) -> None:
    if currency != known.currency:
        raise UnsafeError(f"{what} says {short(currency, _QUOTED)!r}, the checkout's currency is {known.currency}")


def _check_payment(known: Checkout, what: str, payment_id: str) -> None:
    fault = payment_id_fault(payment_id)
    if fault:
        raise UnsafeError(f"{what}: payment_id {fault}")
    if known.payment_id not in (None, payment_id):
        raise UnsafeError(f"{what} names the payment {short(payment_id, _QUOTED)}, authorized was {known.payment_id}")
