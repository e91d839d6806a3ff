"""What a Kafka message brings, in the types of this project."""

import json
from collections.abc import Sequence
from datetime import UTC, datetime
from typing import Final

from confluent_kafka import Message

from schemas.envelope import Header

PACKED: Final = "outbox-headers"
"""The header in which Debezium carries all those of an outbox row, as the row has them
(see compose/debezium/outbox.properties)."""


def headers_of(message: Message) -> list[Header]:
    """The headers as they were said, whoever published them."""
    pairs = message.headers() or []
    listed = pairs if isinstance(pairs, list) else list(pairs.items())
    return unpacked([(name, raw(value)) for name, value in listed])


def unpacked(headers: list[Header]) -> list[Header]:
    """The headers of the outbox row, where they came in one; others are as they should be."""
    for name, value in headers:
        if name == PACKED and value is not None:
            return _loaded(value, headers)
    return headers


def _loaded(packed: bytes, otherwise: list[Header]) -> list[Header]:
    """What an outbox row says. A foreign header of the same name is left alone."""
    from outbox.add import load_headers  # noqa: PLC0415 - brings SQLAlchemy, which most readers need not wait for

    try:
        stored: Sequence[tuple[str, object]] = json.loads(packed)
        return [(str(name), raw(value)) for name, value in load_headers(stored)]
    except (ValueError, TypeError, KeyError):
        return otherwise


def raw(value: object) -> bytes | None:
    """The client's types allow text, which it gives only to those who asked for it."""
    return value if value is None or isinstance(value, bytes) else str(value).encode()


def time_of(message: Message) -> datetime:
    """The timestamp of a message; 1970 for one that has none."""
    return datetime.fromtimestamp(max(0, message.timestamp()[1]) / 1000, UTC)


def instant(text: str) -> datetime | None:
    """An RFC 3339 instant, in UTC; None for any other text."""
    try:
        at = datetime.fromisoformat(text)
        return at.astimezone(UTC) if at.tzinfo else at.replace(tzinfo=UTC)
    except (ValueError, OverflowError):
        return None
