"""The test tokens, and what each of them makes the bank do.

tok_ok               authorizes, captures, refunds
tok_decline_<reason> the authorization is declined for that reason (the table below)
tok_capture_refused  authorizes; every capture is refused
tok_delay_<ms>       authorizes after that many milliseconds (at most 60 s), captures at once

What follows a dot means nothing, as in `tok_ok.of-anna`: so that tokens can differ, as a provider's do.
"""

import re
from dataclasses import dataclass
from typing import Final

from compose.sandbox.errors import BadRequestError

MAX_DELAY_MS: Final = 60_000

# decline code → Stripe's advice code (https://docs.stripe.com/declines/codes)
DECLINES: Final = {
    "generic_decline": "try_again_later",
    "insufficient_funds": "try_again_later",
    "lost_card": "do_not_try_again",
    "stolen_card": "do_not_try_again",
    "expired_card": "confirm_card_data",
    "incorrect_cvc": "confirm_card_data",
    "processing_error": "try_again_later",
    "fraudulent": "do_not_try_again",
    "do_not_honor": "try_again_later",
    "card_velocity_exceeded": "try_again_later",
    "currency_not_supported": "do_not_try_again",
    "authentication_required": "confirm_card_data",
}

_DELAY = re.compile(r"tok_delay_([0-9]{1,5})")


@dataclass(frozen=True, slots=True)
class Behaviour:
    """What the bank behind a token does."""

    decline_code: str | None = None
    capture_refused: bool = False
    delay_ms: int = 0


def behaviour(token: str) -> Behaviour:
    """Read a token. Raises BadRequestError for one that the sandbox doesn't know, naming those it does."""
    token = token.partition(".")[0]
    if token == "tok_ok":  # noqa: S105 - a name in a test table, no secret
        return Behaviour()
    if token == "tok_capture_refused":  # noqa: S105
        return Behaviour(capture_refused=True)
    if token.startswith("tok_decline_"):
        return _decline(token.removeprefix("tok_decline_"))
    if delay := _DELAY.fullmatch(token):
        return _delay(int(delay.group(1)))
    raise BadRequestError(
        f"No such payment_method: '{token}'; the sandbox knows tok_ok, tok_decline_<reason>, "
        "tok_capture_refused and tok_delay_<ms>.",
        code="resource_missing",
        param="payment_method",
    )


def _decline(reason: str) -> Behaviour:
    if reason not in DECLINES:
        known = ", ".join(DECLINES)
        raise BadRequestError(
            f"Unknown decline reason '{reason}'; known are {known}.",
            code="resource_missing",
            param="payment_method",
        )
    return Behaviour(decline_code=reason)


def _delay(delay_ms: int) -> Behaviour:
    if delay_ms > MAX_DELAY_MS:
        raise BadRequestError(f"tok_delay_<ms> waits at most {MAX_DELAY_MS} ms.", param="payment_method")
    return Behaviour(delay_ms=delay_ms)
