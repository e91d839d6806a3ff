"""Why a checkout fails: the catalogue of stable codes. What each means, who can do something about it, and what to say.

Pure data. A provider's own words are mapped onto these codes in `services.payment.provider.declines`, and nowhere else.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from enum import StrEnum
from typing import Final


class Code(StrEnum):
    """Stable codes of `checkout.failed`, `warehouse.rejected`, `payment.declined` and their like."""

    NO_LINES = "NO_LINES"
    TOO_MANY_LINES = "TOO_MANY_LINES"
    INVALID_LINE = "INVALID_LINE"
    INVALID_FIELD = "INVALID_FIELD"
    UNKNOWN_CURRENCY = "UNKNOWN_CURRENCY"
    TOTAL_MISMATCH = "TOTAL_MISMATCH"
    TOTAL_OUT_OF_RANGE = "TOTAL_OUT_OF_RANGE"
    OUT_OF_STOCK = "OUT_OF_STOCK"
    UNKNOWN_SKU = "UNKNOWN_SKU"
    STOCK_ON_HOLD = "STOCK_ON_HOLD"
    RESERVATION_LAPSED = "RESERVATION_LAPSED"
    PAYMENT_METHOD_UNKNOWN = "PAYMENT_METHOD_UNKNOWN"
    PAYMENT_METHOD_NOT_OWNED = "PAYMENT_METHOD_NOT_OWNED"
    PAYMENT_DECLINED = "PAYMENT_DECLINED"
    INSUFFICIENT_FUNDS = "INSUFFICIENT_FUNDS"
    LIMIT_EXCEEDED = "LIMIT_EXCEEDED"
    CARD_EXPIRED = "CARD_EXPIRED"
    CARD_BLOCKED = "CARD_BLOCKED"
    CARD_DETAILS_WRONG = "CARD_DETAILS_WRONG"
    CARD_NOT_SUPPORTED = "CARD_NOT_SUPPORTED"
    AUTHENTICATION_REQUIRED = "AUTHENTICATION_REQUIRED"
    DUPLICATE_PAYMENT = "DUPLICATE_PAYMENT"
    BANK_UNAVAILABLE = "BANK_UNAVAILABLE"
    CAPTURE_REFUSED = "CAPTURE_REFUSED"
    AUTHORIZATION_LOST = "AUTHORIZATION_LOST"
    PAYMENT_TIMED_OUT = "PAYMENT_TIMED_OUT"
    PAYMENT_UNAVAILABLE = "PAYMENT_UNAVAILABLE"
    PROVIDER_ERROR = "PROVIDER_ERROR"
    INTERNAL_ERROR = "INTERNAL_ERROR"
    CANCELLED = "CANCELLED"
    EXPIRED = "EXPIRED"


class ErrorClass(StrEnum):
    """Who can do something about a failure. Closed: a new class is a new kind of answer, not a new word."""

    CUSTOMER_MUST_ACT = "customer_must_act"
    TRY_AGAIN_LATER = "try_again_later"
    NOBODY_CAN_FIX = "nobody_can_fix"
    OURS = "ours"


@dataclass(frozen=True, slots=True, kw_only=True)
class CatalogueEntry:
    """What a code means. retryable: whether the same basket, asked again as a new checkout, may succeed.

    customer, engineer: one or two sentences for each of them.
    """

    code: str
    error_class: ErrorClass
    retryable: bool
    customer: str
    engineer: str


_Sentences = Mapping[Code, tuple[str, str]]
_BASKET: Final = "Something in your basket is not right. Please check it and try again; you were not charged."
_OTHER_MEANS: Final = "Please use another payment method; you were not charged."

_MUST_CHANGE_SOMETHING: Final[_Sentences] = {
    Code.NO_LINES: ("Your basket is empty.", "The request has no lines."),
    Code.TOO_MANY_LINES: (
        "Your basket has too many different items. Please split it into several orders.",
        "The request has more lines than one checkout takes.",
    ),
    Code.INVALID_LINE: (_BASKET, "A line has a bad sku, quantity or price, or a sku stands twice."),
    Code.TOTAL_MISMATCH: (
        "The price changed while you were shopping. Please check your basket and try again.",
        "total_minor is not the sum of the lines.",
    ),
    Code.TOTAL_OUT_OF_RANGE: (
        "We can't take an order of this amount online. Please contact us.",
        "The total is below or above what one checkout, or the provider, takes.",
    ),
    Code.PAYMENT_METHOD_UNKNOWN: (
        f"We don't know this payment method. {_OTHER_MEANS}",
        "payment_method_id is in no row of payment_methods, or its token is nothing that the provider knows.",
    ),
    Code.PAYMENT_METHOD_NOT_OWNED: (
        f"This payment method can't be used with your account. {_OTHER_MEANS}",
        "The payment method belongs to another customer, here or at the provider.",
    ),
    Code.PAYMENT_DECLINED: (
        f"Your bank declined the payment. {_OTHER_MEANS}",
        "The bank declined without a reason that we know; provider_code has its word.",
    ),
    Code.INSUFFICIENT_FUNDS: (
        f"There is not enough money on this account. {_OTHER_MEANS}",
        "The bank declined: the account does not cover the amount.",
    ),
    Code.LIMIT_EXCEEDED: (
        f"This payment is above your card's limit. {_OTHER_MEANS}",
        "The bank declined: a limit of amount or frequency is reached.",
    ),
    Code.CARD_EXPIRED: (f"This card has expired. {_OTHER_MEANS}", "The bank declined: the card is past its date."),
    Code.CARD_BLOCKED: (
        f"Your bank does not allow payments with this card. {_OTHER_MEANS}",
        "The bank will not honor this card. The reason is for us alone: it may be a suspicion of fraud.",
    ),
    Code.CARD_DETAILS_WRONG: (
        "The details of this card are not right or have changed. Please check them; you were not charged.",
        "The bank declined: number, date, security code or address do not match.",
    ),
    Code.CARD_NOT_SUPPORTED: (
        f"This card can't be used for this kind of purchase. {_OTHER_MEANS}",
        "The card does not take this kind of purchase or this currency.",
    ),
    Code.DUPLICATE_PAYMENT: (
        "It seems that you have just paid the same amount. Please check your orders before you try again.",
        "The bank declined: same card and amount a moment ago. Look for another checkout of this customer.",
    ),
}
_ASK_AGAIN_WHEN_CHANGED: Final[_Sentences] = {
    Code.OUT_OF_STOCK: (
        "An item in your basket has just sold out. You were not charged.",
        "Less on hand than asked for. Goods that others hold come back when their checkouts fail.",
    ),
    Code.AUTHENTICATION_REQUIRED: (
        "Your bank wants you to approve this payment. Please try again and approve it.",
        "The bank wants a step that only the customer can take (3-D Secure).",
    ),
    Code.CANCELLED: (
        "Your order was cancelled as you asked. Any amount on hold is released.",
        "checkout.cancel_requested was heard before the capture.",
    ),
}
_LATER: Final[_Sentences] = {
    Code.STOCK_ON_HOLD: (
        "An item in your basket can't be shipped at the moment. You were not charged.",
        "The warehouse has put this sku on hold.",
    ),
    Code.RESERVATION_LAPSED: (
        "Your basket was held too long and went back on sale. You were not charged.",
        "The reservation's time to live passed before the money was authorized.",
    ),
    Code.BANK_UNAVAILABLE: (
        "Your bank can't be reached at the moment. Please try again in a few minutes; you were not charged.",
        "The provider answered, the bank behind it did not or asks for another attempt.",
    ),
    Code.AUTHORIZATION_LOST: (
        "Your bank's approval of the payment ran out. The order was cancelled.",
        "The authorization was voided or had expired when it was to be captured.",
    ),
    Code.PAYMENT_TIMED_OUT: (
        "Your bank did not answer in time. Please try again later; any amount on hold is released.",
        "The provider answered no attempt within its time; what it did is still being found out and undone.",
    ),
    Code.PAYMENT_UNAVAILABLE: (
        "Payments are not possible at the moment. Please try again later; you were not charged.",
        "The provider was not asked: its circuit breaker is open.",
    ),
    Code.EXPIRED: (
        "The checkout took too long and was cancelled. Any amount on hold is released.",
        "The deadline passed before the money was authorized.",
    ),
}
_NOBODY: Final[_Sentences] = {
    Code.UNKNOWN_CURRENCY: (
        "We can't charge in this currency. You were not charged.",
        "The currency is not among those that we take.",
    ),
    Code.UNKNOWN_SKU: (
        "An item in your basket is no longer sold. You were not charged.",
        "The warehouse has no row for this sku.",
    ),
    Code.CAPTURE_REFUSED: (
        "Your bank withdrew its approval of the payment. The order was cancelled.",
        "The bank refused the capture of what it had authorized; provider_code has its word.",
    ),
}
_OURS: Final[_Sentences] = {
    Code.INVALID_FIELD: (
        _BASKET,
        "The shop sent a field that breaks the contract of checkout.requested: mend the shop.",
    ),
    Code.PROVIDER_ERROR: (
        "The payment could not be made because of a fault on our side. Any amount on hold is released.",
        "The provider refused our request as invalid or failed every time; provider_code and its log have more.",
    ),
    Code.INTERNAL_ERROR: (
        "We could not complete your order because of a fault on our side. Any amount on hold is released.",
        "A bug or a message that could not be handled: look at the dead letters of this checkout.",
    ),
}
MEANWHILE: Final = (
    "Your payment takes longer than usual. Please don't pay again: you are charged once or not at all,"
    " and we will tell you soon."
)
"""What the customer reads while a payment waits for its provider."""

_UNKNOWN: Final = (
    "We could not complete your order. Any amount on hold is released.",
    "This code is in no catalogue: a newer or a broken service said it.",
)


def _entries(error_class: ErrorClass, sentences: _Sentences, *, retryable: bool) -> dict[Code, CatalogueEntry]:
    return {
        code: CatalogueEntry(
            code=code, error_class=error_class, retryable=retryable, customer=customer, engineer=engineer
        )
        for code, (customer, engineer) in sentences.items()
    }


CATALOGUE: Final[Mapping[Code, CatalogueEntry]] = {
    **_entries(ErrorClass.CUSTOMER_MUST_ACT, _MUST_CHANGE_SOMETHING, retryable=False),
    **_entries(ErrorClass.CUSTOMER_MUST_ACT, _ASK_AGAIN_WHEN_CHANGED, retryable=True),
    **_entries(ErrorClass.TRY_AGAIN_LATER, _LATER, retryable=True),
    **_entries(ErrorClass.NOBODY_CAN_FIX, _NOBODY, retryable=False),
    **_entries(ErrorClass.OURS, _OURS, retryable=False),
}
"""Every code's entry; a test holds that none is missing."""


def entry_of(code: str) -> CatalogueEntry:
    """What `code` means; a code that nobody knows gets the most careful entry: ours, and nothing promised."""
    if code in CATALOGUE:
        return CATALOGUE[Code(code)]
    customer, engineer = _UNKNOWN
    return CatalogueEntry(code=code, error_class=ErrorClass.OURS, retryable=False, customer=customer, engineer=engineer)
