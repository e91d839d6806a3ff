"""What a simulated shop sells and asks for: little stock, payment methods of every kind; and what a forger says."""

from dataclasses import replace
from datetime import UTC, datetime
from random import Random
from typing import Any, Final

from schemas import events as ev
from schemas.events import CheckoutRequested, Line
from services.payment.state import PaymentMethod

STOCK: Final = {"cup": 5, "pot": 3}
_WEIGHTS: Final = {"good": 6, "declined": 1, "capture_refused": 1, "strangers": 1}
METHODS: Final = {
    name: PaymentMethod(payment_method_id=name, customer_id="b" if name == "strangers" else "a", token=f"tok_{name}")
    for name in _WEIGHTS
}


def request(rng: Random, checkout_id: str) -> CheckoutRequested:
    """Customer a's basket of one or two products; one in twenty doesn't add up."""
    units = {sku: rng.randint(1, 2) for sku in rng.sample(list(STOCK), rng.randint(1, 2))}
    lines = tuple(Line(sku=sku, quantity=n, unit_price_minor=rng.randint(1, 9)) for sku, n in units.items())
    (method,) = rng.choices(list(_WEIGHTS), list(_WEIGHTS.values()))
    total = sum(line.quantity * line.unit_price_minor for line in lines)
    return CheckoutRequested(
        checkout_id=checkout_id,
        customer_id="a",
        payment_method_id=method,
        currency="EUR",
        total_minor=total + (rng.random() < 0.05),
        lines=lines,
    )


_LATER: Final = datetime(2026, 12, 31, tzinfo=UTC)


def forged(rng: Random, asked: CheckoutRequested) -> tuple[str, ev.Event]:
    """(who hears it, a message about money or goods that differ from what was asked for)."""
    right: dict[str, Any] = {"checkout_id": asked.checkout_id, "payment_id": "pay_forged", "currency": asked.currency}
    right["amount_minor"] = asked.total_minor
    wrong = right | rng.choice(
        ({"amount_minor": 1000}, {"amount_minor": -1}, {"amount_minor": asked.total_minor + 1}, {"currency": "JPY"})
    )
    void: dict[str, Any] = {"checkout_id": asked.checkout_id, "payment_id": "pay_forged", "amount_minor": 1000}
    line = replace(asked.lines[0], quantity=asked.lines[0].quantity + 1)
    accepted = ev.CheckoutAccepted(
        checkout_id=asked.checkout_id,
        customer_id=asked.customer_id,
        payment_method_id=asked.payment_method_id,
        currency=asked.currency,
        total_minor=line.quantity * line.unit_price_minor - 1,
        lines=(line,),
        expires_at=_LATER,
    )
    return rng.choice(
        (
            ("checkout", ev.PaymentAuthorized(**wrong, capture_before=_LATER)),
            ("checkout", ev.PaymentCaptured(**wrong)),
            ("checkout", ev.PaymentRefunded(**wrong)),
            ("checkout", ev.PaymentVoided(**void, outcome="voided")),
            ("checkout", ev.PaymentVoided(**void, outcome="kept")),
            ("checkout", ev.WarehouseReleased(checkout_id=asked.checkout_id, outcome="sold")),
            ("payment", accepted),
            ("warehouse", accepted),
        )
    )
