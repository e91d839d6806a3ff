"""Why a checkout fails: the stable codes that events carry, and what the customer reads for each."""

from enum import StrEnum


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
    CARD_EXPIRED = "CARD_EXPIRED"
    CARD_BLOCKED = "CARD_BLOCKED"
    AUTHENTICATION_REQUIRED = "AUTHENTICATION_REQUIRED"
    CAPTURE_REFUSED = "CAPTURE_REFUSED"
    AUTHORIZATION_LOST = "AUTHORIZATION_LOST"
    PAYMENT_TIMED_OUT = "PAYMENT_TIMED_OUT"
    PAYMENT_UNAVAILABLE = "PAYMENT_UNAVAILABLE"
    PROVIDER_ERROR = "PROVIDER_ERROR"
    INTERNAL_ERROR = "INTERNAL_ERROR"
    CANCELLED = "CANCELLED"
    EXPIRED = "EXPIRED"


_BASKET = "Something in your basket is not right. Please check it and try again; you were not charged."
_OTHER_MEANS = "Please use another payment method; you were not charged."

CUSTOMER_MESSAGES: dict[Code, str] = {
    Code.NO_LINES: "Your basket is empty.",
    Code.TOO_MANY_LINES: "Your basket has too many different items. Please split it into several orders.",
    Code.INVALID_LINE: _BASKET,
    Code.INVALID_FIELD: _BASKET,
    Code.UNKNOWN_CURRENCY: "We can't charge in this currency. You were not charged.",
    Code.TOTAL_MISMATCH: "The price changed while you were shopping. Please check your basket and try again.",
    Code.TOTAL_OUT_OF_RANGE: "We can't take an order of this amount online. Please contact us.",
    Code.OUT_OF_STOCK: "An item in your basket has just sold out. You were not charged.",
    Code.UNKNOWN_SKU: "An item in your basket is no longer sold. You were not charged.",
    Code.STOCK_ON_HOLD: "An item in your basket can't be shipped at the moment. You were not charged.",
    Code.RESERVATION_LAPSED: "Your basket was held too long and went back on sale. You were not charged.",
    Code.PAYMENT_METHOD_UNKNOWN: f"We don't know this payment method. {_OTHER_MEANS}",
    Code.PAYMENT_METHOD_NOT_OWNED: f"This payment method can't be used with your account. {_OTHER_MEANS}",
    Code.PAYMENT_DECLINED: f"Your bank declined the payment. {_OTHER_MEANS}",
    Code.INSUFFICIENT_FUNDS: f"There is not enough money on this account. {_OTHER_MEANS}",
    Code.CARD_EXPIRED: f"This card has expired. {_OTHER_MEANS}",
    Code.CARD_BLOCKED: f"Your bank does not allow payments with this card. {_OTHER_MEANS}",
    Code.AUTHENTICATION_REQUIRED: "Your bank wants you to approve this payment. Please try again and approve it.",
    Code.CAPTURE_REFUSED: "Your bank withdrew its approval of the payment. The order was cancelled.",
    Code.AUTHORIZATION_LOST: "Your bank's approval of the payment ran out. The order was cancelled.",
    Code.PAYMENT_TIMED_OUT: "Your bank did not answer in time. Please try again later; any amount on hold is released.",
    Code.PAYMENT_UNAVAILABLE: "Payments are not possible at the moment. Please try again later; you were not charged.",
    Code.PROVIDER_ERROR: "The payment could not be made because of a fault on our side. Any amount on hold is released.",
    Code.INTERNAL_ERROR: "We could not complete your order because of a fault on our side. Any amount on hold is released.",
    Code.CANCELLED: "Your order was cancelled as you asked. Any amount on hold is released.",
    Code.EXPIRED: "The checkout took too long and was cancelled. Any amount on hold is released.",
}


def customer_message(code: str) -> str:
    """The sentence a customer reads for `code`; a code that nobody knows gets the most careful one."""
    if code in CUSTOMER_MESSAGES:
        return CUSTOMER_MESSAGES[Code(code)]
    return "We could not complete your order. Any amount on hold is released."
