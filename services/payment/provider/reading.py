"""Reads what a provider answers, which may be broken, hostile or about something else than was asked. Bounded.

What can't be read says nothing about what happened: OutcomeUnknownError. What can be read and is about other money
than was asked for is UnsafeError: the provider did something, and a person has to look at what.
"""

from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from typing import Any, Final

import aiohttp

from schemas.decision import UnsafeError
from schemas.limits import MAX_WORDS, payment_id_fault, short
from schemas.secret import masked
from services.payment.provider.protocol import Authorize, Call, OutcomeUnknownError

Body = Mapping[str, Any]

MAX_ANSWER_BYTES: Final = 4 * 1024 * 1024
"""The most that is read of an answer: a page of a hundred payments of Stripe's has a tenth of it."""
PLAIN: Final = {"Accept-Encoding": "identity"}
"""Headers that ask for no compression: a few bytes of it may become gigabytes."""
_CHUNK: Final = 64 * 1024
_UNREADABLE: Final = (LookupError, TypeError, ValueError, AttributeError, ArithmeticError, RecursionError)
"""What is raised where an answer has another shape than the provider's documents give it."""


async def read_bounded(content: aiohttp.StreamReader) -> bytes:
    """The whole answer. Raises ValueError once it is too long."""
    parts, length = [], 0
    async for part in content.iter_chunked(_CHUNK):
        parts.append(part)
        length += len(part)
        if length > MAX_ANSWER_BYTES:
            raise ValueError(f"the answer has more than {MAX_ANSWER_BYTES:,} bytes")
    return b"".join(parts)


@contextmanager
def readable(call: Call) -> Iterator[None]:
    """An answer of another shape than documented is none: OutcomeUnknownError."""
    try:
        yield
    except _UNREADABLE as error:
        raise OutcomeUnknownError(f"{call.key}: {in_short(error)}") from error


def in_short(error: BaseException) -> str:
    """An error in one short line: its text may be the provider's."""
    return short(masked(f"{type(error).__name__}: {error}"), MAX_WORDS)


def body_of(value: Any) -> dict[str, Any]:
    """An object. Raises TypeError."""
    if not isinstance(value, dict):
        raise TypeError(f"a {type(value).__name__} where an object belongs")
    return value


def text_of(body: Body, name: str) -> str:
    """A text. Raises TypeError, KeyError."""
    value = body[name]
    if not isinstance(value, str):
        raise TypeError(f"{name} is a {type(value).__name__}, not a text")
    return value


def amount_of(body: Body, name: str) -> int:
    """An amount in the minor unit, 0 or more. Raises TypeError, ValueError, KeyError."""
    value = body[name]
    if not isinstance(value, int) or isinstance(value, bool):
        raise TypeError(f"{name} is a {type(value).__name__}, not an amount")
    if value < 0:
        raise ValueError(f"{name} is below zero")
    return value


def payment_id_of(body: Body, name: str) -> str:
    """A payment's id. Raises TypeError, ValueError, KeyError."""
    value = text_of(body, name)
    fault = payment_id_fault(value)
    if fault:
        raise ValueError(f"{name} {fault}")
    return value


def check_same(call: Call, what: str, asked: object, answered: object) -> None:
    """Raises UnsafeError where the provider answers about something else than was asked."""
    if asked != answered:
        raise UnsafeError(f"{call.key}: {what} {asked} was asked for, the provider answers {short(repr(answered), 80)}")


def check_asked(call: Call, *, payment_id: str, checkout_id: str) -> None:
    """The payment and the checkout that the answer is about. Raises UnsafeError."""
    if not isinstance(call, Authorize):
        check_same(call, "payment", call.payment_id, payment_id)
    check_same(call, "checkout", call.checkout_id, checkout_id)
