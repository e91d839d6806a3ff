"""Events and states for the tables of cases: whole and sound, so that a case names only what it is about."""

from dataclasses import replace
from datetime import UTC, datetime, timedelta
from typing import Any, Final
from uuid import UUID

from schemas import events as ev
from schemas.decision import Decision

ID: Final = "c-1"
AT: Final = datetime(2026, 3, 1, 12, tzinfo=UTC)
LATER: Final = AT + timedelta(minutes=10)
ORDER: Final = UUID("00000000-0000-0000-0000-000000000001")
LINES: Final = (
    ev.Line(sku="cup", quantity=2, unit_price_minor=700),
    ev.Line(sku="pot", quantity=1, unit_price_minor=1100),
)
TOTAL: Final = 2500

REQUESTED: Final = ev.CheckoutRequested(
    checkout_id=ID, customer_id="cust-1", payment_method_id="pm-1", currency="EUR", total_minor=TOTAL, lines=LINES
)
ACCEPTED: Final = ev.CheckoutAccepted(
    checkout_id=ID,
    customer_id="cust-1",
    payment_method_id="pm-1",
    currency="EUR",
    total_minor=TOTAL,
    lines=LINES,
    expires_at=LATER,
)
CANCEL: Final = ev.CheckoutCancelRequested(checkout_id=ID, reason="found it cheaper")
CONFIRMED: Final = ev.CheckoutConfirmed(checkout_id=ID, order_id=ORDER)
FAILED: Final = ev.CheckoutFailed(
    checkout_id=ID, customer_id="cust-1", code="CANCELLED", message="Sorry.", detail="", accepted=True
)
NEVER_ACCEPTED: Final = replace(FAILED, accepted=False)
RESERVED: Final = ev.WarehouseReserved(checkout_id=ID, expires_at=LATER)
REJECTED: Final = ev.WarehouseRejected(checkout_id=ID, code="OUT_OF_STOCK", sku="cup")
COMMITTED: Final = ev.WarehouseConfirmed(checkout_id=ID)
CONFIRM_FAILED: Final = ev.WarehouseConfirmFailed(checkout_id=ID, code="STOCK_ON_HOLD", sku="pot")
LAPSED: Final = ev.WarehouseReleased(checkout_id=ID, outcome="lapsed")
RELEASED: Final = ev.WarehouseReleased(checkout_id=ID, outcome="released")
AUTHORIZED: Final = ev.PaymentAuthorized(
    checkout_id=ID, payment_id="pay-1", amount_minor=TOTAL, currency="EUR", capture_before=LATER
)
DECLINED: Final = ev.PaymentDeclined(checkout_id=ID, code="CARD_EXPIRED", provider_code="expired_card")
CAPTURED: Final = ev.PaymentCaptured(checkout_id=ID, payment_id="pay-1", amount_minor=TOTAL, currency="EUR")
CAPTURE_FAILED: Final = ev.PaymentCaptureFailed(checkout_id=ID, code="CAPTURE_REFUSED", provider_code="lost_card")
DELAYED: Final = ev.PaymentDelayed(
    checkout_id=ID, operation="authorize", code="PAYMENT_UNAVAILABLE", message="Please wait.", attempts=2
)
CAPTURE_DELAYED: Final = replace(DELAYED, operation="capture", code="PAYMENT_TIMED_OUT")
VOIDED: Final = ev.PaymentVoided(checkout_id=ID, outcome="voided", payment_id="pay-1", amount_minor=TOTAL)
REFUNDED: Final = ev.PaymentRefunded(checkout_id=ID, payment_id="pay-1", amount_minor=TOTAL, currency="EUR")


def told(decision: Decision[Any]) -> list[str]:
    """The types of what a decision says, in order."""
    return [event.TYPE for event in decision.events]


def status(decision: Decision[Any]) -> str | None:
    """The status that a decision leaves; None where it knows nothing."""
    return None if decision.state is None else str(decision.state.status)


def changes_nothing(decision: Decision[Any], known: object) -> bool:
    """Whether a decision leaves the very same state and says and asks nothing."""
    return decision.state is known and not decision.events and decision.call is None and not decision.via
