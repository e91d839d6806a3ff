"""Text from events, as it may be kept and shown: without card numbers, control characters, and bounded. Pure."""

from functools import lru_cache
from typing import Final

from schemas.cards import has_card_number, masked

LONGEST: Final = 300
_LOOKED_AT: Final = 4 * LONGEST
_SHORTEST_CARD: Final = 13


def clean(text: str, most: int = LONGEST) -> str:
    """The text with card numbers masked and what is not printable as escapes; what is longer than `most` is cut off."""
    if len(text) < _SHORTEST_CARD and text.isprintable():
        return text
    shown = _clean(text[:_LOOKED_AT])
    return shown if len(shown) <= most + 1 and len(text) <= _LOOKED_AT else f"{shown[:most]}…"


@lru_cache(maxsize=4096)
def _clean(text: str) -> str:
    """Ids of customers, payments and traces stand in many events."""
    found = masked(text)
    return found if found.isprintable() else "".join(map(_shown, found))


def _shown(char: str) -> str:
    """Control, format and private characters, halves of surrogate pairs: U+202E turns a line round, for example."""
    if char.isprintable():
        return char
    return f"\\u{ord(char):04x}" if ord(char) <= 0xFFFF else f"\\U{ord(char):08x}"  # noqa: PLR2004


def clean_number(number: int) -> int | str:
    """The number, or text where it looks like a card's."""
    return clean(str(number)) if abs(number) >= 10 ** (_SHORTEST_CARD - 1) and has_card_number(str(number)) else number
