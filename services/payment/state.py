"""What the payment service knows: values only."""

from dataclasses import dataclass
from datetime import datetime
from enum import StrEnum
from typing import Final

from schemas.decision import Decision


class Status(StrEnum):
    """The states of a payment.

    authorization_delayed: waits for the provider and never reached it, so nothing can be held. authorization_unknown:
    asked, without an answer. authorization_abandoned: the same, and no longer tried. capture_failed: without an answer,
    will be tried again; capture_refused: the bank said no; capture_abandoned: without an answer, no longer tried.
    closed: holds nothing, as the checkout failed before any money was held.
    """

    RESERVED_FIRST = "reserved_first"
    EXPECTED = "expected"
    AUTHORIZING = "authorizing"
    AUTHORIZATION_DELAYED = "authorization_delayed"
    AUTHORIZATION_UNKNOWN = "authorization_unknown"
    AUTHORIZATION_ABANDONED = "authorization_abandoned"
    AUTHORIZED = "authorized"
    DECLINED = "declined"
    CAPTURE_PENDING = "capture_pending"
    CAPTURE_FAILED = "capture_failed"
    CAPTURE_REFUSED = "capture_refused"
    CAPTURE_ABANDONED = "capture_abandoned"
    CAPTURED = "captured"
    VOIDING = "voiding"
    VOIDED = "voided"
    REFUNDING = "refunding"
    REFUNDED = "refunded"
    CLOSED = "closed"


NOTHING_HELD: Final = (Status.RESERVED_FIRST, Status.EXPECTED, Status.AUTHORIZATION_DELAYED, Status.DECLINED)
MAYBE_HELD: Final = (Status.AUTHORIZING, Status.AUTHORIZATION_UNKNOWN, Status.AUTHORIZATION_ABANDONED)
LET_GO: Final = (Status.VOIDED, Status.REFUNDED, Status.CLOSED)


@dataclass(frozen=True, slots=True, kw_only=True)
class Payment:
    """All that the service knows of one checkout's payment. Amounts in the currency's minor unit.

    expires_at: the checkout's deadline; nothing is authorized after it. code: why it was declined or is delayed.
    """

    checkout_id: str
    status: Status
    customer_id: str = ""
    payment_method_id: str = ""
    token: str = ""
    currency: str = ""
    amount_minor: int = 0
    payment_id: str | None = None
    capture_before: datetime | None = None
    expires_at: datetime | None = None
    code: str | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class PaymentMethod:
    """A stored payment method: whose it is, and the provider's token for it."""

    payment_method_id: str
    customer_id: str
    token: str


@dataclass(frozen=True, slots=True, kw_only=True)
class Wallet:
    """What a decision sees: this checkout's payment, and the payment method that the event names."""

    payment: Payment | None
    method: PaymentMethod | None = None


Outcome = Decision[Payment | None]
