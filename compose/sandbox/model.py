"""What the ledger knows: payments, commands, journal entries and answers. Values only.

Amounts are integers in the currency's minor unit; instants are microseconds since the epoch, UTC (`*_us`).
"""

from collections.abc import Mapping
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from typing import Any, Literal

Status = Literal["authorized", "declined", "captured", "voided", "refunded", "expired"]
Kind = Literal["authorized", "declined", "captured", "capture_refused", "voided", "refunded", "expired"]
Operation = Literal["authorize", "capture", "void", "refund"]

EPOCH = datetime(1970, 1, 1, tzinfo=UTC)


@dataclass(frozen=True, slots=True)
class Payment:
    """One payment. `amount_minor` is what was asked for; a declined payment holds nothing of it."""

    payment_id: str
    checkout_id: str
    customer: str | None
    payment_method: str
    currency: str
    amount_minor: int
    status: Status
    created_at_us: int
    capture_before_us: int
    captured_minor: int = 0
    refunded_minor: int = 0


@dataclass(frozen=True, slots=True)
class Authorize:
    """Hold `amount_minor` on a payment method."""

    checkout_id: str
    amount_minor: int
    currency: str
    payment_method: str
    customer: str | None


@dataclass(frozen=True, slots=True)
class Capture:
    """Take up to the authorized amount; what is left of the hold falls away."""

    payment_id: str
    amount_minor: int


@dataclass(frozen=True, slots=True)
class Void:
    """Let go of an authorization."""

    payment_id: str


@dataclass(frozen=True, slots=True)
class Refund:
    """Give back captured money, once or in parts."""

    payment_id: str
    amount_minor: int


Command = Authorize | Capture | Void | Refund


def operation_of(command: Command) -> Operation:
    """The command's name as the contract and the fault rules spell it."""
    match command:
        case Authorize():
            return "authorize"
        case Capture():
            return "capture"
        case Void():
            return "void"
        case Refund():
            return "refund"


@dataclass(frozen=True, slots=True)
class Entry:
    """One line of the journal: an effect (or a refusal by the bank) that took place. Never changed or removed.

    `idempotency_key` is None where no request caused it: an authorization that expired.
    """

    at_us: int
    kind: Kind
    payment_id: str
    checkout_id: str
    amount_minor: int
    currency: str
    idempotency_key: str | None


@dataclass(frozen=True, slots=True)
class Answer:
    """An HTTP status and the JSON object that goes with it."""

    status: int
    body: Mapping[str, Any]


def rfc3339(instant_us: int) -> str:
    """Microseconds since the epoch as `2026-11-24T01:51:33.000000Z`."""
    moment = EPOCH + timedelta(microseconds=instant_us)
    return moment.replace(tzinfo=None).isoformat(timespec="microseconds") + "Z"


def view(payment: Payment) -> dict[str, Any]:
    """The payment as every answer shows it."""
    return {
        "payment_id": payment.payment_id,
        "status": payment.status,
        "amount_minor": payment.amount_minor,
        "currency": payment.currency,
        "checkout_id": payment.checkout_id,
        "customer": payment.customer,
        "authorized_minor": 0 if payment.status == "declined" else payment.amount_minor,
        "captured_minor": payment.captured_minor,
        "refunded_minor": payment.refunded_minor,
        "created_at": rfc3339(payment.created_at_us),
        "capture_before": rfc3339(payment.capture_before_us),
    }
