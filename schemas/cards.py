"""Card numbers where none belongs: found, refused or masked, so that none is ever stored or published. Pure.

A card number has 13 to 19 digits, begins with 3 to 6 or with 22 to 27, and its last digit is Luhn's check digit
(ISO/IEC 7812-1; what begins with 20 or 21 is no card of any network, but every date of this century). The digits may be
of any script, in groups with one separator between two of them: a space, dash, dot or underscore, or a character that
is not seen. A group is never cut: a longer run of digits is no card number.

By chance one number in twenty looks like a card's, so digits in a UUID, a trace or a hexadecimal digest never count.
"""

import re
import unicodedata
from collections.abc import Callable, Iterable, Iterator
from functools import lru_cache
from typing import Final

Span = tuple[int, int]
"""Where a card number begins, and where it has ended."""

_LEAST: Final = 13
_MOST: Final = 19
_KEPT: Final = 4
"""The last digits, by which people tell cards apart. Source: PCI DSS 3.4.1, which allows them to be shown."""
_SHORT: Final = 4096
"""Characters in which every way to group digits is tried; in more, only those in which cards are printed.

Trying them all takes a second for a megabyte of single digits, and a megabyte may be what a hostile message sends.
"""

_LONG: Final = re.compile(r"[0-9](?:[ ._\0-]?[0-9]){12,}")
_LONG_BYTES: Final = re.compile(_LONG.pattern.encode())
_LONG_ANY: Final = re.compile(r"\d(?:[\W_]?\d){12}")
"""The same for digits and separators of all scripts: finds more."""
_GROUP: Final = re.compile(r"[0-9]+")
_BEGINS: Final = re.compile(r"[3-6]|2[2-7]")
_PRINTED: Final = tuple(
    re.compile(rf"(?<![0-9])(?=({form.replace(' ', '[ ._-]')})(?![0-9]))")
    for form in (
        r"[0-9]{13,19}",
        r"[0-9]{4} [0-9]{4} [0-9]{4} [0-9]{1,7}",
        r"[0-9]{4} [0-9]{4} [0-9]{4} [0-9]{4} [0-9]{1,3}",
        r"[0-9]{4} [0-9]{6} [0-9]{3,5}",
    )
)
_UUID: Final = re.compile(r"(?<![0-9])[0-9a-fA-F]{8}(?:-[0-9a-fA-F]{4}){3}-[0-9a-fA-F]{12}(?![0-9])")
_TRACE: Final = re.compile(r"(?<![0-9A-Za-z])[0-9a-f]{2}-[0-9a-f]{32}-[0-9a-f]{16}-[0-9a-f]{2}(?![0-9A-Za-z])")
"""A traceparent, whose span may have digits alone. Source: W3C Trace Context, section 3.2."""
_DIGEST: Final = re.compile(r"(?<![0-9A-Za-z])(?=[0-9]*[a-fA-F])(?:[0-9a-fA-F]{8}){2,16}(?![0-9A-Za-z])")
"""Ids of spans and traces, and digests: 16, 24, 32, … 128 hexadecimal digits, at least one of them a letter."""

_DOUBLED: Final = (0, 2, 4, 6, 8, 1, 3, 5, 7, 9)


def has_card_number(text: str) -> bool:
    """Whether a card number stands anywhere in the text."""
    return bool(_spans(text))


def masked(text: str) -> str:
    """The text with each card number replaced by a remark that keeps its last four digits."""
    # a text that has become short is looked through once more, in every grouping
    while spans := _spans(text):
        text = _replaced(text, spans, _remark)
    return text


def masked_bytes(raw: bytes) -> bytes:
    """`raw` with every digit of a card number but the last four as `*`: as long as before, whatever the bytes are."""
    if raw.isascii() and not _LONG_BYTES.search(raw):
        return raw
    text = raw.decode("utf-8", "surrogateescape")
    # the digits that are kept may be a group of another number
    while spans := _spans(text):
        text = _replaced(text, spans, _starred)
    return text.encode("utf-8", "surrogateescape")


def _remark(number: str) -> str:
    digits = "".join(_GROUP.findall(_plain(number)))
    return f"[card number removed, ends {digits[-_KEPT:]}]"


def _starred(number: str) -> str:
    hidden = [at for at, char in enumerate(_plain(number)) if char.isdigit()][:-_KEPT]
    # a digit of another script takes several bytes
    return "".join("*" * len(char.encode()) if at in hidden else char for at, char in enumerate(number))


def _replaced(text: str, spans: list[Span], other: Callable[[str], str]) -> str:
    parts, done = [], 0
    for begin, end in spans:
        parts += [text[done:begin], other(text[begin:end])]
        done = end
    return "".join([*parts, text[done:]])


def _spans(text: str) -> list[Span]:
    """Where card numbers stand, from left to right; those that overlap are one."""
    short = len(text) <= _SHORT
    if not (short or text.isascii() or _LONG_ANY.search(text)):
        return []
    plain = _plain(text)
    if not _LONG.search(plain):
        return []
    for innocent in (_UUID, _TRACE, _DIGEST):
        plain = innocent.sub(_nothing, plain)
    return _joined(sorted(_grouped(plain) if short else _printed(plain)))


def _nothing(found: re.Match[str]) -> str:
    return "x" * len(found[0])


def _grouped(plain: str) -> Iterator[Span]:
    """Rows of whole groups, whatever their lengths are."""
    for run in _LONG.finditer(plain):
        groups = [found.span() for found in _GROUP.finditer(plain, *run.span())]
        for first, (begin, _) in enumerate(groups):
            digits = ""
            for start, end in groups[first : first + _MOST]:
                digits += plain[start:end]
                if len(digits) > _MOST:
                    break
                if _is_number(digits):
                    yield begin, end


def _printed(plain: str) -> Iterator[Span]:
    """Groups as they are printed on cards, and numbers without any."""
    for form in _PRINTED:
        for found in form.finditer(plain):
            if _is_number("".join(_GROUP.findall(found[1]))):
                yield found.span(1)


def _is_number(digits: str) -> bool:
    if not (_LEAST <= len(digits) <= _MOST and _BEGINS.match(digits)):
        return False
    # Luhn's check. Source: ISO/IEC 7812-1, annex B
    backwards = [int(digit) for digit in reversed(digits)]
    return (sum(backwards[::2]) + sum(_DOUBLED[digit] for digit in backwards[1::2])) % 10 == 0


def _joined(spans: Iterable[Span]) -> list[Span]:
    joined: list[Span] = []
    for begin, end in spans:
        if joined and begin < joined[-1][1]:
            joined[-1] = (joined[-1][0], max(end, joined[-1][1]))
        else:
            joined.append((begin, end))
    return joined


def _plain(text: str) -> str:
    """The text, character by character, with the digits of all scripts as ASCII and all separators as dashes."""
    return text if text.isascii() else "".join(map(_plain_character, text))


@lru_cache(maxsize=4096)
def _plain_character(char: str) -> str:
    if char.isascii():
        return char
    digit = unicodedata.digit(unicodedata.normalize("NFKC", char)[:1], None)
    if digit is not None:
        return str(digit)
    return "-" if unicodedata.category(char) in ("Zs", "Pd", "Cf") or char in "\u2212\u00b7\u3002" else "x"
