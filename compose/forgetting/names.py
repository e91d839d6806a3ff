"""What a customer is known by, and how that is found in texts and in the bytes of messages. Pure."""

import json
import re
from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import Final

MOST_CHARS: Final = 1000
_BEFORE: Final = "(?<![A-Za-z0-9._:@-])"
_AFTER: Final = "(?![A-Za-z0-9_@-]|[.:][A-Za-z0-9_@-])"
"""`customer-1` is neither in `customer-10` nor in `customer-1:b`: an id ends where no character of an id follows."""


class NotANameError(Exception):
    """A text that can't be a customer's id; the sentence says why."""


@dataclass(frozen=True)
class Names:
    """A customer's id, and the ids of the payment methods that are the customer's."""

    customer: str
    methods: tuple[str, ...] = ()

    @property
    def texts(self) -> list[str]:
        """All of them."""
        return [self.customer, *self.methods]

    @cached_property
    def pattern(self) -> str:
        """A regular expression that finds one of them in a text, for Python and for Postgres alike."""
        return f"{_BEFORE}(?:{'|'.join(re.escape(spelling) for spelling in _spellings(self.texts))}){_AFTER}"

    @property
    def avro(self) -> list[bytes]:
        """Each as Avro writes a text: its length first, by which `customer-1` isn't found in `customer-10`."""
        return [avro_text(name) for name in self.texts]

    @cached_property
    def _in_bytes(self) -> re.Pattern[bytes]:
        as_avro = b"|".join(re.escape(each) for each in self.avro)
        return re.compile(self.pattern.encode() + b"|" + as_avro)

    def within(self, content: bytes | None) -> bool:
        """Whether one of them stands in these bytes, as a text or as Avro writes it."""
        return content is not None and self._in_bytes.search(content) is not None


def checked(customer: str) -> str:
    """A customer's id as it may stand in a table. Raises NotANameError."""
    if not customer:
        raise NotANameError("a customer's id is not empty")
    if len(customer) > MOST_CHARS:
        raise NotANameError(f"a customer's id has {MOST_CHARS:,} characters at most")
    if "\0" in customer or any("\ud800" <= char <= "\udfff" for char in customer):
        raise NotANameError("a customer's id is text that Postgres can hold: no NUL, no bytes that are no UTF-8")
    return customer


def avro_text(text: str) -> bytes:
    """Avro's encoding of a text: its length in bytes as a zigzag varint, then UTF-8.

    Source: https://avro.apache.org/docs/1.12.0/specification/#binary-encoding
    """
    content = text.encode()
    left, length = len(content) * 2, bytearray()
    while left > 0x7F:  # noqa: PLR2004 - seven bits a byte
        length.append(left & 0x7F | 0x80)
        left >>= 7
    length.append(left)
    return bytes(length) + content


def _spellings(texts: Sequence[str]) -> list[str]:
    """As they are, and as JSON may have them."""
    return list(dict.fromkeys([*texts, *(json.dumps(each)[1:-1] for each in texts)]))
