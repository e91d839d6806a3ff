"""The sample of `checkout run`: one checkout for every ending, and as many more as wanted."""

from collections.abc import Callable
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from typing import Final

from compose.publisher import Shop
from compose.setting_up import CUSTOMERS
from schemas.events import CheckoutCancelRequested, CheckoutRequested, Line
from schemas.failures import Code

COMPLETED: Final = "completed"
DEAD_LETTER: Final = "dead letter"


@dataclass(frozen=True, slots=True)
class Kind:
    """One kind of checkout. expected: the code of its end, `completed` or `dead letter`. share: of 1,000."""

    title: str
    expected: str
    publish: Callable[[Shop, str, int], None]
    share: int


def _request(checkout_id: str, number: int, method: str = "ok", sku: str = "", **other: object) -> CheckoutRequested:
    customer = CUSTOMERS[number % len(CUSTOMERS)]
    lines = tuple(
        Line(sku=sku or f"sku-{1 + (number * 7 + n) % 100}", quantity=1 + n, unit_price_minor=499 + 100 * n)
        for n in range(1 + number % 3)
    )
    values = {
        "customer_id": customer,
        "payment_method_id": f"{customer}:{method}",
        "currency": "EUR",
        "total_minor": sum(line.quantity * line.unit_price_minor for line in lines),
        "lines": lines,
    }
    return CheckoutRequested(checkout_id=checkout_id, **values | other)  # type: ignore[arg-type]


def _simple(method: str = "ok", sku: str = "") -> Callable[[Shop, str, int], None]:
    def publish(shop: Shop, checkout_id: str, number: int) -> None:
        shop.publish(_request(checkout_id, number, method, sku))

    return publish


def _not_the_owner(shop: Shop, checkout_id: str, number: int) -> None:
    stranger = CUSTOMERS[(number + 1) % len(CUSTOMERS)]
    shop.publish(_request(checkout_id, number, payment_method_id=f"{stranger}:ok"))


def _cancelled(shop: Shop, checkout_id: str, number: int) -> None:
    # the slow card keeps the checkout open until the wish is heard
    shop.publish(_request(checkout_id, number, "slow"))
    shop.publish(CheckoutCancelRequested(checkout_id=checkout_id, reason="changed my mind"))


def _expired(shop: Shop, checkout_id: str, number: int) -> None:
    shop.publish(_request(checkout_id, number, "slower", expires_at=datetime.now(UTC) + timedelta(seconds=2)))


def _wrong_total(shop: Shop, checkout_id: str, number: int) -> None:
    shop.publish(_request(checkout_id, number, total_minor=1))


def _twice(shop: Shop, checkout_id: str, number: int) -> None:
    request = _request(checkout_id, number)
    envelope = shop.publish(request)
    shop.publish_again(envelope)  # the same event once more
    shop.publish(request)  # the same request as a new event


def _conflicting(shop: Shop, checkout_id: str, number: int) -> None:
    shop.publish(_request(checkout_id, number))
    shop.publish(_request(checkout_id, number, "declines-insufficient_funds"))


def _undecodable(shop: Shop, checkout_id: str, _number: int) -> None:
    shop.publish_raw("checkout.requested", checkout_id.encode(), b'{"this is": "not Avro"}')


KINDS: Final = (
    Kind("captured", COMPLETED, _simple(), 900),
    Kind("out of stock", Code.OUT_OF_STOCK, _simple(sku="sku-rare"), 20),
    Kind("payment declined", Code.INSUFFICIENT_FUNDS, _simple("declines-insufficient_funds"), 20),
    Kind("not the owner of the card", Code.PAYMENT_METHOD_NOT_OWNED, _not_the_owner, 10),
    Kind("confirm failed", Code.STOCK_ON_HOLD, _simple(sku="sku-on-hold"), 10),
    Kind("capture refused, then voided", Code.CAPTURE_REFUSED, _simple("refuses-capture"), 10),
    Kind("cancelled", Code.CANCELLED, _cancelled, 5),
    Kind("expired", Code.EXPIRED, _expired, 5),
    Kind("invalid total", Code.TOTAL_MISMATCH, _wrong_total, 10),
    Kind("the same request twice", COMPLETED, _twice, 5),
    Kind("other content under one id", COMPLETED, _conflicting, 3),
    Kind("an undecodable message", DEAD_LETTER, _undecodable, 2),
)


def plan(count: int) -> list[Kind]:
    """`count` checkouts, every kind once and then by their shares, and messages that are none beside them."""
    kinds, others = [k for k in KINDS if k.expected != DEAD_LETTER], [k for k in KINDS if k.expected == DEAD_LETTER]
    weighted = [kind for kind in kinds for _ in range(kind.share)]
    # a stride that shares no divisor with the number of shares mixes the kinds, the same way every time
    planned = [*kinds[:count], *(weighted[n * 389 % len(weighted)] for n in range(count - len(kinds)))]
    for kind in others:
        planned += [kind] * (1 + count * kind.share // 1000)
    return planned
