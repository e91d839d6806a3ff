"""The error answers, in Stripe's shape: `{"error": {"type", "code", "message", …}}`.

Source of types, codes and decline codes: https://docs.stripe.com/error-codes and /declines/codes.
"""

from typing import Final

from compose.sandbox.model import Answer


class BadRequestError(Exception):
    """The request itself is wrong: nothing was executed, nothing is stored under its key. Answered with 400.

    `message` is one sentence for the engineer who sent it; it never quotes a value that could be a card number.
    """

    def __init__(self, message: str, *, code: str = "parameter_invalid", param: str | None = None) -> None:
        super().__init__(message)
        self.answer = invalid_request(code, message, param=param)


def invalid_request(code: str, message: str, *, status: int = 400, param: str | None = None) -> Answer:
    """A request that can never succeed as it stands."""
    error = {"type": "invalid_request_error", "code": code, "message": message}
    if param is not None:
        error["param"] = param
    return Answer(status, {"error": error})


def missing(what: str, name: str) -> Answer:
    """404: the thing asked for does not exist."""
    return invalid_request("resource_missing", f"No such {what}: '{name}'", status=404)


def declined(decline_code: str, advice_code: str, payment_id: str) -> Answer:
    """402: the bank said no. `advice_code` tells whether another attempt makes sense, `payment_id` what failed."""
    return Answer(
        402,
        {
            "error": {
                "type": "card_error",
                "code": "card_declined",
                "decline_code": decline_code,
                "advice_code": advice_code,
                "message": f"Your card was declined ({decline_code.replace('_', ' ')}).",
                "payment_id": payment_id,
            }
        },
    )


def capture_refused(payment_id: str) -> Answer:
    """402: the bank would not pay out what it had authorized. The authorization stands and can be voided."""
    message = "The issuer refused the capture of this authorization."
    error = {"type": "card_error", "code": "capture_refused", "message": message, "payment_id": payment_id}
    return Answer(402, {"error": error})


def provider_failed(status: int, payment_id: str | None = None) -> Answer:
    """5xx: the caller can't tell from this answer whether anything took place."""
    message = "An error occurred at the payment provider; ask by idempotency key what became of the request."
    error = {"type": "api_error", "code": "provider_error", "message": message}
    if payment_id is not None:
        error["payment_id"] = payment_id
    return Answer(status, {"error": error})


KEY_REUSED: Final = Answer(
    400,
    {
        "error": {
            "type": "idempotency_error",
            "code": "idempotency_key_reused",
            "message": "This Idempotency-Key was first used with another operation, path or body; use a new key.",
        }
    },
)
KEY_IN_USE: Final = Answer(
    409,
    {
        "error": {
            "type": "idempotency_error",
            "code": "idempotency_key_in_use",
            "message": "A request with this Idempotency-Key is still being executed; try again shortly.",
        }
    },
)
