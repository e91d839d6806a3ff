"""A provider whose answers are broken, hostile or about other money: an unknown outcome or a person's matter, always.

Nothing else may come out of an adapter: any other exception would be taken for a bug in a decision.
"""

import asyncio
import json
import zlib
from collections.abc import Callable
from typing import Any, Final

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from schemas.decision import UnsafeError
from services.payment.provider.declines import nobody
from services.payment.provider.protocol import (
    Answer,
    Authorize,
    Authorized,
    Call,
    Capture,
    Captured,
    OutcomeUnknownError,
    Refund,
    Refunded,
    Void,
    Voided,
)
from services.payment.provider.reading import MAX_ANSWER_BYTES, readable
from services.payment.provider.sandbox_answers import answer, authorization, state
from services.payment.provider.stripe_answers import authorization as stripe_authorization
from services.payment.provider.stripe_answers import refunded as stripe_refunded
from services.payment.provider.stripe_answers import state as stripe_state
from tests.providers.broken_servers import fixed_url, http
from tests.providers.using import SANDBOX, STRIPE, Adapter, using

AUTHORIZE: Final = Authorize(checkout_id="c-1", amount_minor=2500, currency="EUR", token="cus_1:pm_1", customer_id="x")
CAPTURE: Final = Capture(checkout_id="c-1", payment_id="pay_1", amount_minor=2500)
VOID: Final = Void(checkout_id="c-1", payment_id="pay_1")
REFUND: Final = Refund(checkout_id="c-1", payment_id="pay_1", amount_minor=2500)
CALLS: Final[tuple[Call, ...]] = (AUTHORIZE, CAPTURE, VOID, REFUND)

PAYMENT: Final[dict[str, Any]] = {
    "payment_id": "pay_1",
    "status": "authorized",
    "amount_minor": 2500,
    "currency": "EUR",
    "checkout_id": "c-1",
    "captured_minor": 2500,
    "refunded_minor": 2500,
    "capture_before": "2026-12-31T00:00:00.000000Z",
}
STATUS: Final = {Authorize: "authorized", Capture: "captured", Void: "voided", Refund: "refunded"}
KINDS: Final = {Authorize: Authorized, Capture: Captured, Void: Voided, Refund: Refunded}


def payment(call: Call, **changes: Any) -> dict[str, Any]:
    return PAYMENT | {"status": STATUS[type(call)]} | changes


def asked(call: Call, body: dict[str, Any]) -> Answer | Exception | None:
    """What an answer comes to, as `SandboxProvider` reads it."""
    try:
        with readable(call):
            return answer(call, 200, body, nobody)
    except (OutcomeUnknownError, UnsafeError) as error:
        return error


every_call = pytest.mark.parametrize("call", CALLS, ids=lambda call: call.operation)


@every_call
def test_an_answer_as_documented_is_taken(call: Call) -> None:
    assert type(asked(call, payment(call))) is KINDS[type(call)]


OTHERS: Final[dict[str, tuple[dict[str, Any], tuple[type[Call], ...]]]] = {
    "another checkout": ({"checkout_id": "c-2"}, (Authorize, Capture, Void, Refund)),
    "another payment": ({"payment_id": "pay_2"}, (Capture, Void, Refund)),
    "another amount": ({"amount_minor": 1}, (Authorize,)),
    "another currency": ({"currency": "JPY"}, (Authorize,)),
}


@pytest.mark.parametrize(
    ("changes", "kind"), [(changes, kind) for changes, kinds in OTHERS.values() for kind in kinds], ids=str
)
def test_an_answer_about_other_money_is_a_persons_matter(changes: dict[str, Any], kind: type[Call]) -> None:
    [call] = [call for call in CALLS if type(call) is kind]
    said = asked(call, payment(call, **changes))
    assert isinstance(said, UnsafeError)
    assert call.key in str(said)


NO_STATUS: Final[tuple[Any, ...]] = ("declined", "expired", "", 7, None, [])
BROKEN: Final[list[tuple[Call, dict[str, Any]]]] = [
    *((call, {"status": status}) for call in CALLS for status in NO_STATUS),
    *((call, {"payment_id": value}) for call in CALLS for value in (None, 7, {"a": 1})),
    *((AUTHORIZE, {"payment_id": value}) for value in ("", "x" * 256, "a\0b", "4242424242424242", "пей")),
    *((AUTHORIZE, {"amount_minor": value}) for value in ("2500", 2500.0, True, None, -2500)),
    *((AUTHORIZE, {"capture_before": value}) for value in (None, 7, "soon", "2026-12-31", "0001-01-01T00:00:00+14:00")),
    *((CAPTURE, {"captured_minor": value}) for value in (None, "2500", -1, 2500.5, [2500])),
    *((REFUND, {"refunded_minor": value}) for value in (None, "2500", -1, 2500.5, [2500])),
]


@pytest.mark.parametrize(("call", "changes"), BROKEN, ids=lambda part: str(part)[:60])
def test_an_answer_of_another_form_is_an_unknown_outcome(call: Call, changes: dict[str, Any]) -> None:
    said = asked(call, payment(call, **changes))
    assert isinstance(said, OutcomeUnknownError), said
    assert len(str(said)) < 400


def test_a_payment_that_is_found_is_compared_too() -> None:
    with pytest.raises(UnsafeError, match="amount 2500 was asked for, the provider answers 1"):
        authorization(AUTHORIZE, [PAYMENT | {"amount_minor": 1}], nobody)
    for call in (CAPTURE, VOID, REFUND):
        with pytest.raises(UnsafeError, match="'pay_2'"):
            state(call, payment(call, payment_id="pay_2"))


