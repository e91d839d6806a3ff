"""The adapters under test, and how a test uses one: on an event loop of its own, closed at the end."""

import asyncio
from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from typing import TypeVar

from services.payment.provider.protocol import (
    Answer,
    Authorize,
    Call,
    Capture,
    OutcomeUnknownError,
    PaymentProvider,
    Refund,
    Void,
)
from services.payment.provider.sandbox import SandboxProvider
from services.payment.provider.stripe import StripeProvider
from tests.providers.stripe_mock import KEY
from tests.sandbox.driving import fresh

T = TypeVar("T")
TIMEOUT_S = 10.0
AMOUNT_MINOR = 2500


@dataclass(frozen=True)
class Adapter:
    """make: an adapter for the provider at a URL, with a time-out in seconds. token: one that it can read."""

    name: str
    make: Callable[[str, float], PaymentProvider]
    token: str


SANDBOX = Adapter("sandbox", lambda url, timeout_s: SandboxProvider(url, timeout_s, 10), "tok_ok")
STRIPE = Adapter("stripe", lambda url, timeout_s: StripeProvider(KEY, timeout_s, 10, api_base=url), "cus_1:pm_1")


def authorize(token: str, checkout_id: str = "", amount_minor: int = AMOUNT_MINOR) -> Authorize:
    """An authorization of customer-1."""
    return Authorize(
        checkout_id=checkout_id or fresh("checkout"),
        amount_minor=amount_minor,
        currency="EUR",
        token=token,
        customer_id="customer-1",
    )


def on_payment(kind: type[Call], checkout_id: str, payment_id: str) -> Capture | Void | Refund:
    """A capture, void or refund of the whole amount."""
    if kind is Void:
        return Void(checkout_id=checkout_id, payment_id=payment_id)
    made = Capture if kind is Capture else Refund
    return made(checkout_id=checkout_id, payment_id=payment_id, amount_minor=AMOUNT_MINOR)


async def using(provider: PaymentProvider, use: Callable[[PaymentProvider], Awaitable[T]]) -> T:
    """What `use` makes of the provider, which is closed then."""
    try:
        return await use(provider)
    finally:
        await provider.close()


def ask(adapter: Adapter, url: str, use: Callable[[PaymentProvider], Awaitable[T]], timeout_s: float = TIMEOUT_S) -> T:
    """What `use` makes of an adapter for the provider at `url`."""
    return asyncio.run(using(adapter.make(url, timeout_s), use))


async def outcome(asked: Awaitable[Answer | None]) -> Answer | OutcomeUnknownError | None:
    """The answer, or the exception that says that there is none."""
    try:
        return await asked
    except OutcomeUnknownError as error:
        return error
