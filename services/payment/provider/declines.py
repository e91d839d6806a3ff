"""The one table from a provider's words to our codes.

Source of the words: https://docs.stripe.com/declines/codes (the sandbox provider uses the same ones) and, for a card
error without a decline code, https://docs.stripe.com/error-codes. A code of ours stands for what the customer can do;
so a card that is lost, stolen or suspected of fraud shares its code with every other refusal of the bank: whoever
holds it must not learn more.
"""

import re
from collections.abc import Callable, Mapping
from typing import Final

from schemas.cards import has_card_number
from schemas.failures import Code
from services.payment.provider.protocol import Declined

OnUnmapped = Callable[[str], None]
"""Hears of a word that the table lacks: at most MAX_WORD characters of a-z, 0-9 and underscore, fit for a label."""

MAX_WORD: Final = 64

_WORDS: Final[Mapping[Code, tuple[str, ...]]] = {
    Code.AUTHENTICATION_REQUIRED: (
        "authentication_required",
        "mobile_device_authentication_required",
        "offline_pin_required",
        "online_or_offline_pin_required",
        "payment_intent_authentication_failure",
        "requires_action",
    ),
    Code.BANK_UNAVAILABLE: (
        "approve_with_id",
        "issuer_not_available",
        "processing_error",
        "reenter_transaction",
        "try_again_later",
    ),
    Code.CARD_BLOCKED: (
        "call_issuer",
        "do_not_honor",
        "do_not_try_again",
        "fraudulent",
        "lost_card",
        "merchant_blacklist",
        "no_action_taken",
        "pickup_card",
        "pin_try_exceeded",
        "restricted_card",
        "revocation_of_all_authorizations",
        "revocation_of_authorization",
        "security_violation",
        "stolen_card",
        "stop_payment_order",
    ),
    Code.CARD_DETAILS_WRONG: (
        "incorrect_address",
        "incorrect_cvc",
        "incorrect_number",
        "incorrect_pin",
        "incorrect_zip",
        "invalid_account",
        "invalid_cvc",
        "invalid_expiry_month",
        "invalid_expiry_year",
        "invalid_number",
        "invalid_pin",
        "new_account_information_available",
    ),
    Code.CARD_EXPIRED: ("expired_card",),
    Code.CARD_NOT_SUPPORTED: (
        "card_not_supported",
        "currency_not_supported",
        "not_permitted",
        "service_not_allowed",
        "testmode_decline",
        "transaction_not_allowed",
    ),
    Code.DUPLICATE_PAYMENT: ("duplicate_transaction",),
    Code.INSUFFICIENT_FUNDS: ("insufficient_funds",),
    Code.LIMIT_EXCEEDED: (
        "card_decline_rate_limit_exceeded",
        "card_velocity_exceeded",
        "invalid_amount",
        "withdrawal_count_limit_exceeded",
    ),
    # the last word is what remains of a decline once the provider has forgotten the answer that it gave
    Code.PAYMENT_DECLINED: ("card_declined", "generic_decline", "payment_declined"),
}

CODES: Final[Mapping[str, Code]] = {word: code for code, words in _WORDS.items() for word in words}
"""The provider's word -> our code."""

_INVALID_REQUESTS: Final[Mapping[str, Code]] = {
    "amount_too_large": Code.TOTAL_OUT_OF_RANGE,
    "amount_too_small": Code.TOTAL_OUT_OF_RANGE,
}
"""Requests that the provider calls invalid and that are no bug of ours; every other one is PROVIDER_ERROR."""


def code_for(word: str) -> Code:
    """Our code for the provider's reason to decline; PAYMENT_DECLINED for one that the table lacks."""
    return CODES.get(word, Code.PAYMENT_DECLINED)


def bounded(word: str) -> str:
    """A provider's word, cut and cleaned so that it can be a metric's label; never empty, and never a card number."""
    # a card number that is cut could still be guessed
    seen = re.sub(r"[^a-z0-9_]", "_", word[: 2 * MAX_WORD].lower())
    if has_card_number(seen) or has_card_number(seen[:MAX_WORD]):
        return "card_number"
    return seen[:MAX_WORD] or "none"


def nobody(word: str) -> None:
    """An OnUnmapped that is not interested."""


def declined(word: str, on_unmapped: OnUnmapped) -> Declined:
    """A bank's no to an authorization, in our words and the provider's; tells `on_unmapped` of one that is new."""
    if word not in CODES:
        on_unmapped(bounded(word))
    return Declined(code=code_for(word), provider_code=bounded(word))


def invalid(word: str) -> Declined:
    """The provider calls a request to authorize invalid: nothing is held, and the bug is ours, not the bank's no."""
    return Declined(code=_INVALID_REQUESTS.get(word, Code.PROVIDER_ERROR), provider_code=bounded(word))
