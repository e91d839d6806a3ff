"""The typed events. Each class is one topic and one `.avsc`; a test keeps the two equal.

An event holds what its publisher decided. Identity and time (`event_id`, `occurred_at`) belong to
the envelope and are given by the shell that writes the event, so decisions stay pure.

Amounts are integers in the currency's minor unit, instants are aware datetimes in UTC.
"""

from dataclasses import dataclass, fields
from datetime import datetime
from operator import attrgetter, itemgetter
from typing import Any, ClassVar
from uuid import UUID


@dataclass(frozen=True, slots=True, kw_only=True)
class Line:
    """One line of the basket: `quantity` units of `sku` at `unit_price_minor` each."""

    sku: str
    quantity: int
    unit_price_minor: int


@dataclass(frozen=True, slots=True, kw_only=True)
class ReleasedLine:
    """Units of one product that went back on the shelf."""

    sku: str
    quantity: int


@dataclass(frozen=True, slots=True, kw_only=True)
class Event:
    """What every event has. `TYPE` is the topic's name and the Avro record's full name."""

    TYPE: ClassVar[str]
    checkout_id: str


@dataclass(frozen=True, slots=True, kw_only=True)
class CheckoutRequested(Event):
    """A shop asks for a checkout."""

    TYPE: ClassVar[str] = "checkout.requested"
    customer_id: str
    payment_method_id: str
    currency: str
    total_minor: int
    lines: tuple[Line, ...]
    expires_at: datetime | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class CheckoutCancelRequested(Event):
    """The customer no longer wants it."""

    TYPE: ClassVar[str] = "checkout.cancel_requested"
    reason: str = ""


@dataclass(frozen=True, slots=True, kw_only=True)
class CheckoutAccepted(Event):
    """The request is sound: reserve stock, prepare the payment."""

    TYPE: ClassVar[str] = "checkout.accepted"
    customer_id: str
    payment_method_id: str
    currency: str
    total_minor: int
    lines: tuple[Line, ...]
    expires_at: datetime


@dataclass(frozen=True, slots=True, kw_only=True)
class CheckoutConfirmed(Event):
    """The money is authorized and the order exists."""

    TYPE: ClassVar[str] = "checkout.confirmed"
    order_id: UUID


@dataclass(frozen=True, slots=True, kw_only=True)
class CheckoutCompleted(Event):
    """An end: the order is paid."""

    TYPE: ClassVar[str] = "checkout.completed"
    order_id: UUID
    customer_id: str
    currency: str
    total_minor: int


@dataclass(frozen=True, slots=True, kw_only=True)
class CheckoutFailed(Event):
    """An end: no order. Whoever holds something for this checkout lets go of it."""

    TYPE: ClassVar[str] = "checkout.failed"
    customer_id: str
    code: str
    message: str
    detail: str
    accepted: bool
    error_class: str = ""
    retryable: bool = False


@dataclass(frozen=True, slots=True, kw_only=True)
class WarehouseReserved(Event):
    """Every line is set aside until `expires_at`."""

    TYPE: ClassVar[str] = "warehouse.reserved"
    expires_at: datetime


@dataclass(frozen=True, slots=True, kw_only=True)
class WarehouseRejected(Event):
    """Nothing was set aside."""

    TYPE: ClassVar[str] = "warehouse.rejected"
    code: str
    sku: str | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class WarehouseConfirmed(Event):
    """The reservation is a commitment."""

    TYPE: ClassVar[str] = "warehouse.confirmed"


@dataclass(frozen=True, slots=True, kw_only=True)
class WarehouseConfirmFailed(Event):
    """The reservation can't become a commitment."""

    TYPE: ClassVar[str] = "warehouse.confirm_failed"
    code: str
    sku: str | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class WarehouseReleased(Event):
    """Stock went back, or there was none to give back (`outcome`: lapsed, released, nothing)."""

    TYPE: ClassVar[str] = "warehouse.released"
    outcome: str
    lines: tuple[ReleasedLine, ...] = ()


@dataclass(frozen=True, slots=True, kw_only=True)
class PaymentAuthorized(Event):
    """The amount is held at the provider until `capture_before`."""

    TYPE: ClassVar[str] = "payment.authorized"
    payment_id: str
    amount_minor: int
    currency: str
    capture_before: datetime


