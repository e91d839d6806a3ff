"""What the payment service asks of a provider and what it can hear, as values.

Amounts are integers in the currency's minor unit. The idempotency key belongs to the checkout and the operation,
so a repeated call is the same call, whoever repeats it.
"""

from dataclasses import dataclass
from datetime import datetime
from enum import StrEnum
from typing import ClassVar, Protocol

from schemas.decision import NotAsked, Unknown


@dataclass(frozen=True, slots=True, kw_only=True)
class Authorize:
    """Hold `amount_minor` on the payment method behind `token`."""

    operation: ClassVar[str] = "authorize"
    checkout_id: str
    amount_minor: int
    currency: str
    token: str
    customer_id: str

    @property
    def key(self) -> str:
        """The idempotency key."""
        return f"checkout:{self.checkout_id}:auth"


@dataclass(frozen=True, slots=True, kw_only=True)
class Capture:
    """Take the held amount."""

    operation: ClassVar[str] = "capture"
    checkout_id: str
    payment_id: str
    amount_minor: int

    @property
    def key(self) -> str:
        """The idempotency key."""
        return f"checkout:{self.checkout_id}:capture"


@dataclass(frozen=True, slots=True, kw_only=True)
class Void:
    """Let go of the held amount."""

    operation: ClassVar[str] = "void"
    checkout_id: str
    payment_id: str

    @property
    def key(self) -> str:
        """The idempotency key."""
        return f"checkout:{self.checkout_id}:void"


@dataclass(frozen=True, slots=True, kw_only=True)
class Refund:
    """Give back the captured amount."""

    operation: ClassVar[str] = "refund"
    checkout_id: str
    payment_id: str
    amount_minor: int

    @property
    def key(self) -> str:
        """The idempotency key."""
        return f"checkout:{self.checkout_id}:refund"


Call = Authorize | Capture | Void | Refund


@dataclass(frozen=True, slots=True, kw_only=True)
class Authorized:
    """The amount is held; the provider lets go of it at `capture_before`."""

    payment_id: str
    capture_before: datetime


@dataclass(frozen=True, slots=True, kw_only=True)
class Declined:
    """No money is held. `code` is ours, `provider_code` the provider's own word."""

    code: str
    provider_code: str


@dataclass(frozen=True, slots=True, kw_only=True)
class Captured:
    """The amount was taken."""

    amount_minor: int


@dataclass(frozen=True, slots=True)
class Voided:
    """The amount is no longer held."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Refunded:
    """The amount was given back."""

    amount_minor: int


class Refusal(StrEnum):
    """Why a provider will never do what it was asked, as far as a decision differs by it."""

    BY_BANK = "by_bank"
    VOIDED_ALREADY = "voided_already"
    CAPTURED_ALREADY = "captured_already"
    REFUNDED_ALREADY = "refunded_already"
    EXPIRED = "expired"
    OTHER = "other"


@dataclass(frozen=True, slots=True, kw_only=True)
class Refused:
    """A definite no to a capture, void or refund."""

    refusal: Refusal
    provider_code: str


Answer = Authorized | Declined | Captured | Voided | Refunded | Refused


Told = Answer | NotAsked | Unknown
"""What a decision about a provider call is told."""


class OutcomeUnknownError(Exception):
    """No answer, or none that says what happened: the effect may or may not have taken place.

    What happened has to be asked by the call's key; the same call with the same key is safe to repeat.
    timed_out: nobody answered in time. throttled: the provider asks to be called less (429).
    """

    def __init__(self, what: str, *, timed_out: bool = False, throttled: bool = False) -> None:
        super().__init__(what)
        self.timed_out = timed_out
        self.throttled = throttled


class PaymentProvider(Protocol):
    """A payment provider."""

    async def perform(self, call: Call) -> Answer:
        """Do `call`; safe to repeat.

        Raises OutcomeUnknownError after a time-out, a lost connection, 409, 429 or 5xx.
        """

    async def find(self, call: Call) -> Answer | None:
        """What became of `call`, by its idempotency key, else by the state of its payment; it has no effect.

        None: the provider has never executed it (it may still be on its way). Raises OutcomeUnknownError where the
        provider does not answer, or is still executing it.
        """

    async def close(self) -> None:
        """Give connections back."""
