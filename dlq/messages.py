"""What a Kafka message brings, in the types of this project."""

import re
from datetime import UTC, datetime
from typing import Final

from confluent_kafka import Message

from schemas.envelope import Header
from schemas.kafka import record
from schemas.kafka.record import PACKED

__all__ = ("PACKED", "headers_of", "instant", "unpacked", "whole_number")

_DIGITS: Final = re.compile(r"[0-9]{1,18}")


def headers_of(message: Message) -> list[Header]:
    """The headers as they lie there; none where they can't be read. Call it once, and nothing else of that kind."""
    return record.record_of(message).headers


def unpacked(headers: list[Header]) -> list[Header]:
    """The headers of the outbox row, where they came in one; others are as they should be."""
    found, defect = record.unpacked(headers)
    return headers if defect else found


def instant(text: str) -> datetime | None:
    """An RFC 3339 instant, in UTC; None for any other text."""
    try:
        at = datetime.fromisoformat(text)
        return at.astimezone(UTC) if at.tzinfo else at.replace(tzinfo=UTC)
    except (ValueError, OverflowError):
        return None


def whole_number(text: str, otherwise: int = 0) -> int:
    """A number that a header says, 0 or more; `otherwise` for what is none or has more digits than any has."""
    return int(text) if _DIGITS.fullmatch(text) else otherwise
