"""What a simulated shop sells and asks for: little stock, and payment methods of every kind."""

from random import Random
from typing import Final

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
