"""When a row of the outbox was made."""

from typing import Final
from uuid import UUID

_TIMED: Final = 7


def made_ns(row_id: UUID) -> int | None:
    """Nanoseconds since 1970, to the millisecond; None where the id is no UUIDv7. Source: RFC 9562, section 5.7."""
    return (row_id.int >> 80) * 1_000_000 if row_id.version == _TIMED else None
