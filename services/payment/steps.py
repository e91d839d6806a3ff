"""What each answer of the provider means for a payment: authorize, capture, and letting go. Pure.

Without an answer a step returns the call and the state that says it is under way, which is committed before the call is
made. `NotAsked` (the circuit breaker is open) and `Unknown` (no answer) make the message wait; what happened meanwhile
is asked by the call's key before anything else is tried or undone.
"""

from dataclasses import replace
from datetime import datetime

from schemas.decision import Decision, NotAsked, Unknown, UnsafeError
from schemas.events import (
    PaymentAuthorized,
    PaymentCaptured,
    PaymentCaptureFailed,
    PaymentDeclined,
    PaymentDelayed,
    PaymentRefunded,
    PaymentVoided,
)
from schemas.failures import MEANWHILE, Code
from services.payment.provider.protocol import (
    Authorize,
    Authorized,
    Capture,
    Captured,
    Declined,
    Refund,
    Refunded,
    Refusal,
    Refused,
    Told,
    Void,
    Voided,
)
from services.payment.state import MAYBE_HELD, Outcome, Payment, Status


def authorize(known: Payment, at: datetime, told: Told | None) -> Outcome:
    """Hold the amount. Past the checkout's deadline nothing is asked any more."""
    match told:
        case Authorized():
            return Decision(held(known, told), (_authorized(known, told),))
        case Declined():
            return declined(known, told.code, told.provider_code)
        case None | NotAsked() | Unknown() if known.expires_at is not None and at >= known.expires_at:
            return authorization_given_up(known, known.code or Code.EXPIRED)
        case None:
            return Decision(replace(known, status=Status.AUTHORIZING), call=authorization(known))
        case NotAsked() | Unknown():
            return _authorization_delayed(known, told)
    raise UnsafeError(f"authorize was answered with {told}")


def authorization(known: Payment) -> Authorize:
    """The call that holds the amount."""
    return Authorize(
        checkout_id=known.checkout_id,
        amount_minor=known.amount_minor,
        currency=known.currency,
        token=known.token,
        customer_id=known.customer_id,
    )


def authorization_given_up(known: Payment, code: str) -> Outcome:
    """No longer tried. Where money may be held, checkout.failed will find out and let it go."""
    event = PaymentDeclined(checkout_id=known.checkout_id, code=code)
    status = Status.AUTHORIZATION_ABANDONED if known.status in MAYBE_HELD else Status.DECLINED
    return Decision(replace(known, status=status, code=code), (event,))


def declined(known: Payment, code: str, provider_code: str | None) -> Outcome:
    """No money is held, and none will be."""
    event = PaymentDeclined(checkout_id=known.checkout_id, code=code, provider_code=provider_code)
    return Decision(replace(known, status=Status.DECLINED, code=code), (event,))


def held(known: Payment, answer: Authorized) -> Payment:
    """The amount is held."""
    return replace(known, status=Status.AUTHORIZED, payment_id=answer.payment_id, capture_before=answer.capture_before)


def capture(known: Payment, told: Told | None) -> Outcome:
    """Take the held amount, once."""
    match told:
        case None:
            return Decision(replace(known, status=Status.CAPTURE_PENDING), call=_capture_call(known))
        case Captured():
            return _captured(known, told)
        case Refused(refusal=Refusal.BY_BANK | Refusal.VOIDED_ALREADY | Refusal.EXPIRED):
            code = Code.CAPTURE_REFUSED if told.refusal is Refusal.BY_BANK else Code.AUTHORIZATION_LOST
            return _capture_failed(known, Status.CAPTURE_REFUSED, code, told.provider_code)
        case NotAsked() | Unknown():
            return _capture_delayed(known, told)
    raise UnsafeError(f"capture was answered with {told}")


def capture_given_up(known: Payment, code: str) -> Outcome:
    """No longer tried. Whether it was taken is found out when checkout.failed is heard; then it goes back."""
    return _capture_failed(known, Status.CAPTURE_ABANDONED, code, None)


def undo_authorizing(known: Payment, told: Told | None) -> Outcome:
    """Whether money is held is not known: ask by the key, and let go of what is found."""
    match told:
        case None:
            return Decision(known, call=authorization(known))
        case Authorized():
            return void(held(known, told), None)
        case Declined():
            return nothing_held(known)
    raise UnsafeError(f"authorize was answered with {told}")


def void(known: Payment, told: Told | None) -> Outcome:
    """Let go of the held amount; where it was captured meanwhile, give it back."""
    match told:
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
            return refund(known, None)
    raise UnsafeError(f"void was answered with {told}")


