"""What a sound request is. Pure; one problem is enough, the first one found is told."""

import re
from dataclasses import dataclass, field
from datetime import datetime
from typing import Any, Final

from schemas.events import CheckoutRequested, Line
from schemas.failures import Code

CURRENCIES: Final = frozenset(
    (
        *("AUD", "BRL", "CAD", "CHF", "CZK", "DKK", "EUR", "GBP", "HKD", "HUF", "INR", "JPY"),
        *("KRW", "MXN", "NOK", "NZD", "PLN", "RON", "SEK", "SGD", "TRY", "USD", "ZAR"),
    )
)
"""What the shop charges in. Source: ISO 4217, active codes."""
MAX_LINES: Final = 200
MAX_QUANTITY: Final = 10_000
MAX_WORDS: Final = 200
MAX_TOTAL_MINOR: Final = 99_999_999
"""The largest amount that card schemes take in one charge. Source: https://docs.stripe.com/api/charges/object"""
_IDENTIFIER: Final = re.compile(r"[A-Za-z0-9._:@-]{1,64}")
_CARD_NUMBER: Final = re.compile(r"[2-6][0-9]{12,18}")
"""As cards are numbered: 13 to 19 digits, the first one a bank's or a merchant's. Source: ISO/IEC 7812-1."""
_LONG_NUMBER: Final = re.compile(r"[0-9](?:[ ._-]?[0-9]){12,}")
_SEPARATORS: Final = str.maketrans("", "", "._:@-")


@dataclass(frozen=True, slots=True)
class Problem:
    """Why a request is not sound: the code, a sentence for the engineer, and fields that must not be kept."""

    code: Code
    detail: str
    unusable: dict[str, Any] = field(default_factory=dict)


def problem_of(request: CheckoutRequested, at: datetime) -> Problem | None:
    """The first rule that `request` breaks, or None."""
    return _fields(request) or _lines(request) or _total(request) or _deadline(request, at)


def _fields(request: CheckoutRequested) -> Problem | None:
    for name in ("customer_id", "payment_method_id"):
        fault = _identifier_fault(getattr(request, name))
        if fault:
            # what is wrong may be a card number or a novel: it is not kept
            kept = {"fingerprint": "", **({"customer_id": ""} if name == "customer_id" else {})}
            return Problem(Code.INVALID_FIELD, f"{name} {fault}", kept | _sane(request))
    if request.currency not in CURRENCIES:
        known = ", ".join(sorted(CURRENCIES))
        return Problem(Code.UNKNOWN_CURRENCY, f"currency is not one of {known}", _sane(request))
    return None


def _sane(request: CheckoutRequested) -> dict[str, Any]:
    return {} if request.currency in CURRENCIES else {"currency": ""}


def _identifier_fault(value: str) -> str | None:
    if not _IDENTIFIER.fullmatch(value):
        return "must be 1 to 64 letters, digits or . _ : @ -"
    digits = value.translate(_SEPARATORS)
    if _CARD_NUMBER.fullmatch(digits) and _luhn(digits):
        return "looks like a card number; send the id of a stored payment method"
    return None


def short(words: str) -> str:
    """A shop's free text as it may be kept and published: bounded, and without anything as long as a card number.

    An event must not grow past what its listeners read, whatever a shop writes into a reason.
    """
    return _LONG_NUMBER.sub("[number removed]", words[:MAX_WORDS].replace("\0", ""))


def _luhn(digits: str) -> bool:
    """Source: ISO/IEC 7812-1, annex B."""
    doubled = [int(d) * (2 if n % 2 else 1) for n, d in enumerate(reversed(digits))]
    return sum(d - 9 if d > 9 else d for d in doubled) % 10 == 0  # noqa: PLR2004


def _lines(request: CheckoutRequested) -> Problem | None:
    if not request.lines:
        return Problem(Code.NO_LINES, "lines is empty")
    if len(request.lines) > MAX_LINES:
        return Problem(Code.TOO_MANY_LINES, f"{len(request.lines)} lines; at most {MAX_LINES}")
    for number, line in enumerate(request.lines, start=1):
        fault = _line_fault(line)
        if fault:
            return Problem(Code.INVALID_LINE, f"line {number}: {fault}")
    return None


def _line_fault(line: Line) -> str | None:
    if not _IDENTIFIER.fullmatch(line.sku):
        return "sku must be 1 to 64 letters, digits or . _ : @ -"
    if not 1 <= line.quantity <= MAX_QUANTITY:
        return f"quantity {line.quantity}; must be 1 to {MAX_QUANTITY}"
    if line.unit_price_minor < 0:
        return f"unit_price_minor {line.unit_price_minor}; must not be negative"
    return None


def _total(request: CheckoutRequested) -> Problem | None:
    total = sum(line.quantity * line.unit_price_minor for line in request.lines)
    if not 1 <= request.total_minor <= MAX_TOTAL_MINOR or total > MAX_TOTAL_MINOR:
        return Problem(
            Code.TOTAL_OUT_OF_RANGE, f"total {max(total, request.total_minor)}; must be 1 to {MAX_TOTAL_MINOR}"
        )
    if total != request.total_minor:
        return Problem(Code.TOTAL_MISMATCH, f"total_minor is {request.total_minor}, the lines add up to {total}")
    return None


def _deadline(request: CheckoutRequested, at: datetime) -> Problem | None:
    if request.expires_at is not None and request.expires_at <= at:
        return Problem(Code.EXPIRED, "expires_at has passed already")
    return None
