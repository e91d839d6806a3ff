"""What the checkout service knows: values only."""

from dataclasses import dataclass
from datetime import datetime
from enum import StrEnum
from typing import ClassVar, Final
from uuid import UUID

from schemas.decision import Decision
from schemas.events import Event


class Status(StrEnum):
    """The states of a checkout. `compensated` and `captured` are the last ones, `failed` where nobody was asked.

    capture_failed: the capture got no answer and is tried again, or was refused on the way to failed.
    """

    CANCELLED_FIRST = "cancelled_first"
    ACCEPTED = "accepted"
    AUTHORIZED = "authorized"
    CAPTURE_PENDING = "capture_pending"
    CAPTURE_FAILED = "capture_failed"
    CAPTURED = "captured"
    FAILED = "failed"
    COMPENSATED = "compensated"


OPEN: Final = (Status.ACCEPTED, Status.AUTHORIZED, Status.CAPTURE_PENDING, Status.CAPTURE_FAILED)
BEFORE_CAPTURE: Final = (Status.AUTHORIZED, Status.CAPTURE_PENDING, Status.CAPTURE_FAILED)


@dataclass(frozen=True, slots=True, kw_only=True)
class Checkout:
    """All that the service knows of one checkout. Amounts in the currency's minor unit.

    created_at: when it was first heard of. delay: why the payment waits for its provider; None while it doesn't.
    payment_id: the provider's id of the payment that was authorized for it, as far as payment has named one in time.
    """

    checkout_id: str
    status: Status
    created_at: datetime
    fingerprint: str = ""
    customer_id: str = ""
    currency: str = ""
    total_minor: int = 0
    expires_at: datetime | None = None
    accepted: bool = False
    order_id: UUID | None = None
    payment_id: str | None = None
    code: str | None = None
    detail: str = ""
    delay: str | None = None
    stock_let_go: bool = False
    money_let_go: bool = False


@dataclass(frozen=True, slots=True, kw_only=True)
class DeadlinePassed(Event):
    """The service's own timer: the deadline of this checkout has passed."""

    TYPE: ClassVar[str] = "timer.deadline_passed"


Outcome = Decision[Checkout | None]
