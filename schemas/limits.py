"""What an event may hold, for every service that reads it: currencies, counts, amounts, identifiers, texts. Pure.

What a publisher has checked its listeners check again: whatever stands on a topic may have been written by anybody.
A check returns a sentence that says what is wrong, or None, and never quotes the value: it may be a card number.
"""

import re
from collections.abc import Sequence
from itertools import islice
from typing import Final

from schemas.cards import has_card_number, masked
from schemas.events import CheckoutAccepted, Line
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
"""The most characters of a text that is kept or published."""
MAX_TOTAL_MINOR: Final = 99_999_999
"""The largest amount that card schemes take in one charge. Source: https://docs.stripe.com/api/charges/object"""
_IDENTIFIER: Final = re.compile(r"[A-Za-z0-9._:@-]{1,64}")
_PAYMENT_ID: Final = re.compile(r"[A-Za-z0-9._:@-]{1,255}")
"""As long as Stripe's may be. Source: https://docs.stripe.com/upgrades, backward-compatible changes"""
_CODE: Final = re.compile(r"[A-Z][A-Z0-9_]{1,63}")
"""How every code is written, also one that only a newer service knows."""
_QUOTED: Final = 60
"""Characters that are quoted of what is no code."""
_LONG: Final = re.compile(r"[0-9](?:[._:@-]?[0-9]){12}")
_AS_DASHES: Final = str.maketrans(":@", "--")
_ENOUGH: Final = 4
"""So many times the kept characters are looked at: a card number that begins among those that are kept ends in them."""


def is_identifier(value: str) -> bool:
    """Whether this is written as an identifier, whatever its digits are."""
    return _IDENTIFIER.fullmatch(value) is not None


def identifier_fault(value: str) -> str | None:
    """What is wrong with the id of a customer, a payment method or a product."""
    if not is_identifier(value):
        return "must be 1 to 64 letters, digits or . _ : @ -"
    if _holds_card(value):
        return "looks like a card number; ids and tokens only"
    return None


def payment_id_fault(value: str) -> str | None:
    """What is wrong with a provider's id of a payment."""
    if not _PAYMENT_ID.fullmatch(value):
        return "must be 1 to 255 letters, digits or . _ : @ -"
    return "looks like a card number" if _holds_card(value) else None


def _holds_card(value: str) -> bool:
    """Whether the digits of an id are a card's, by whatever sign they are parted. Most have too few of them."""
    return _LONG.search(value) is not None and has_card_number(value.translate(_AS_DASHES))


def line_fault(line: Line) -> str | None:
    """What is wrong with a line of a basket."""
    fault = identifier_fault(line.sku)
    if fault:
        return f"sku {fault}"
    if not 1 <= line.quantity <= MAX_QUANTITY:
        return f"quantity {line.quantity}; must be 1 to {MAX_QUANTITY}"
    if line.unit_price_minor < 0:
        return f"unit_price_minor {line.unit_price_minor}; must not be negative"
    return None


def sum_of(lines: Sequence[Line]) -> int:
    """What the lines cost together, in the currency's minor unit."""
    return sum(line.quantity * line.unit_price_minor for line in lines)


def total_fault(total_minor: int, lines: Sequence[Line]) -> str | None:
    """Whether an amount can be charged and is that of its lines."""
    if not 1 <= total_minor <= MAX_TOTAL_MINOR:
        return f"total_minor {total_minor}; must be 1 to {MAX_TOTAL_MINOR}"
    total = sum_of(lines)
    return None if total == total_minor else f"total_minor is {total_minor}, the lines add up to {total}"


def accepted_fault(event: CheckoutAccepted) -> str | None:
    """What no checkout.accepted of our checkout service says: whoever acts on it would reserve or charge what can't be.

    A currency or a limit that is new has to be known to the listeners before the checkout service accepts it.
    """
    for name, value in (("customer_id", event.customer_id), ("payment_method_id", event.payment_method_id)):
        fault = identifier_fault(value)
        if fault:
            return f"{name} {fault}"
    if event.currency not in CURRENCIES:
        return "currency is not one that we charge in"
    if not 1 <= len(event.lines) <= MAX_LINES:
        return f"{len(event.lines)} lines; must be 1 to {MAX_LINES}"
    for number, line in enumerate(event.lines, start=1):
        fault = line_fault(line)
        if fault:
            return f"line {number}: {fault}"
    return total_fault(event.total_minor, event.lines)


def code_said(said: str, instead: Code = Code.INTERNAL_ERROR) -> tuple[str, str]:
    """(code, remark) for the code that another service gives.

    A code that is in no catalogue is kept where it is written as codes are: a newer service may be deployed first.
    Otherwise it is `instead`, and the remark quotes what was said, bounded and cleaned; it is empty where all is well.
    """
    if _CODE.fullmatch(said) and not has_card_number(said):
        return said, ""
    return instead.value, f"not a code: {short(said, _QUOTED)!r}"


def short(words: str, most: int = MAX_WORDS) -> str:
    """A foreign text as it may be kept, published and printed: bounded, one line, no control or format characters.

    A card number becomes a remark. An event must not outgrow its listeners, whatever is written into a reason.
    """
    if len(words) <= most and words.isprintable():
        seen = words
    else:
        # a message of 1 MiB of what is not seen is looked through once
        seen = "".join(islice(filter(None, map(_seen, words)), _ENOUGH * most))
    # a cut may make a card number of a longer one
    return masked(masked(seen)[:most])[:most]


def _seen(char: str) -> str:
    """What is printed of a character: line ends and odd spaces are spaces, what is not seen is nothing."""
    return char if char.isprintable() else " " if char.isspace() else ""
