"""One checkout as it looks on the topics: what a shop says and what it hears, as examples."""

from datetime import UTC, datetime
from typing import Any, Final
from uuid import UUID

from schemas.choreography import SHOP
from schemas.envelope import Envelope, event_headers
from schemas.events import (
    CheckoutCancelRequested,
    CheckoutCompleted,
    CheckoutFailed,
    CheckoutRequested,
    Line,
    PaymentDelayed,
    to_record,
)
from schemas.failures import MEANWHILE, Code, entry_of

_ID: Final = "web-20261123-8f3a21"
_CUSTOMER: Final = "customer-1"
_TRACE: Final = b"00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01"
_OUT_OF_STOCK: Final = entry_of(Code.OUT_OF_STOCK)


def _at(second: int) -> datetime:
    return datetime(2026, 11, 23, 10, 0, second, tzinfo=UTC)


REQUESTED: Final = Envelope(
    CheckoutRequested(
        checkout_id=_ID,
        customer_id=_CUSTOMER,
        payment_method_id="customer-1:ok",
        currency="EUR",
        total_minor=5490,
        lines=(
            Line(sku="sku-7", quantity=2, unit_price_minor=1250),
            Line(sku="sku-42", quantity=1, unit_price_minor=2990),
        ),
    ),
    UUID("01a207d9-2100-7a3c-9d41-6f0c2b9e5a10"),
    _at(0),
)

ENVELOPES: Final = (
    REQUESTED,
    Envelope(
        CheckoutCancelRequested(checkout_id=_ID, reason="The customer changed the delivery address."),
        UUID("01a207d9-24e8-7b02-8c77-1d5e90af4b21"),
        _at(1),
    ),
    Envelope(
        CheckoutCompleted(
            checkout_id=_ID,
            order_id=UUID("01a207d9-2466-7e19-b3d0-42c8f1a7d0cc"),
            customer_id=_CUSTOMER,
            currency="EUR",
            total_minor=5490,
        ),
        UUID("01a207d9-28d0-7c55-a1e6-90d3b7f2c632"),
        _at(2),
    ),
    Envelope(
        CheckoutFailed(
            checkout_id=_ID,
            customer_id=_CUSTOMER,
            code=_OUT_OF_STOCK.code,
            message=_OUT_OF_STOCK.customer,
            detail="sku-42: 0 on hand, 1 asked for",
            accepted=True,
            error_class=_OUT_OF_STOCK.error_class,
            retryable=_OUT_OF_STOCK.retryable,
        ),
        UUID("01a207d9-28d0-7d10-8f24-3be5c6a81743"),
        _at(2),
    ),
    Envelope(
        PaymentDelayed(
            checkout_id=_ID, operation="authorize", code=Code.PAYMENT_TIMED_OUT, message=MEANWHILE, attempts=1
        ),
        UUID("01a207d9-4fe0-7f6b-92c8-a4170de95854"),
        _at(12),
    ),
)
"""What a shop says or may want to hear."""


def of(event: str) -> list[Envelope]:
    """The samples of an event; none for what only services say to each other."""
    return [envelope for envelope in ENVELOPES if event == envelope.event.TYPE]


def payload(envelope: Envelope) -> dict[str, Any]:
    """The event as JSON has it: instants are microseconds since 1970, as in Avro, ids are text."""
    record = {
        "event_id": envelope.event_id,
        "checkout_id": envelope.event.checkout_id,
        "occurred_at": envelope.occurred_at,
        **to_record(envelope.event),
    }
    return {name: _plain(value) for name, value in record.items()}


def headers(envelope: Envelope) -> dict[str, str]:
    """The headers that go with an event of the shop, which is its own cause."""
    pairs = event_headers(envelope, SHOP, envelope.event_id, [("traceparent", _TRACE)])
    return {name: (value or b"").decode() for name, value in pairs}


def _plain(value: Any) -> Any:
    match value:
        case datetime():
            return int(value.timestamp()) * 1_000_000 + value.microsecond
        case UUID() | str():
            return str(value)
        case _:
            return value
