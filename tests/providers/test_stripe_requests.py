"""Every request that we make of Stripe, held against its published API by stripe-mock."""

import asyncio
from collections.abc import Awaitable, Callable
from typing import Any

import pytest
import stripe
from pydantic import SecretStr

from services.payment.provider.protocol import Authorize, Capture, OutcomeUnknownError, Refund
from services.payment.provider.stripe_api import StripeApi
from tests.providers.broken_servers import fixed_url, http
from tests.providers.stripe_mock import KEY

AUTHORIZE = Authorize(checkout_id="c-1", amount_minor=2500, currency="EUR", token="cus_1:pm_1", customer_id="x")
CAPTURE = Capture(checkout_id="c-1", payment_id="pi_1", amount_minor=2500)
REFUND = Refund(checkout_id="c-1", payment_id="pi_1", amount_minor=2500)


def asked(url: str, use: Callable[[StripeApi], Awaitable[Any]]) -> Any:
    async def run() -> Any:
        api = StripeApi(SecretStr(KEY), url, 10.0, 10)
        try:
            return await use(api)
        finally:
            await api.close()

    return asyncio.run(run())


def test_an_authorization_holds_money_on_one_card_and_takes_none(stripe_url: str) -> None:
    intent = asked(stripe_url, lambda api: api.create(AUTHORIZE, "cus_1", "pm_1"))
    assert (intent["amount"], intent["currency"], intent["capture_method"]) == (2500, "eur", "manual")
    assert (intent["customer"], intent["payment_method"]) == ("cus_1", "pm_1")
    assert isinstance(intent["latest_charge"], dict), "it tells until when the money is held"


def test_amounts_without_decimals_go_through_as_they_are(stripe_url: str) -> None:
    yen = Authorize(checkout_id="c-1", amount_minor=500, currency="JPY", token="", customer_id="x")
    intent = asked(stripe_url, lambda api: api.create(yen, "cus_1", "pm_1"))
    assert (intent["amount"], intent["currency"]) == (500, "jpy")


@pytest.mark.parametrize(
    "use",
    [
        lambda api: api.capture(CAPTURE),
        lambda api: api.cancel("pi_1", "checkout:c-1:void"),
        lambda api: api.intent("pi_1"),
    ],
    ids=["capture", "cancel", "retrieve"],
)
def test_a_payment_is_asked_for_by_its_id(stripe_url: str, use: Callable[[StripeApi], Awaitable[Any]]) -> None:
    intent = asked(stripe_url, use)
    assert (intent["object"], intent["id"]) == ("payment_intent", "pi_1")


def test_a_refund_names_payment_and_amount(stripe_url: str) -> None:
    refund = asked(stripe_url, lambda api: api.refund(REFUND))
    assert (refund["object"], refund["payment_intent"], refund["amount"]) == ("refund", "pi_1", 2500)


def test_a_payment_method_tells_whose_it_is(stripe_url: str) -> None:
    method = asked(stripe_url, lambda api: api.method("pm_1"))
    assert method["id"] == "pm_1"
    assert "customer" in method


def test_a_customers_payments_come_with_their_charges(stripe_url: str) -> None:
    async def use(api: StripeApi) -> list[Any]:
        return [intent async for intent in api.intents("cus_1")]

    (intent,) = asked(stripe_url, use)
    assert isinstance(intent["latest_charge"], dict)
    assert "metadata" in intent


def test_the_mock_would_refuse_what_the_api_does_not_know(stripe_url: str) -> None:
    """The other tests mean something only if this holds."""

    async def use(api: StripeApi) -> None:
        wrong: Any = {"amount": 2500, "currency": "eur", "payment_method_of": "nobody"}
        await api._v1().payment_intents.create_async(wrong)

    with pytest.raises(stripe.InvalidRequestError):
        asked(stripe_url, use)


ENDLESS = http(200, b'{"object": "list", "url": "/v1/x", "has_more": true, "data": [{"id": "pi_1", "object": "x"}]}')


def test_a_customer_with_very_many_payments_is_not_looked_through_for_ever() -> None:
    heard: list[bytes] = []

    async def use() -> None:
        async with fixed_url(ENDLESS, heard) as url:
            api = StripeApi(SecretStr(KEY), url, 10.0, 10)
            try:
                assert [intent["id"] async for intent in api.intents("cus_1")]
            finally:
                await api.close()

    with pytest.raises(OutcomeUnknownError, match="more than 1000 payments"):
        asyncio.run(use())
    assert len(heard) == 10
    assert b"starting_after=pi_1" in heard[1]


def test_an_authorization_goes_out_under_its_key_and_is_not_repeated_by_the_library() -> None:
    heard: list[bytes] = []

    async def use() -> None:
        async with fixed_url(http(500, b'{"error": {"type": "api_error"}}'), heard) as url:
            api = StripeApi(SecretStr(KEY), url, 10.0, 10)
            try:
                await api.create(AUTHORIZE, "cus_1", "pm_1")
            finally:
                await api.close()

    with pytest.raises(stripe.APIError):
        asyncio.run(use())
    (head,) = heard
    assert b"idempotency-key: checkout:c-1:auth" in head.lower()
    assert b"telemetry" not in head.lower()
