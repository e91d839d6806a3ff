"""Card numbers where none belongs: found and masked. Pure."""

import re
from typing import Final

_NUMBER: Final = re.compile(r"(?<![0-9A-Za-z])[2-6](?:[ -]?[0-9]){12,18}(?![0-9A-Za-z])")
_KEPT: Final = 4


def has_card_number(text: str) -> bool:
    """Whether a card number stands anywhere in the text."""
    return masked(text) != text


def masked(text: str) -> str:
    """The text with each card number replaced by a remark that keeps its last four digits."""
    return _NUMBER.sub(_remark, text)


def _remark(found: re.Match[str]) -> str:
    digits = [int(char) for char in found[0] if char.isdigit()]
    doubled = [digit * (1 + at % 2) for at, digit in enumerate(reversed(digits))]
    if sum(digit - 9 if digit > 9 else digit for digit in doubled) % 10:  # noqa: PLR2004
        return found[0]
    return f"[card number removed, ends {''.join(map(str, digits[-_KEPT:]))}]"
