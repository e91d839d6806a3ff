"""What a Kafka message brings, in the types of this project."""

from datetime import UTC, datetime

from confluent_kafka import Message

from schemas.envelope import Header


def headers_of(message: Message) -> list[Header]:
    """The headers as they lie there."""
    pairs = message.headers() or []
    listed = pairs if isinstance(pairs, list) else list(pairs.items())
    return [(name, raw(value)) for name, value in listed]


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
