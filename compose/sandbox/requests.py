"""Requests read into commands. Whatever is wrong with one is a BadRequestError: a 400 with one clear sentence."""

import hashlib
import json
import re
from collections.abc import Mapping
from typing import Any, Final, Never

from compose.sandbox.cards import has_card_number
from compose.sandbox.errors import BadRequestError
from compose.sandbox.model import Authorize, Capture, Command, Operation, Refund, Void
from compose.sandbox.payment_methods import behaviour

MAX_BODY_BYTES: Final = 64 * 1024
MAX_KEY_LENGTH: Final = 255  # Stripe's limit
MAX_TEXT_LENGTH: Final = 200
MAX_AMOUNT_MINOR: Final = 999_999_999_999  # Stripe's 12 digits

_CURRENCY: Final = re.compile(r"[A-Z]{3}")
_REQUIRED: Final[dict[Operation, frozenset[str]]] = {
    "authorize": frozenset({"checkout_id", "amount_minor", "currency", "payment_method"}),
    "capture": frozenset({"amount_minor"}),
    "void": frozenset(),
    "refund": frozenset({"amount_minor"}),
}
_OPTIONAL: Final[dict[Operation, frozenset[str]]] = {
    "authorize": frozenset({"customer"}),
    "capture": frozenset(),
    "void": frozenset(),
    "refund": frozenset(),
}


def read_key(key: str | None) -> str:
    """The Idempotency-Key header, checked."""
    if not key:
        raise BadRequestError("The header Idempotency-Key is required.", code="idempotency_key_missing")
    if len(key) > MAX_KEY_LENGTH or not key.isprintable():
        raise BadRequestError(f"Idempotency-Key must be 1 to {MAX_KEY_LENGTH} printable characters.")
    if has_card_number(key):
        raise BadRequestError("Idempotency-Key contains a card number; send tokens only.", code="card_number")
    return key


def read_json(body: bytes) -> Any:
    """The body as JSON, free of card numbers."""
    try:
        parsed = json.loads(body, parse_constant=_no_constant)
        text = canonical(parsed)
    except RecursionError:
        raise BadRequestError("The body is nested too deeply.", code="json_invalid") from None
    except ValueError:
        raise BadRequestError("The body is not valid JSON (UTF-8).", code="json_invalid") from None
    if has_card_number(text):
        raise BadRequestError("The body contains a card number; send tokens only.", code="card_number")
    return parsed


def read_command(operation: Operation, payment_id: str, body: bytes) -> tuple[Command, str]:
    """A POST as the command it asks for, and the fingerprint that tells it from others under the same key."""
    fields = read_json(body) if body else {}  # a void needs no body
    if not isinstance(fields, dict):
        raise BadRequestError("The body must be a JSON object.", code="json_invalid")
    _check_names(operation, fields)
    command = _command(operation, payment_id, fields)
    said = canonical([operation, payment_id, fields])
    return command, hashlib.sha256(said.encode()).hexdigest()


def canonical(value: Any) -> str:
    """One spelling per JSON value: sorted keys, no spaces, ASCII."""
    return json.dumps(value, sort_keys=True, separators=(",", ":"))


def _command(operation: Operation, payment_id: str, fields: Mapping[str, Any]) -> Command:
    match operation:
        case "authorize":
            return _authorize(fields)
        case "capture":
            return Capture(payment_id, _amount(fields))
        case "void":
            return Void(payment_id)
        case "refund":
            return Refund(payment_id, _amount(fields))


def _authorize(fields: Mapping[str, Any]) -> Authorize:
    currency = _text(fields, "currency")
    if not _CURRENCY.fullmatch(currency):
        raise BadRequestError("currency must be three upper-case letters (ISO 4217).", param="currency")
    payment_method = _text(fields, "payment_method")
    behaviour(payment_method)
    return Authorize(
        checkout_id=_text(fields, "checkout_id"),
        amount_minor=_amount(fields),
        currency=currency,
        payment_method=payment_method,
        customer=None if fields.get("customer") is None else _text(fields, "customer"),
    )


def _check_names(operation: Operation, fields: Mapping[str, Any]) -> None:
    required, optional = _REQUIRED[operation], _OPTIONAL[operation]
    if absent := sorted(required - fields.keys()):
        raise BadRequestError(f"Missing: {', '.join(absent)}.", code="parameter_missing", param=absent[0])
    if unknown := sorted(fields.keys() - required - optional):
        expected = ", ".join(sorted(required | optional)) or "an empty object"
        raise BadRequestError(f"Unknown field {unknown[0][:40]!r}; expected {expected}.", code="parameter_unknown")


def _amount(fields: Mapping[str, Any]) -> int:
    amount_minor = fields["amount_minor"]
    if type(amount_minor) is not int or not 1 <= amount_minor <= MAX_AMOUNT_MINOR:  # bool is an int, no amount
        raise BadRequestError(
            f"amount_minor must be an integer from 1 to {MAX_AMOUNT_MINOR} in the currency's minor unit.",
            code="amount_invalid",
            param="amount_minor",
        )
    return amount_minor


def _text(fields: Mapping[str, Any], name: str) -> str:
    text = fields[name]
    if not isinstance(text, str) or not 1 <= len(text) <= MAX_TEXT_LENGTH or not text.isprintable():
        raise BadRequestError(f"{name} must be a string of 1 to {MAX_TEXT_LENGTH} printable characters.", param=name)
    return text


def _no_constant(name: str) -> Never:
    raise ValueError(f"{name} is not JSON")
