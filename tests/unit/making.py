"""Events and states for the tables of cases: whole and sound, so that a case names only what it is about."""

from dataclasses import replace
from datetime import UTC, datetime, timedelta
from typing import Any, Final
from uuid import UUID

from schemas import events as ev
from schemas.decision import Decision
from schemas.limits import MAX_LINES, MAX_QUANTITY, MAX_TOTAL_MINOR

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


def _lines(*lines: tuple[str, int, int]) -> dict[str, Any]:
    """Lines and the total that they add up to."""
    made = tuple(ev.Line(sku=sku, quantity=quantity, unit_price_minor=price) for sku, quantity, price in lines)
    return {"lines": made, "total_minor": sum(line.quantity * line.unit_price_minor for line in made)}


CARD: Final = "4242424242424242"
IMPOSSIBLE: Final[dict[str, dict[str, Any]]] = {
    "five below zero": {"total_minor": -5, "lines": (ev.Line(sku="cup", quantity=-5, unit_price_minor=1),)},
    "a quantity below zero": _lines(("cup", -1, 100), ("pot", 2, 100)),
    "a quantity of zero": _lines(("cup", 0, 100), ("pot", 1, 100)),
    "one unit too many": _lines(("cup", MAX_QUANTITY + 1, 1)),
    "the most of 32 bits": _lines(("cup", 2**31 - 1, 0), ("pot", 1, 100)),
    "a price below zero": _lines(("cup", 2, 1300), ("pot", 1, -100)),
    "a price beyond 64 bits together": _lines(("cup", 4, 2**62)),
    "no lines": {"lines": (), "total_minor": 100},
    "no lines and no amount": {"lines": (), "total_minor": 0},
    "one line too many": _lines(*[("cup", 1, 1)] * (MAX_LINES + 1)),
    "a total of nothing": _lines(("cup", 1, 0)),
    "a total below zero": {"total_minor": -TOTAL},
    "the least total of 64 bits": {"total_minor": -(2**63)},
    "the largest total of 64 bits": {"total_minor": 2**63 - 1},
    "one more than the largest total": _lines(("cup", 1, MAX_TOTAL_MINOR + 1)),
    "a total one too low": {"total_minor": TOTAL - 1},
    "a total that is not its lines'": {"total_minor": 5},
    "an unknown currency": {"currency": "XXX"},
    "a currency in lower case": {"currency": "eur"},
    "a megabyte of currency": {"currency": "E" * 2**20},
    "no customer": {"customer_id": ""},
    "a customer with NUL": {"customer_id": "cust\0"},
    "a megabyte of customer": {"customer_id": "x" * 2**20},
    "a card number as customer": {"customer_id": CARD},
    "a method with an escape": {"payment_method_id": "\x1b[2J"},
    "a card number as method": {"payment_method_id": f"pm-{CARD}"},
    "no sku": _lines(("", 1, 100)),
    "a sku with NUL": _lines(("cup\0", 1, 100)),
    "a card number as sku": _lines((CARD, 1, 100)),
    "a megabyte of sku": _lines(("x" * 2**20, 1, 100)),
}
"""What no checkout.accepted of our checkout service says."""


def assert_readable(error: Exception, forged: ev.CheckoutAccepted) -> None:
    """What a person reads of a forged acceptance: a short line without what was forged."""
    text = str(error)
    assert text.startswith(forged.TYPE)
    assert len(text) < 200
    assert text.isprintable()
    assert CARD not in text
