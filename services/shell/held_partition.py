"""One partition in which another producer's transaction is open: since when messages wait, and what of them is said.

Pure: it is given where the partition ends, the time, and what was fetched.
"""

from collections import deque
from collections.abc import Iterable, Iterator
from typing import Final

import structlog

from schemas.kafka.batches import BadBatchError, Batch, batches, records
from schemas.kafka.raw import Ends, Partition
from schemas.kafka.record import KafkaRecord
from schemas.kafka.unfinished import Scan

_NEVER: Final = -1

log = structlog.get_logger("shell.open_transactions")


class HeldPartition:
    """Begins when a transaction is seen open, and is over when no message lies behind one.

    lso: where the first open transaction begins. since: monotonic time, from when on messages wait at least.
    is_held: whether they wait too long, and the consumer has come to the LSO.
    """

    def __init__(self, place: Partition, end: Ends, now: float) -> None:
        self.place, self.lso, self.since, self.is_held = place, end.lso, now, False
        self._mark = end.high
        self._scan = Scan(end.lso)
        self._again: deque[int] = deque()
        self._waiting: Iterator[KafkaRecord] | None = None
        self._unreadable_from = _NEVER
        self._is_told = False

    def update(self, end: Ends, stands: int, now: float, after_s: float) -> bool:
        """Where the partition ends now, and where its consumer stands. Whether messages lie behind a transaction.

        They wait since `now` when the LSO has passed all that lay in the partition at `since`: transactions that
        follow each other, and overlap, may move the LSO all the time and yet hold up what comes behind.
        """
        if end.high <= end.lso or end.lso < self.lso:
            return False
        if end.lso > self.lso:
            self.lso = end.lso
            self._scan.move(end.lso)
            self._again = deque(offset for offset in self._again if offset >= end.lso)
        if end.lso >= self._mark:
            self._mark, self.since = end.high, now
        # what the consumer can deliver itself comes first
        self.is_held = now - self.since >= after_s and stands == end.lso
        if self.is_held and not self._is_told:
            self._is_told = True
            self._tell("an open transaction holds up a partition; what is said behind it is read", ends_at=end.high)
        return True

    def over(self) -> None:
        """The transaction is over."""
        if self._is_told:
            self._tell("no transaction holds up the partition any more")

    @property
    def holder(self) -> int | None:
        """The id of the producer whose transaction it is; None before it was read."""
        return self._scan.holder()

    @property
    def start(self) -> int | None:
        """From which offset on to fetch; None while records wait to be taken, or where nothing can be read."""
        if not self.is_held or self._waiting is not None or self._unreadable_from == self.lso:
            return None
        return self._again[0] if self._again else self._scan.next

    def take(self, stored: bytes, start: int, *, unpack: bool) -> bool:
        """Find what is said in what was fetched from `start` on; whether there was anything."""
        said: list[Batch] = []
        again, last = set(self._again), start - 1
        try:
            for batch in batches(stored):
                last = batch.last_offset
                if batch.base_offset in again or self._scan.passes(batch):
                    said.append(batch)
        except BadBatchError as error:
            self._unreadable_from = self.lso
            self._tell("what lies behind a transaction is left to the consumer", reason=str(error))
        self._again = deque(offset for offset in self._again if offset > last)
        self._again.extend(self._scan.committed())
        self._waiting = self._records(said, unpack=unpack)
        return last >= start

    def next(self) -> KafkaRecord | None:
        """The next record that is said; None when more has to be fetched first."""
        record = next(self._waiting, None) if self._waiting is not None else None
        if record is None:
            self._waiting = None
        return record

    def _records(self, said: Iterable[Batch], *, unpack: bool) -> Iterator[KafkaRecord]:
        for batch in said:
            try:
                yield from records(batch, *self.place, unpack=unpack)
            except BadBatchError as error:
                self._tell("a batch is left to the consumer", reason=str(error))

    def _tell(self, what: str, **more: object) -> None:
        topic, partition = self.place
        log.warning(what, topic=topic, partition=partition, lso=self.lso, producer_id=self.holder, **more)
