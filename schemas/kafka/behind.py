"""The records that are said behind an open transaction of one partition, one fetch after the other.

`said_behind` is for one who reads what is there now; `services.shell.open_transactions` for one who goes on.
"""

import asyncio
from collections import deque
from collections.abc import Callable, Iterable, Iterator, Mapping
from typing import Final

from schemas.brokers import Kafka
from schemas.kafka.batches import BadBatchError, Batch, batches, records
from schemas.kafka.raw import Partition, opened
from schemas.kafka.record import KafkaRecord
from schemas.kafka.unfinished import Scan

_NEVER: Final = -1
_FETCH_LIMIT_S: Final = 30.0

Left = Callable[[str], None]
"""Called with the reason why something is left to the consumer: a batch that can't be unpacked, for example."""


class Behind:
    """A pass over one partition from its last stable offset (LSO). Fetch from `start`, `take` it, ask `next` till None.

    lso: where the first open transaction begins. unpack: as in `record_of`.
    """

    def __init__(self, place: Partition, lso: int, on_left: Left, *, unpack: bool = False) -> None:
        self.place, self.lso = place, lso
        self._on_left, self._unpack = on_left, unpack
        self._scan = Scan(lso)
        self._again: deque[int] = deque()
        self._waiting: Iterator[KafkaRecord] | None = None
        self._unreadable_from = _NEVER

    def move(self, lso: int) -> None:
        """The LSO is there now: what lies before it is the consumer's."""
        self.lso = lso
        self._scan.move(lso)
        self._again = deque(offset for offset in self._again if offset >= lso)

    @property
    def holder(self) -> int | None:
        """The id of the producer whose transaction is open; None before it was read."""
        return self._scan.holder()

    @property
    def start(self) -> int | None:
        """From which offset on to fetch; None while records wait to be taken, or where nothing can be read."""
        if self._waiting is not None or self._unreadable_from == self.lso:
            return None
        return self._again[0] if self._again else self._scan.next

    def take(self, stored: bytes, start: int) -> bool:
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
            self._on_left(str(error))
        self._again = deque(offset for offset in self._again if offset > last)
        self._again.extend(self._scan.committed())
        self._waiting = self._records(said)
        return last >= start

    def next(self) -> KafkaRecord | None:
        """The next record that is said; None when more has to be fetched first."""
        record = next(self._waiting, None) if self._waiting is not None else None
        if record is None:
            self._waiting = None
        return record

    def _records(self, said: Iterable[Batch]) -> Iterator[KafkaRecord]:
        for batch in said:
            try:
                yield from records(batch, *self.place, unpack=self._unpack)
            except BadBatchError as error:
                self._on_left(str(error))


def said_behind(
    kafka: Kafka, stops: Mapping[Partition, tuple[int, int]], on_left: Left, *, unpack: bool = False
) -> Iterator[KafkaRecord]:
    """What a reader of committed messages doesn't get, of partitions where it stopped before their end.

    stops: (where it stopped, where the partition ends). Those of transactions that were committed come after what lies
    before their end; all others in their order. Raises KafkaError (of aiokafka), OSError or TimeoutError.
    """
    with asyncio.Runner() as runner:
        leaders = runner.run(opened(kafka))
        try:
            open_ones = [
                Behind(place, stop, on_left, unpack=unpack) for place, (stop, high) in stops.items() if stop < high
            ]
            while open_ones:
                starts = {it: it.start for it in open_ones}
                asked = {it.place: start for it, start in starts.items() if start is not None}
                stored = runner.run(asyncio.wait_for(leaders.fetch(asked), _FETCH_LIMIT_S))
                for it, start in starts.items():
                    went_on = start is not None and it.take(stored.get(it.place, b""), start)
                    while (record := it.next()) is not None:
                        if record.offset < stops[it.place][1]:
                            yield record
                    if not went_on or (it.start or 0) >= stops[it.place][1]:
                        open_ones.remove(it)
        finally:
            runner.run(leaders.close())