@dataclass(frozen=True, slots=True, kw_only=True)
class PaymentDeclined(Event):
    """No money is held and none will be."""

    TYPE: ClassVar[str] = "payment.declined"
    code: str
    provider_code: str | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class PaymentCaptured(Event):
    """The money is the shop's."""

    TYPE: ClassVar[str] = "payment.captured"
    payment_id: str
    amount_minor: int
    currency: str


@dataclass(frozen=True, slots=True, kw_only=True)
class PaymentCaptureFailed(Event):
    """The provider refused the capture for good."""

    TYPE: ClassVar[str] = "payment.capture_failed"
    code: str
    provider_code: str | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class PaymentDelayed(Event):
    """Not an end: `operation` (authorize, capture) waits for the provider and will be tried again."""

    TYPE: ClassVar[str] = "payment.delayed"
    operation: str
    code: str
    message: str
    attempts: int


@dataclass(frozen=True, slots=True, kw_only=True)
class PaymentVoided(Event):
    """The answer to checkout.failed: no money is held (`outcome`: voided, nothing)."""

    TYPE: ClassVar[str] = "payment.voided"
    outcome: str
    payment_id: str | None = None
    amount_minor: int


@dataclass(frozen=True, slots=True, kw_only=True)
class PaymentRefunded(Event):
    """The answer to checkout.failed where the money was captured already."""

    TYPE: ClassVar[str] = "payment.refunded"
    payment_id: str
    amount_minor: int
    currency: str


EVENTS: dict[str, type[Event]] = {
    event.TYPE: event
    for event in (
        CheckoutRequested,
        CheckoutCancelRequested,
        CheckoutAccepted,
        CheckoutConfirmed,
        CheckoutCompleted,
        CheckoutFailed,
        WarehouseReserved,
        WarehouseRejected,
        WarehouseConfirmed,
        WarehouseConfirmFailed,
        WarehouseReleased,
        PaymentAuthorized,
        PaymentDeclined,
        PaymentCaptured,
        PaymentCaptureFailed,
        PaymentDelayed,
        PaymentVoided,
        PaymentRefunded,
    )
}

_FIELDS = {name: tuple(f.name for f in fields(event)) for name, event in EVENTS.items()}
_VALUES = {name: attrgetter(*names) for name, names in _FIELDS.items()}
_PICKS = {name: itemgetter(*names) for name, names in _FIELDS.items()}
_LINES: dict[str, type[Line] | type[ReleasedLine]] = {
    CheckoutRequested.TYPE: Line,
    CheckoutAccepted.TYPE: Line,
    WarehouseReleased.TYPE: ReleasedLine,
}
_LINE_FIELDS = {line: tuple(f.name for f in fields(line)) for line in (Line, ReleasedLine)}
_LINE_VALUES = {line: attrgetter(*names) for line, names in _LINE_FIELDS.items()}


def to_record(event: Event) -> dict[str, Any]:
    """The event as the dict that Avro writes, without the envelope's fields."""
    names, values = _FIELDS[event.TYPE], _VALUES[event.TYPE](event)
    record: dict[str, Any] = dict(zip(names, values, strict=True)) if len(names) > 1 else {names[0]: values}
    line = _LINES.get(event.TYPE)
    if line is not None:
        names, pick = _LINE_FIELDS[line], _LINE_VALUES[line]
        record["lines"] = [dict(zip(names, pick(x), strict=True)) for x in record["lines"]]
    return record


def from_record(event_type: str, record: dict[str, Any]) -> Event:
    """The event that `to_record` wrote; fields of a newer schema that this code doesn't know are dropped."""
    names, values = _FIELDS[event_type], _PICKS[event_type](record)
    fields_of = dict(zip(names, values, strict=True)) if len(names) > 1 else {names[0]: values}
    line = _LINES.get(event_type)
    if line is not None:
        fields_of["lines"] = tuple([line(**x) for x in fields_of["lines"]])
    return EVENTS[event_type](**fields_of)


_INT32 = 2**31


def check_ranges(event: Event) -> None:
    """Avro's int travels like its long: a number beyond 32 bits fits no column. Raises ValueError."""
    lines = getattr(event, "lines", ())
    numbers = [line.quantity for line in lines] if lines else []
    if isinstance(event, PaymentDelayed):
        numbers.append(event.attempts)
    for number in numbers:
        if not -_INT32 <= number < _INT32:
            raise ValueError(f"{number} does not fit 32 bits")
