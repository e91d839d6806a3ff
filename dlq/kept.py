"""What a dead letter keeps of its message: no card numbers, and of what is too large the head."""

import hashlib
from collections.abc import Callable
from dataclasses import dataclass, replace
from typing import Final

from schemas.kafka.record import KafkaRecord

LONGEST_VALUE: Final = 1024 * 1024
HEAD_BYTES: Final = 64 * 1024
"""What a letter keeps of a value that is longer than any that is read: its place and digest find the rest again."""
_MARGIN: Final = 64
"""Bytes behind a cut that are looked at too: more than a card number takes."""
LONGEST_KEY: Final = 128 * 1024
LONGEST_HEADERS: Final = 512 * 1024
MASKED: Final = "dlq-masked"


@dataclass(frozen=True, slots=True)
class Cut:
    """What is not in a letter of a message that is too large. length: bytes of its value; digest: its SHA-256."""

    length: int
    digest: str
    what: str


def writable(origin: KafkaRecord, mask: Callable[[bytes], bytes]) -> tuple[KafkaRecord, Cut | None]:
    """The message as a letter can hold it: without what `mask` takes out, and of one that is too large the head.

    mask: keeps the length. Source: the topic's max.message.bytes.
    """
    head, what = _head(origin)
    kept = _masked(head, mask)
    if not what:
        return kept, None
    value, key = kept.value and kept.value[: _limit(origin.value, LONGEST_VALUE, HEAD_BYTES)], kept.key
    kept = replace(kept, value=value, key=key and key[:LONGEST_KEY])
    whole = hashlib.sha256(origin.value or b"").hexdigest()
    return kept, Cut(len(origin.value or b""), whole, f"this letter has {' and '.join(what)}")


def _head(origin: KafkaRecord) -> tuple[KafkaRecord, list[str]]:
    """What is kept, and a little more, so that a number at the cut is seen whole; and what is left out, in words."""
    value, key, headers = origin.value or b"", origin.key or b"", origin.headers
    headers_size = sum(len(name) + len(each or b"") for name, each in headers)
    what = []
    if len(value) > LONGEST_VALUE:
        what.append(f"the first {HEAD_BYTES:,} of {len(value):,} bytes of the value")
    if len(key) > LONGEST_KEY:
        what.append(f"the first {LONGEST_KEY:,} of {len(key):,} bytes of the key")
    if headers_size > LONGEST_HEADERS:
        what.append(f"none of {len(headers):,} headers, {headers_size:,} bytes")
        headers = []
    if not what:
        return origin, []
    more = _limit(origin.value, LONGEST_VALUE, HEAD_BYTES) + _MARGIN
    kept_value, kept_key = origin.value and origin.value[:more], origin.key and origin.key[: LONGEST_KEY + _MARGIN]
    return replace(origin, value=kept_value, key=kept_key, headers=headers), what


def _limit(raw: bytes | None, longest: int, head: int) -> int:
    """How much of it is kept, bytes."""
    return head if len(raw or b"") > longest else longest


def _masked(origin: KafkaRecord, mask: Callable[[bytes], bytes]) -> KafkaRecord:
    """The message without what `mask` takes out of bytes; the very same one where that is nothing."""
    value, key = origin.value and mask(origin.value), origin.key and mask(origin.key)
    headers = [(mask(name.encode()).decode(), content and mask(content)) for name, content in origin.headers]
    if (value, key, headers) == (origin.value, origin.key, origin.headers):
        return origin
    return replace(origin, value=value, key=key, headers=[*headers, (MASKED, b"card numbers")])