def refund(known: Payment, told: Told | None) -> Outcome:
    """Give back the captured amount."""
    match told:
        case None:
            call = Refund(checkout_id=known.checkout_id, payment_id=_payment_id(known), amount_minor=known.amount_minor)
            return Decision(replace(known, status=Status.REFUNDING), call=call)
        case Refunded() if told.amount_minor != known.amount_minor:
            raise UnsafeError(f"{told.amount_minor} was given back, {known.amount_minor} was asked for")
        case Refunded() | Refused(refusal=Refusal.REFUNDED_ALREADY):
            refunded = PaymentRefunded(
                checkout_id=known.checkout_id,
                payment_id=_payment_id(known),
                amount_minor=known.amount_minor,
                currency=known.currency,
            )
            return Decision(replace(known, status=Status.REFUNDED), (refunded,))
    raise UnsafeError(f"refund was answered with {told}")


def nothing_held(known: Payment) -> Outcome:
    """Nothing to let go of; the door is closed for what comes late."""
    voided = PaymentVoided(checkout_id=known.checkout_id, outcome="nothing", amount_minor=0)
    return Decision(replace(known, status=Status.CLOSED), (voided,))


def reason(told: NotAsked | Unknown) -> str:
    """Why a call has to be made later, for people."""
    if isinstance(told, NotAsked):
        return "the provider's circuit breaker is open"
    return f"no answer from the provider, try {told.attempts}"


def _code(told: NotAsked | Unknown) -> Code:
    return Code.PAYMENT_TIMED_OUT if isinstance(told, Unknown) and told.timed_out else Code.PAYMENT_UNAVAILABLE


def _delayed(known: Payment, operation: str, told: NotAsked | Unknown) -> PaymentDelayed:
    code, attempts = _code(told), told.attempts if isinstance(told, Unknown) else 0
    return PaymentDelayed(
        checkout_id=known.checkout_id, operation=operation, code=code, message=MEANWHILE, attempts=attempts
    )


def _authorization_delayed(known: Payment, told: NotAsked | Unknown) -> Outcome:
    """The customer hears of each try that ended without an answer, and once that nobody can be asked."""
    maybe = isinstance(told, Unknown) or known.status in MAYBE_HELD
    status = Status.AUTHORIZATION_UNKNOWN if maybe else Status.AUTHORIZATION_DELAYED
    waiting = replace(known, status=status, code=_code(told))
    says = (_delayed(known, "authorize", told),) if status is not known.status else ()
    return Decision(waiting, says, waits=reason(told), until=known.expires_at)


def _capture_delayed(known: Payment, told: NotAsked | Unknown) -> Outcome:
    waiting = replace(known, status=Status.CAPTURE_FAILED, code=_code(told))
    if known.status is Status.CAPTURE_FAILED:
        return Decision(known, waits=reason(told))
    via = (Status.CAPTURE_PENDING,) if known.status is Status.AUTHORIZED else ()
    return Decision(waiting, (_delayed(known, "capture", told),), via=via, waits=reason(told))


def _authorized(known: Payment, answer: Authorized) -> PaymentAuthorized:
    return PaymentAuthorized(
        checkout_id=known.checkout_id,
        payment_id=answer.payment_id,
        amount_minor=known.amount_minor,
        currency=known.currency,
        capture_before=answer.capture_before,
    )


def _capture_call(known: Payment) -> Capture:
    return Capture(checkout_id=known.checkout_id, payment_id=_payment_id(known), amount_minor=known.amount_minor)


def _captured(known: Payment, answer: Captured) -> Outcome:
    if answer.amount_minor != known.amount_minor:
        raise UnsafeError(f"{answer.amount_minor} was captured, {known.amount_minor} was asked for")
    captured = PaymentCaptured(
        checkout_id=known.checkout_id,
        payment_id=_payment_id(known),
        amount_minor=answer.amount_minor,
        currency=known.currency,
    )
    return Decision(replace(known, status=Status.CAPTURED, code=None), (captured,))


def _capture_failed(known: Payment, status: Status, code: str, provider_code: str | None) -> Outcome:
    failed = PaymentCaptureFailed(checkout_id=known.checkout_id, code=code, provider_code=provider_code)
    return Decision(replace(known, status=status, code=code), (failed,))


def _payment_id(known: Payment) -> str:
    if known.payment_id is None:
        raise UnsafeError(f"{known.checkout_id} is {known.status} without a provider's payment id")
    return known.payment_id
