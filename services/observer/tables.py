"""The table's content: what Faust restores from its topic, which may hold anything, and timelines made from it."""

from collections import OrderedDict
from collections.abc import Iterable
from typing import Any, Final

import faust

from services.observer.timeline import Timeline, decoded, encoded, is_id

_MOST_BYTES: Final = 1024 * 1024
_MOST_MADE: Final = 1_000
_LARGEST_MADE: Final = 16 * 1024


class Checkouts(faust.Table):  # type: ignore[misc]
    """The table; what can't be a timeline by its key or its size is not taken from its topic."""

    def apply_changelog_batch(self, batch: Iterable[Any]) -> None:
        """Restore a part of the table."""
        super().apply_changelog_batch([event for event in batch if _can_be_one(event.message.key, event.message.value)])


def _can_be_one(key: bytes | None, value: bytes | None) -> bool:
    try:
        return key is not None and is_id(key.decode()) and len(value or b"") <= _MOST_BYTES
    except UnicodeDecodeError:
        return False


class Memory:
    """Timelines of the table, of which those that were made last need not be made from their bytes again."""

    def __init__(self, table: Any) -> None:
        self._table = table
        self._made: OrderedDict[bytes, tuple[bytes, Timeline | None]] = OrderedDict()

    def timeline(self, key: bytes) -> Timeline | None:
        """What the table has of a checkout; None where that is nothing, or no timeline."""
        value = self._table.data.get(key)
        if value is None:
            return None
        known = self._made.get(key)
        if known is not None and known[0] is value:
            return known[1]
        return self._remember(key, value, decoded(key, value))

    def keep(self, key: bytes, timeline: Timeline) -> bytes:
        """Put a timeline into the table; its bytes.

        `table[key] = value` does the same, and sends it to the table's topic, but doesn't tell when that has it.
        """
        value = self._table.data[key] = encoded(timeline)
        self._remember(key, value, timeline)
        return value

    def _remember(self, key: bytes, value: bytes, timeline: Timeline | None) -> Timeline | None:
        self._made.pop(key, None)
        if len(value) <= _LARGEST_MADE:
            self._made[key] = (value, timeline)
        if len(self._made) > _MOST_MADE:
            self._made.popitem(last=False)
        return timeline
