"""Card numbers where none belongs: found, refused or masked, so that none is ever stored or published. Pure.

A card number has 13 to 19 digits, begins with 3 to 6 or with 22 to 27, and its last digit is Luhn's check digit
(ISO/IEC 7812-1; what begins with 20 or 21 is no card of any network, but every date of this century). The digits may be
of any script, in groups with one separator between two of them: a space, dash, dot or underscore, or a character that
nobody sees. A group is never cut: a longer run of digits is no card number.

By chance one number in twenty looks like a card's, so digits inside a UUID or a hexadecimal digest never count.
"""

import re
import unicodedata
from collections.abc import Iterable
from functools import lru_cache
from itertools import accumulate
from typing import Final

Span = tuple[int, int]
"""Where a card number begins, and where it has ended."""

_LEAST: Final = 13
_MOST: Final = 19
_KEPT: Final = 4
"""The last digits, by which people tell cards apart. Source: PCI DSS 3.4.1, which allows them to be shown."""

_LONG: Final = re.compile(r"[0-9](?:[ ._\0-]?[0-9]){12,}")
_LONG_BYTES: Final = re.compile(_LONG.pattern.encode())
_GROUP: Final = re.compile(r"[0-9]+")
_BEGINS: Final = re.compile(r"[3-6]|2[2-7]")
_UUID: Final = re.compile(r"(?<![0-9])[0-9a-fA-F]{8}(?:-[0-9a-fA-F]{4}){3}-[0-9a-fA-F]{12}(?![0-9])")
_DIGEST: Final = re.compile(r"(?<![0-9A-Za-z])(?=[0-9]*[a-fA-F])(?:[0-9a-fA-F]{8}){2,16}(?![0-9A-Za-z])")
"""Ids of spans, traces and objects, digests: 16, 24, 32, … 128 hexadecimal digits, at least one of them a letter."""

_DOUBLED: Final = (0, 2, 4, 6, 8, 1, 3, 5, 7, 9)


def has_card_number(text: str) -> bool:
    """Whether a card number stands anywhere in the text."""
    return bool(_spans(text))


def masked(text: str) -> str:
    """The text with each card number replaced by a remark that keeps its last four digits."""
    spans = _spans(text)
    if not spans:
        return text
    parts, done = [], 0
    for begin, end in spans:
        digits = "".join(_GROUP.findall(_plain(text[begin:end])))
        parts += [text[done:begin], f"[card number removed, ends {digits[-_KEPT:]}]"]
        done = end
    return "".join([*parts, text[done:]])


def masked_bytes(raw: bytes) -> bytes:
    """`raw` with every digit of a card number but the last four as `*`: as long as before, whatever the bytes are."""
    if raw.isascii() and not _LONG_BYTES.search(raw):
        return raw
    text = raw.decode("utf-8", "surrogateescape")
    parts, done = [], 0
    for begin, end in _spans(text):
        parts += [text[done:begin], _starred(text[begin:end])]
        done = end
    return "".join([*parts, text[done:]]).encode("utf-8", "surrogateescape")


def _starred(number: str) -> str:
    digits = [at for at, char in enumerate(_plain(number)) if char.isdigit()]
    hidden = set(digits[:-_KEPT])
    # a digit of another script takes several bytes
    return "".join("*" * len(char.encode()) if at in hidden else char for at, char in enumerate(number))


def _spans(text: str) -> list[Span]:
    """Where card numbers stand, from left to right; those that overlap are one."""
    plain = _plain(text)
    if not _LONG.search(plain):
        return []
    plain = _DIGEST.sub(_nothing, _UUID.sub(_nothing, plain))
    return _joined(span for run in _LONG.finditer(plain) for span in _numbers(plain, run.span()))


def _nothing(found: re.Match[str]) -> str:
    return "x" * len(found[0])


def _numbers(plain: str, run: Span) -> Iterable[Span]:
    """The card numbers in a run of digits: every row of whole groups that has the length, the beginning and the check.

    A run may be as long as a message, so a row's check sum is the difference of two sums that are known by then.
    """
    groups = [found.span() for found in _GROUP.finditer(plain, *run)]
    digits = [int(digit) for begin, end in groups for digit in plain[begin:end]]
    plain_first = _sums(digits, 0)
    plain_second = _sums(digits, 1)
    starts = [0, *accumulate(end - begin for begin, end in groups)]
    for first, (begin, _) in enumerate(groups):
        if not _BEGINS.match("".join(map(str, digits[starts[first] : starts[first] + 2]))):
            continue
        for last in range(first, len(groups)):
            count = starts[last + 1] - starts[first]
            if count > _MOST:
                break
            # the last digit counts once, the one before it twice, and so on
            sums = plain_second if starts[last + 1] % 2 == 0 else plain_first
            if count >= _LEAST and (sums[starts[last + 1]] - sums[starts[first]]) % 10 == 0:
                yield begin, groups[last][1]


def _sums(digits: list[int], single: int) -> list[int]:
    """Sums of the first n digits, those at places of this parity counted once and the others as Luhn doubles them."""
    return [0, *accumulate(d if at % 2 == single else _DOUBLED[d] for at, d in enumerate(digits))]


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
    return "-" if unicodedata.category(char) in ("Zs", "Pd", "Cf") or char in "−·。．" else "x"  # noqa: RUF001
