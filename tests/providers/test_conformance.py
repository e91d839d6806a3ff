"""What every provider's adapter holds, on its own provider, on none, and on broken ones."""

import asyncio
from typing import Any, Final

import pytest

from services.payment.provider.protocol import (
    Answer,
    Authorize,
    Authorized,
    Call,
    Capture,
    Captured,
    Declined,
    OutcomeUnknownError,
    PaymentProvider,
    Refund,
    Refunded,
    Void,
    Voided,
)
from tests.providers.broken_servers import dead_url, fixed_url, http, silent_url
from tests.providers.using import AMOUNT_MINOR, SANDBOX, STRIPE, Adapter, ask, authorize, on_payment, outcome, using

KINDS: Final[dict[str, dict[type[Call], type[object]]]] = {
    SANDBOX.name: {Authorize: Authorized, Capture: Captured, Void: Voided, Refund: Refunded},
    # its sample payment methods are nobody's, and its sample payments never change: see `stripe_mock`
    STRIPE.name: {Authorize: Declined, Capture: OutcomeUnknownError, Void: OutcomeUnknownError, Refund: Refunded},
}
"""What a sound call comes to at each adapter's own provider."""

every_call = pytest.mark.parametrize("kind", [Authorize, Capture, Void, Refund])
both_questions = pytest.mark.parametrize("question", ["perform", "find"])


def some_call(adapter: Adapter, kind: type[Call]) -> Call:
    """A call for servers that never get to know what it is about."""
    return authorize(adapter.token) if kind is Authorize else on_payment(kind, "c-1", "pi_1")


def question_of(provider: PaymentProvider, question: str, call: Call) -> Any:
    return getattr(provider, question)(call)


async def prepared(adapter: Adapter, provider: PaymentProvider, kind: type[Call]) -> Call:
    """A call that can be made now: its payment is authorized, or captured for a refund."""
    first = authorize(adapter.token)
    if kind is Authorize:
        return first
    authorized = await provider.perform(first)
    payment_id = authorized.payment_id if isinstance(authorized, Authorized) else "pi_1"
    if kind is Refund:
        await outcome(provider.perform(on_payment(Capture, first.checkout_id, payment_id)))
    return on_payment(kind, first.checkout_id, payment_id)


# on its own provider


@every_call
def test_a_sound_call_is_answered_in_its_own_kind(adapter: Adapter, url: str, kind: type[Call]) -> None:
    async def use(provider: PaymentProvider) -> Any:
        return await outcome(provider.perform(await prepared(adapter, provider, kind)))

    said: Any = ask(adapter, url, use)
    assert type(said) is KINDS[adapter.name][kind], said
    if isinstance(said, OutcomeUnknownError):
        assert "stripe took the call" in str(said)
        assert not said.timed_out
    assert getattr(said, "amount_minor", AMOUNT_MINOR) == AMOUNT_MINOR
    if isinstance(said, Authorized):
        assert said.capture_before.tzinfo is not None


@every_call
def test_the_same_call_again_is_answered_the_same(adapter: Adapter, url: str, kind: type[Call]) -> None:
    async def use(provider: PaymentProvider) -> tuple[Any, Any]:
        call = await prepared(adapter, provider, kind)
        return await outcome(provider.perform(call)), await outcome(provider.perform(call))

    first, second = ask(adapter, url, use)
    assert type(first) is type(second)
    assert isinstance(first, OutcomeUnknownError) or first == second


def test_what_was_never_asked_is_found_nowhere(adapter: Adapter, url: str) -> None:
    async def use(provider: PaymentProvider) -> Answer | None:
        return await provider.find(authorize(adapter.token))

    assert ask(adapter, url, use) is None


# on no provider, and on broken ones


@every_call
@both_questions
def test_a_port_where_nobody_listens_is_an_unknown_outcome(adapter: Adapter, question: str, kind: type[Call]) -> None:
    async def use(provider: PaymentProvider) -> Any:
        return await outcome(question_of(provider, question, some_call(adapter, kind)))

    with dead_url() as url:
        said = ask(adapter, url, use)
    assert isinstance(said, OutcomeUnknownError)
    assert (said.timed_out, said.throttled) == (False, False)
    assert some_call(adapter, kind).key.split(":")[-1] in str(said)


@every_call
@both_questions
def test_a_server_that_never_answers_is_an_unknown_outcome_that_timed_out(
    adapter: Adapter, question: str, kind: type[Call]
) -> None:
    async def use() -> Any:
        async with silent_url() as url:
            call = some_call(adapter, kind)
            return await using(adapter.make(url, 0.2), lambda p: outcome(question_of(p, question, call)))

    said = asyncio.run(use())
    assert isinstance(said, OutcomeUnknownError)
    assert (said.timed_out, said.throttled) == (True, False)


API_ERROR: Final = b'{"error": {"type": "api_error", "message": "no"}}'
BROKEN: Final = {
    "a server error": http(500, API_ERROR),
    "away for now": http(503, API_ERROR),
    "still at it": http(409, API_ERROR),
    "a key that it does not take": http(401, API_ERROR),
    "a key that may not do this": http(403, API_ERROR),
    "a server error in another language": http(502, b"<html>Bad gateway</html>"),
    "an answer that is no json": http(200, b"certainly"),
    "an answer that breaks off": http(200, b'{"id": "pi_1", "sta', announced=1000),
    "no answer": b"",
}


async def told_by(adapter: Adapter, answer: bytes, question: str, kind: type[Call], heard: list[bytes]) -> Any:
    async with fixed_url(answer, heard) as url:
        call = some_call(adapter, kind)
        return await using(adapter.make(url, 5.0), lambda p: outcome(question_of(p, question, call)))


@every_call
@both_questions
@pytest.mark.parametrize("answer", BROKEN.values(), ids=BROKEN.keys())
def test_an_answer_that_does_not_say_what_happened_is_an_unknown_outcome(
    adapter: Adapter, question: str, kind: type[Call], answer: bytes
) -> None:
    said = asyncio.run(told_by(adapter, answer, question, kind, []))
    assert isinstance(said, OutcomeUnknownError), said
    assert (said.timed_out, said.throttled) == (False, False)


@every_call
def test_too_many_requests_are_an_unknown_outcome_that_asks_for_patience(adapter: Adapter, kind: type[Call]) -> None:
    said = asyncio.run(told_by(adapter, http(429, API_ERROR), "perform", kind, []))
    assert isinstance(said, OutcomeUnknownError)
    assert (said.timed_out, said.throttled) == (False, True)


@pytest.mark.parametrize("kind", [Capture, Void, Refund])
def test_an_effect_is_asked_for_once_and_under_its_key(adapter: Adapter, kind: type[Call]) -> None:
    heard: list[bytes] = []
    asyncio.run(told_by(adapter, b"", "perform", kind, heard))
    (head,) = heard
    assert f"idempotency-key: {some_call(adapter, kind).key}".encode() in head.lower()
    assert head.startswith(b"POST ")


@every_call
def test_a_question_has_no_effect(adapter: Adapter, kind: type[Call]) -> None:
    heard: list[bytes] = []
    asyncio.run(told_by(adapter, http(503, API_ERROR), "find", kind, heard))
    assert heard
    assert all(head.startswith(b"GET ") for head in heard)


def test_an_adapter_that_was_never_used_can_be_closed(adapter: Adapter) -> None:
    asyncio.run(adapter.make("http://127.0.0.1:1", 1.0).close())
