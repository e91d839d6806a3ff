"""Card numbers: found, so that none is ever stored or logged (PCI DSS 3.4)."""

import re
from typing import Final

# bare runs, and the two ways that cards print theirs: 4-4-4-4(-3) and 4-6-5
_CANDIDATE: Final = re.compile(
    r"""(?<![0-9])(?:
        [0-9]{13,19}
        | [0-9]{4}([ -])[0-9]{4}\1[0-9]{4}\1[0-9]{1,7}
        | [0-9]{4}([ -])[0-9]{6}\2[0-9]{3,5}
    )(?![0-9])""",
    re.VERBOSE,
)
# One UUID in some thousands contains a run that passes Luhn by chance; an honest checkout must not fail by it.
_UUID: Final = re.compile(r"[0-9a-fA-F]{8}-?(?:[0-9a-fA-F]{4}-?){3}[0-9a-fA-F]{12}")

_DOUBLED: Final = (0, 2, 4, 6, 8, 1, 3, 5, 7, 9)


def has_card_number(text: str) -> bool:
    """Whether 13 to 19 digits that pass Luhn stand anywhere in the text, outside a UUID."""
    return _any_passes(text) and _any_passes(_UUID.sub("|", text))


def passes_luhn(digits: str) -> bool:
    """Luhn's check digit (ISO/IEC 7812-1, annex B)."""
    backwards = [int(digit) for digit in reversed(digits)]
    return (sum(backwards[::2]) + sum(_DOUBLED[digit] for digit in backwards[1::2])) % 10 == 0


def _any_passes(text: str) -> bool:
    return any(passes_luhn(found.group().replace(" ", "").replace("-", "")) for found in _CANDIDATE.finditer(text))
