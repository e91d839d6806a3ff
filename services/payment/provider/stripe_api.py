"""The requests that we make of Stripe, through its own library; every answer as plain data.

Amounts go through as they are: Stripe's, like ours, are in the currency's minor unit, also where that is the whole
one (https://docs.stripe.com/currencies#zero-decimal). Every request raises stripe.StripeError; a body that breaks off
raises aiohttp.ClientError or TimeoutError, which the library lets pass.
"""

import ssl
from collections.abc import AsyncIterator, Mapping
from typing import Any, Final

import aiohttp
import stripe
from pydantic import SecretStr

from services.payment.provider.protocol import Authorize, Capture, OutcomeUnknownError, Refund
from services.payment.provider.reading import PLAIN, read_bounded

PAGE: Final = 100
PAGES: Final = 10
"""A customer's payments are looked through so far back: 1,000 of them."""

Body = dict[str, Any]


class _BoundedClient(stripe.AIOHTTPClient):
    """The library's HTTP client, which would read an answer of any length. It does not close its session."""

    def __init__(self, session: aiohttp.ClientSession, timeout: aiohttp.ClientTimeout) -> None:
        super().__init__(timeout=timeout, session=session)
        self._requests = session
        self._limit = timeout

    async def request_async(
        self, method: str, url: str, headers: Mapping[str, str], post_data: Any = None
    ) -> tuple[bytes, int, Mapping[str, str]]:
        """Body, status and headers. Raises ValueError for a body that is too long."""
        asked = self._requests.request(
            method, url, headers=headers, data=post_data, timeout=self._limit, allow_redirects=False
        )
        try:
            response = await asked
        # the library tells a connection that failed from an answer by this class
        except (TimeoutError, aiohttp.ClientError) as error:
            text = f"no answer: {type(error).__name__}"
            raise stripe.APIConnectionError(text) from error  # type: ignore[no-untyped-call]
        async with response:
            return await read_bounded(response.content), response.status, response.headers


class StripeApi:
    """One account at Stripe.

    key: the secret API key, asked for with every request. base: its URL. timeout_s: one request's limit, connecting
    included. connections: kept open, at most.
    """

    def __init__(self, key: SecretStr, base: str, timeout_s: float, connections: int) -> None:
        self._key = key
        self._base = base.rstrip("/")
        self._timeout = aiohttp.ClientTimeout(total=timeout_s)
        self._connections = connections
        self._session: aiohttp.ClientSession | None = None
        self._made: tuple[str, stripe.V1Services] | None = None

    async def create(self, call: Authorize, customer: str, method: str) -> Body:
        """Make and confirm a PaymentIntent that holds the amount on `method`, one of `customer`'s."""
        intent = await self._v1().payment_intents.create_async(
            {
                "amount": call.amount_minor,
                "currency": call.currency.lower(),
                "customer": customer,
                "payment_method": method,
                # cards alone: other methods would send the customer to a page of theirs
                "allowed_payment_method_types": ["card"],
                "capture_method": "manual",
                "confirm": True,
                # nobody sits before a screen when this runs: what needs the customer is to be declined at once
                "off_session": True,
                # by this a payment whose answer was lost is found again
                "metadata": {"checkout_id": call.checkout_id},
                "expand": ["latest_charge"],
            },
            {"idempotency_key": call.key},
        )
        return intent.to_dict()

    async def capture(self, call: Capture) -> Body:
        """Take the amount; what is left of the hold falls away."""
        intent = await self._v1().payment_intents.capture_async(
            call.payment_id, {"amount_to_capture": call.amount_minor}, {"idempotency_key": call.key}
        )
        return intent.to_dict()

    async def cancel(self, payment_id: str, key: str) -> Body:
        """Let go of what a PaymentIntent holds; nothing can be done with it afterwards."""
        intent = await self._v1().payment_intents.cancel_async(
            payment_id, {"cancellation_reason": "abandoned"}, {"idempotency_key": key}
        )
        return intent.to_dict()

    async def refund(self, call: Refund) -> Body:
        """Give back captured money."""
        refund = await self._v1().refunds.create_async(
            {
                "payment_intent": call.payment_id,
                "amount": call.amount_minor,
                "metadata": {"checkout_id": call.checkout_id},
            },
            {"idempotency_key": call.key},
        )
        return refund.to_dict()

    async def method(self, method: str) -> Body:
        """A stored payment method."""
        return (await self._v1().payment_methods.retrieve_async(method)).to_dict()

    async def intent(self, payment_id: str) -> Body:
        """A PaymentIntent as it stands now, with its latest charge."""
        intent = await self._v1().payment_intents.retrieve_async(payment_id, {"expand": ["latest_charge"]})
        return intent.to_dict()

    async def intents(self, customer: str) -> AsyncIterator[Body]:
        """A customer's PaymentIntents, newest first. A list shows a payment at once; the search index is up to a
        minute late. Raises OutcomeUnknownError when there are more than PAGES pages: what is not found proves nothing.
        """
        after: dict[str, str] = {}
        for _ in range(PAGES):
            page = await self._page(customer, after)
            for intent in page["data"]:
                yield intent
            if not page["has_more"]:
                return
            after = {"starting_after": page["data"][-1]["id"]}
        raise OutcomeUnknownError(f"the customer has more than {PAGE * PAGES} payments: not all were looked at")

    async def close(self) -> None:
        """Give connections back."""
        if self._session is not None:
            await self._session.close()

    async def _page(self, customer: str, after: dict[str, str]) -> Body:
        asked: Any = {"customer": customer, "limit": PAGE, "expand": ["data.latest_charge"], **after}
        return (await self._v1().payment_intents.list_async(asked)).to_dict()

    def _v1(self) -> stripe.V1Services:
        """The library's client, with the key that is valid now."""
        key = self._key.get_secret_value()
        if self._made is None or self._made[0] != key:
            client = stripe.StripeClient(
                key,
                base_addresses={"api": self._base},
                http_client=_BoundedClient(self._http(), self._timeout),
                # who repeats a call, and when, is decided in one place: not here
                max_network_retries=0,
            )
            self._made = key, client.v1
        return self._made[1]

    def _http(self) -> aiohttp.ClientSession:
        """The connections, made on the event loop that uses them."""
        if self._session is None:
            # else the library keeps an identifier of this machine in the home directory and sends it along
            stripe.enable_telemetry = False
            certificates = ssl.create_default_context(cafile=stripe.ca_bundle_path)
            connector = aiohttp.TCPConnector(limit=self._connections, ssl=certificates)
            self._session = aiohttp.ClientSession(connector=connector, headers=PLAIN, auto_decompress=False)
        return self._session
