"""What of a partition is said although a transaction before it is still open.

A consumer that reads committed messages stops at the last stable offset (LSO): where the first open transaction
began. What lies behind it is of three kinds: batches outside any transaction, which are said whatever becomes of the
open one; batches of transactions that were committed meanwhile; and those of open or aborted ones, which are not said.
A producer has one transaction at a time in a partition (KIP-98), so the first marker of a producer behind a batch
is the end of that batch's transaction.
"""

from collections.abc import Iterator
from typing import Final

from schemas.kafka.batches import Batch, is_commit

_UNDECIDED_AT_MOST: Final = 100_000
"""Batches of open transactions whose places are remembered; later ones are left to the consumer."""


class Scan:
    """One pass over a partition from its LSO. Give it every batch in order; it says which are said already."""

    def __init__(self, lso: int) -> None:
        self.next = lso
        self._open: dict[int, list[int]] = {}
        self._committed: list[int] = []
        self._count = 0

    def passes(self, batch: Batch) -> bool:
        """Whether the batch is said. Those before `next` were given before, and are not. Raises BadBatchError."""
        if batch.last_offset < self.next:
            return False
        if batch.is_control:
            self._end(batch)
        elif batch.is_transactional:
            self._note(batch)
        self.next = batch.last_offset + 1
        return not batch.is_control and not batch.is_transactional

    def committed(self) -> Iterator[int]:
        """Takes the first offsets of batches that were passed by and are committed now, in their order."""
        found, self._committed = sorted(self._committed), []
        return iter(found)

    def move(self, lso: int) -> None:
        """The LSO is there now: what lies before it is the consumer's."""
        self.next = max(self.next, lso)
        self._committed = [offset for offset in self._committed if offset >= lso]
        for producer, offsets in list(self._open.items()):
            self._open[producer] = kept = [offset for offset in offsets if offset >= lso]
            self._count -= len(offsets) - len(kept)
            if not kept:
                del self._open[producer]

    def holder(self) -> int | None:
        """The id of the producer whose transaction is the first open one, as far as it was read."""
        return min(self._open, key=lambda producer: self._open[producer][0], default=None)

    def _note(self, batch: Batch) -> None:
        if self._count < _UNDECIDED_AT_MOST:
            self._open.setdefault(batch.producer_id, []).append(batch.base_offset)
            self._count += 1

    def _end(self, marker: Batch) -> None:
        commits = is_commit(marker)
        offsets = self._open.pop(marker.producer_id, [])
        self._count -= len(offsets)
        if commits:
            self._committed += offsets
