"""Stripe, through PaymentIntents: confirmed at once without the customer, captured by hand.

A token in `payment_methods.token` is `cus_...:pm_...`: Stripe's customer and their payment method. Our customer and
Stripe's are tied by that row, written when the customer stored the method. The row says whose method it was; Stripe is
asked before every authorization whose it is now, and refuses nothing by itself that was detached since.

Keys are Stripe's idempotency keys, kept for a day at least. Stripe has no way to look one up: what became of a call is
read from the payment's own state, and a payment whose id nobody heard is found by its checkout among its customer's.

An unusable API key (401, 403) is an unknown outcome, not a decline: that request did nothing, but an earlier one with
the same key may hold money, and "nothing is held" must not be said. So nothing is decided, nothing is lost, the log
says it at level error, calls pile up visibly as those of a provider that is away, and go on when the key is mended.

An authorization's time is Stripe's own `capture_before`; only where it is missing seven days are assumed, and logged.
"""

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Final

import aiohttp
import stripe
import structlog
from pydantic import SecretStr

from schemas.failures import Code
from schemas.secret import secret
from services.payment.provider.declines import OnUnmapped, bounded, declined, nobody
from services.payment.provider.protocol import (
    Answer,
    Authorize,
    Authorized,
    Call,
    Capture,
    Captured,
    Declined,
    OutcomeUnknownError,
    Refund,
    Void,
    Voided,
)
from services.payment.provider.reading import Body, payment_id_of, readable, text_of
from services.payment.provider.stripe_answers import (
    authorization,
    is_of,
    read_token,
    refunded,
    refusal,
    state,
    stated_capture_before,
    unknown,
)
from services.payment.provider.stripe_api import StripeApi

API_BASE: Final = "https://api.stripe.com"
_MISSING: Final = 404

log = structlog.get_logger("payment.stripe")


class StripeProvider:
    """Calls Stripe.

    api_key: one that has changed in its file is the next request's. timeout_s: one request's limit, connecting
    included; an authorization makes up to three. connections: kept open, at most. on_unmapped: hears of reasons to
    decline that our table of codes lacks.
    """

    def __init__(
        self,
        api_key: SecretStr | str,
        timeout_s: float,
        connections: int,
        *,
        api_base: str = API_BASE,
        on_unmapped: OnUnmapped = nobody,
    ) -> None:
        self._api = StripeApi(secret(api_key), api_base, timeout_s, connections)
        self._on_unmapped = on_unmapped

    async def perform(self, call: Call) -> Answer:
        """Do `call`; safe to repeat. Raises OutcomeUnknownError: `find` tells then what became of it."""
        with readable(call):
            try:
                async with _answered(call):
                    return await self._do(call)
            except stripe.StripeError as error:
                return self._no(call, error)

    async def find(self, call: Call) -> Answer | None:
        """What became of `call`, by the state of its payment; it has no effect.

        None: never executed, or not to its end; the same call again ends it. Raises OutcomeUnknownError where Stripe
        does not answer or is still at it.
        """
        with readable(call):
            try:
                async with _answered(call):
                    if isinstance(call, Authorize):
                        return await self._find_authorization(call)
                    return state(call, await self._api.intent(call.payment_id))
            except stripe.InvalidRequestError as error:
                return self._no(call, error)
            except stripe.StripeError as error:
                _report(error)
                raise unknown(call, error) from error

    async def close(self) -> None:
        """Give connections back."""
        await self._api.close()

    async def _do(self, call: Call) -> Answer:
        match call:
            case Authorize():
                return await self._authorize(call)
            case Capture():
                return _only(call, Captured, await self._api.capture(call))
            case Void():
                return _only(call, Voided, await self._api.cancel(call.payment_id, call.key))
            case Refund():
                return refunded(await self._api.refund(call))

    async def _authorize(self, call: Authorize) -> Answer:
        stored = read_token(call.token)
        if stored is None:
            return Declined(code=Code.PAYMENT_METHOD_UNKNOWN, provider_code="no_such_token")
        customer, method = stored
        no = await self._not_theirs(customer, method)
        if no is not None:
            # it may have been theirs when this very call was made before, and hold money since
            return await self._find_authorization(call) or no
        intent = await self._api.create(call, customer, method)
        if intent["status"] == "requires_action":
            return await self._abandon(call, intent)
        return self._authorization(call, intent) or _unsettled(call, intent)

    async def _not_theirs(self, customer: str, method: str) -> Declined | None:
        """Why this payment method can't be charged for this customer of Stripe's; None when it can."""
        try:
            found = await self._api.method(method)
        except stripe.InvalidRequestError as error:
            if error.http_status != _MISSING:
                raise
            return Declined(code=Code.PAYMENT_METHOD_UNKNOWN, provider_code="resource_missing")
        if found["customer"] != customer:
            return Declined(code=Code.PAYMENT_METHOD_NOT_OWNED, provider_code="customer_mismatch")
        return None

    async def _abandon(self, call: Authorize, intent: Body) -> Answer:
        """The bank wants the customer, who is not there: cancelled, so that it can't be approved behind our back."""
        try:
            left = await self._api.cancel(payment_id_of(intent, "id"), f"{call.key}:cancel")
        except stripe.StripeError as error:
            # no answer to the cancellation is one to the authorization
            raise unknown(call, error) from error
        return (
            declined("requires_action", self._on_unmapped) if left["status"] == "canceled" else _unsettled(call, left)
        )

    async def _find_authorization(self, call: Authorize) -> Answer | None:
        """The checkout's payment that was authorized, else the one that was declined, else None."""
        stored = read_token(call.token)
        found: Answer | None = None
        if stored is None:
            return found
        async for intent in self._api.intents(stored[0]):
            if is_of(intent, call.checkout_id):
                answer = self._authorization(call, intent)
                if isinstance(answer, Authorized):
                    return answer
                found = found or answer
        return found

    def _authorization(self, call: Authorize, intent: Body) -> Answer | None:
        answer = authorization(call, intent, self._on_unmapped)
        if isinstance(answer, Authorized) and stated_capture_before(intent) is None:
            log.warning("stripe does not say until when it holds the money", key=call.key, assumed="7 days")
        return answer

    def _no(self, call: Call, error: stripe.StripeError) -> Answer:
        _report(error)
        return refusal(call, error, self._on_unmapped)


def _only(call: Capture | Void, wanted: type[Captured | Voided], intent: Body) -> Answer:
    """The effect that a PaymentIntent shows after the call that was to have it. Raises OutcomeUnknownError."""
    answer = state(call, intent)
    return answer if isinstance(answer, wanted) else _unsettled(call, intent)


def _unsettled(call: Call, intent: Body) -> Answer:
    status = bounded(text_of(intent, "status"))
    raise OutcomeUnknownError(f"{call.key}: stripe took the call, and {payment_id_of(intent, 'id')} is {status}")


def _report(error: stripe.StripeError) -> None:
    """Our own faults are loud: a key that Stripe does not take, a request that it calls invalid."""
    if isinstance(error, stripe.AuthenticationError | stripe.PermissionError):
        log.error("stripe refuses our api key", status=error.http_status, request_id=error.request_id)


@asynccontextmanager
async def _answered(call: Call) -> AsyncIterator[None]:
    """A body that breaks off or comes too late is no answer; the library lets these exceptions pass."""
    try:
        yield
    except (TimeoutError, aiohttp.ClientError) as error:
        raise unknown(call, error) from error
