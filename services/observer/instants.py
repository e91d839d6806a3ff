"""Instants as microseconds since 1970: what events and Kafka claim, and how much of it can be believed. Pure.

Every publisher writes its own clock into an event (`occurred_at`) and, with Kafka's CreateTime, any 64-bit number into
the record's timestamp, also in seconds or microseconds. What the rules compare must not come from nowhere: an event of
the year 9999 would never be due, one of the year 1 always, or so old that nothing is said about it.
"""

from datetime import UTC, datetime, timedelta
from typing import Final

SECOND: Final = 1_000_000
DAY: Final = 24 * 3600 * SECOND
EARLIEST: Final = 946_684_800 * SECOND
"""The year 2000: no record is older. A timestamp in seconds stands for January 1970."""
LATEST: Final = 4_102_444_800 * SECOND
"""The year 2100."""
_AHEAD: Final = 3600 * SECOND
"""How far a clock may be ahead of this one. Source: Kafka, message.timestamp.after.max.ms."""
_EPOCH: Final = datetime(1970, 1, 1, tzinfo=UTC)
_MICROSECOND: Final = timedelta(microseconds=1)
_FIRST: Final = (datetime(1, 1, 1, tzinfo=UTC) - _EPOCH) // _MICROSECOND
_LAST: Final = (datetime(9999, 12, 31, 23, 59, 59, 999_999, tzinfo=UTC) - _EPOCH) // _MICROSECOND


def micros(at: datetime) -> int:
    """Of an instant; one that names no zone is UTC."""
    return ((at if at.tzinfo else at.replace(tzinfo=UTC)) - _EPOCH) // _MICROSECOND


def instant(at_us: int) -> str:
    """`2026-11-23T10:00:00.000000Z`; what no calendar has is the nearest that it has."""
    at = _EPOCH + min(max(at_us, _FIRST), _LAST) * _MICROSECOND
    return at.replace(tzinfo=None).isoformat(timespec="microseconds") + "Z"


def written(timestamp_us: int, youngest_us: int, claimed_us: int, now_us: int) -> int:
    """When a record came into its partition, at the earliest.

    timestamp_us: Kafka's. youngest_us: the same of what lies before it; 0: nothing is known. A partition is written in
    order, so no record is older than one before it, whatever it says. claimed_us: by the event itself.
    """
    for claim in (timestamp_us, youngest_us, claimed_us):
        if can_be(claim, now_us):
            return max(claim, youngest_us)
    return now_us


def can_be(claim_us: int, now_us: int) -> bool:
    """Whether a record may have been written then."""
    return EARLIEST <= claim_us <= now_us + _AHEAD


def said_at(claimed_us: int, written_us: int) -> int:
    """When an event was said: as it claims itself, unless that is more than a day from when it was written."""
    return claimed_us if abs(claimed_us - written_us) <= DAY else written_us