INTENT: Final[dict[str, Any]] = {
    "id": "pay_1", "status": "requires_capture", "amount": 2500, "amount_received": 2500, "currency": "eur",
    "created": 1_790_000_000, "metadata": {"checkout_id": "c-1"}, "latest_charge": None,
}  # fmt: skip


@pytest.mark.parametrize("changes", [{"amount": 1}, {"currency": "jpy"}, {"metadata": {"checkout_id": "c-2"}}], ids=str)
def test_a_payment_at_stripe_that_is_about_other_money_is_a_persons_matter(changes: dict[str, Any]) -> None:
    assert isinstance(stripe_authorization(AUTHORIZE, INTENT, nobody), Authorized)
    with pytest.raises(UnsafeError):
        stripe_authorization(AUTHORIZE, INTENT | changes, nobody)


def test_another_payment_of_stripes_than_was_asked_for_is_a_persons_matter() -> None:
    taken = INTENT | {"status": "succeeded"}
    assert stripe_state(CAPTURE, taken) == Captured(amount_minor=2500)
    with pytest.raises(UnsafeError, match="'pi_2'"):
        stripe_state(CAPTURE, taken | {"id": "pi_2"})


ANYTHING: Final = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False) | st.text(max_size=20),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=8), inner, max_size=3),
    max_leaves=6,
)


def changed(usual: dict[str, Any]) -> st.SearchStrategy[dict[str, Any]]:
    """An answer in which some fields hold anything."""
    return st.dictionaries(st.sampled_from([*usual, "error"]), ANYTHING, max_size=4).map(lambda other: usual | other)


READERS: Final[list[Callable[[Call, dict[str, Any]], Any]]] = [
    lambda call, body: answer(call, 200, body, nobody),
    lambda call, body: answer(call, 402, body, nobody),
    lambda call, body: authorization(call, [body], nobody) if isinstance(call, Authorize) else state(call, body),
    lambda call, body: (
        stripe_authorization(call, body, nobody) if isinstance(call, Authorize) else stripe_state(call, body)
    ),
    lambda _call, body: stripe_refunded(body),
]


@settings(max_examples=600)
@given(st.sampled_from(CALLS), changed(PAYMENT) | changed(INTENT), st.sampled_from(READERS))
def test_nothing_but_an_answer_or_the_two_known_exceptions_comes_out(
    call: Call, body: dict[str, Any], read: Callable[[Call, dict[str, Any]], Any]
) -> None:
    try:
        with readable(call):
            read(call, body)
    except (OutcomeUnknownError, UnsafeError) as error:
        assert len(str(error)) < 400  # noqa: PT017


def zipped(body: bytes) -> bytes:
    packer = zlib.compressobj(wbits=31)
    packed = packer.compress(body) + packer.flush()
    return http(200, packed).replace(b"Content-Type:", b"Content-Encoding: gzip\r\nContent-Type:", 1)


DEEP: Final = b"[" * 100_000
RAW: Final = {
    "a list": http(200, b"[]"),
    "a word": http(200, b'"certainly"'),
    "null": http(200, b"null"),
    "nothing known": http(200, b"{}"),
    "deep": http(200, DEEP),
    "deep in a field": http(200, b'{"status": ' + DEEP),
    "an error that is a word": http(402, b'{"error": "no"}'),
    "an error without words": http(402, b'{"error": {"type": {}}}'),
    "an error of words that are none": http(400, b'{"error": {"type": "x", "code": ["a"], "decline_code": 7}}'),
    "a status that is a number": http(200, json.dumps(INTENT | {"status": 7}).encode()),
    "an id that is an object": http(200, json.dumps(INTENT | {"id": {}}).encode()),
    "not utf-8": http(200, b'{"id": "\xff\xfe"}'),
    "half a surrogate pair": http(200, b'{"id": "\\ud800", "payment_id": "\\ud800"}'),
    "too long": http(200, b'{"id": "' + b"x" * MAX_ANSWER_BYTES + b'"}'),
    "right, but too long": http(
        200, json.dumps(INTENT | {"status": "succeeded", "x": "x" * MAX_ANSWER_BYTES}).encode()
    ),
    "zeros in a gzip": zipped(b"0" * 50_000_000),
    "a redirect": http(302, b"{}").replace(b"Content-Type:", b"Location: http://127.0.0.1:1/\r\nContent-Type:", 1),
}


async def heard(adapter: Adapter, raw: bytes, question: str, call: Call) -> Any:
    async with fixed_url(raw, []) as url:

        async def ask(provider: Any) -> Any:
            try:
                return await getattr(provider, question)(call)
            except (OutcomeUnknownError, UnsafeError) as error:
                return error

        return await using(adapter.make(url, 10.0), ask)


@every_call
@pytest.mark.parametrize("question", ["perform", "find"])
@pytest.mark.parametrize("raw", RAW.values(), ids=RAW)
@pytest.mark.parametrize("adapter", [SANDBOX, STRIPE], ids=lambda adapter: adapter.name)
def test_whatever_a_server_sends_is_an_answer_or_unknown(
    adapter: Adapter, raw: bytes, question: str, call: Call
) -> None:
    said = asyncio.run(heard(adapter, raw, question, call))
    assert not isinstance(said, Authorized | Captured | Voided | Refunded)
    if isinstance(said, Exception):
        assert len(str(said)) < 400
