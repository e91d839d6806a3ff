"""What is said behind another producer's open transaction is read all the same.

A consumer that reads committed messages stops at the last stable offset (LSO), where the first open transaction of a
partition began; a producer that hangs holds up all that comes behind, for minutes. The consumer stays as it is, and so
does what it commits. When messages have waited behind the LSO for some seconds while it stands there, a thread reads
the stored batches behind it and hands on the records that are said already, with their places (see
`schemas.kafka.unfinished`). The consumer delivers them again when the transaction is over, and the inbox drops them.

Order: messages of one key come in the order of their partition, except that those of an open transaction, and of a
batch that can't be read here (it is corrupt or unpacks to more than 16 MiB), come when the consumer gets there.
"""

import asyncio
import threading
import time
from collections import deque
from collections.abc import Iterable, Mapping
from contextlib import suppress
from dataclasses import dataclass
from typing import Final

import structlog

from schemas.brokers import Kafka
from schemas.kafka.raw import Ends, Leaders, Partition, opened
from schemas.kafka.record import KafkaRecord
from services.shell.held_partition import HeldPartition

_LOOKS: Final = 3
"""Looks in the time after which messages count as held up."""
_HELD_LOOK_S: Final = 0.5
_FULL_LOOK_S: Final = 0.05
"""Between two looks while something is held up; while what was found waits to be taken."""
_LOOK_LIMIT_S: Final = 30.0
_FETCHES: Final = 16
"""In one look, at most."""
_AHEAD: Final = 2000
_AHEAD_BYTES: Final = 4 * 1024 * 1024
"""What is read and not yet taken, at most; one record may go beyond it."""
_LEAVE_S: Final = 2.0

log = structlog.get_logger("shell.open_transactions")


@dataclass(frozen=True, slots=True)
class Held:
    """A partition in which messages wait behind an open transaction.

    offset: where the transaction begins. since: Unix time in seconds. producer_id: None before it was read.
    """

    offset: int
    since: float
    producer_id: int | None


class OpenTransactions:
    """Reads behind open transactions, in a thread of its own. Its methods never wait for a broker, and never raise.

    after_s: how long messages wait until they count as held up. unpack: as in `record_of`.
    """

    def __init__(self, kafka: Kafka, *, after_s: float = 5.0, unpack: bool = False) -> None:
        self._kafka, self._after_s, self._unpack = kafka, after_s, unpack
        self._lock = threading.Lock()
        self._stands: dict[Partition, int] = {}
        self._open: dict[Partition, HeldPartition] = {}
        self._found: deque[KafkaRecord] = deque()
        self._bytes = 0
        self._leaders: Leaders | None = None
        self._is_away = False
        self._loop = asyncio.new_event_loop()
        self._stop = asyncio.Event()
        self._thread = threading.Thread(target=self._run, name="open-transactions", daemon=True)
        self._thread.start()

    def beyond(self, stands: Mapping[Partition, int], limit: int) -> list[KafkaRecord]:
        """Up to `limit` records that are said behind open transactions, in the order of their partitions.

        stands: the partitions of this process that its consumer has read to their (committed) end, and the offset at
        which it stands there: that of the client library's last _PARTITION_EOF.
        """
        taken: list[KafkaRecord] = []
        with self._lock:
            self._stands = dict(stands)
            while self._found and len(taken) < limit:
                record = self._found.popleft()
                self._bytes -= _size(record)
                if _partition(record) in self._stands:
                    taken.append(record)
        return taken

    def forget(self, partitions: Iterable[Partition]) -> None:
        """These partitions are no longer this process's, or what was taken of them was thrown away."""
        gone = set(partitions)
        with self._lock:
            for partition in gone:
                self._open.pop(partition, None)
                self._stands.pop(partition, None)
            self._found = deque(record for record in self._found if _partition(record) not in gone)
            self._bytes = sum(map(_size, self._found))

    def held(self) -> dict[Partition, Held]:
        """The partitions in which messages are held up now."""
        with self._lock:
            held = [it for it in self._open.values() if it.is_held]
            wall = time.time() - time.monotonic()
            return {it.place: Held(it.lso, wall + it.since, it.holder) for it in held}

    def close(self) -> None:
        """End the thread; what was found and not taken comes again."""
        if self._thread.is_alive():
            self._loop.call_soon_threadsafe(self._stop.set)
            self._thread.join(_LEAVE_S + _LEAVE_S)

    # --- the thread -------------------------------------------------------------------------------------------------

    def _run(self) -> None:
        self._loop.run_until_complete(self._watch())
        self._loop.close()

    async def _watch(self) -> None:
        while not self._stop.is_set():
            try:
                async with asyncio.timeout(_LOOK_LIMIT_S):
                    await self._look()
                self._is_away = False
            # whatever fails here, the consumer goes on without it, and the next look begins with a new connection
            except Exception as error:
                self._tell_away(error)
                await self._leave()
            await self._pause()
        await self._leave()

    def _tell_away(self, error: Exception) -> None:
        if not self._is_away:
            log.warning("can't look behind open transactions", reason=f"{type(error).__name__}: {error}"[:300])
        self._is_away = True

    async def _pause(self) -> None:
        pause_s = self._after_s / _LOOKS
        if not self._has_room():
            pause_s = _FULL_LOOK_S
        elif self.held():
            pause_s = min(pause_s, _HELD_LOOK_S)
        with suppress(TimeoutError):
            await asyncio.wait_for(self._stop.wait(), pause_s)

    async def _leave(self) -> None:
        leaders, self._leaders = self._leaders, None
        if leaders is None:
            return
        try:
            await asyncio.wait_for(leaders.close(), _LEAVE_S)
        except Exception as error:
            log.debug("a connection that would not close", reason=f"{type(error).__name__}: {error}"[:300])

    async def _look(self) -> None:
        """Where the partitions stand now; then what can be read of those that are held up, while there is room."""
        with self._lock:
            stands = dict(self._stands)
        if not stands:
            return
        if self._leaders is None:
            self._leaders = await opened(self._kafka)
        self._note(await self._leaders.ends(stands), time.monotonic())
        for _ in range(_FETCHES):
            if self._stop.is_set() or not await self._read(self._leaders):
                return

    def _note(self, ends: Mapping[Partition, Ends], now: float) -> None:
        with self._lock:
            for partition in [partition for partition in self._open if partition not in self._stands]:
                del self._open[partition]
            for partition, end in ends.items():
                if partition in self._stands:
                    self._update(partition, end, now)

    def _update(self, partition: Partition, end: Ends, now: float) -> None:
        it = self._open.get(partition) or HeldPartition(partition, end, now, unpack=self._unpack)
        if it.update(end, self._stands[partition], now, self._after_s):
            self._open[partition] = it
        elif self._open.pop(partition, None):
            it.over()

    async def _read(self, leaders: Leaders) -> bool:
        """Fetch once from the partitions that are held up, hand on what is said; whether there may be more."""
        starts = self._starts()
        if not starts:
            return False
        went_on = False
        fetched = await leaders.fetch({it.place: start for it, start in starts.items()})
        for it, start in starts.items():
            if it.place in fetched and it.take(fetched[it.place], start):
                went_on = True
                self._put_last(it)
            self._hand_on(it)
        return went_on

    def _starts(self) -> dict[HeldPartition, int]:
        """What to fetch, and from where; records that waited for room go first."""
        with self._lock:
            held = list(self._open.values())
        for it in held:
            self._hand_on(it)
        if not self._has_room():
            return {}
        return {it: it.start for it in held if it.start is not None}

    def _put_last(self, it: HeldPartition) -> None:
        """The broker gives a batch that is larger than an answer to the partition that is asked for first only."""
        with self._lock:
            if self._open.get(it.place) is it:
                self._open[it.place] = self._open.pop(it.place)

    def _hand_on(self, it: HeldPartition) -> None:
        """Records of a partition go to who takes them, as long as there is room for them."""
        while self._has_room():
            record = it.next()
            if record is None:
                return
            with self._lock:
                if self._open.get(it.place) is not it:
                    return
                self._found.append(record)
                self._bytes += _size(record)

    def _has_room(self) -> bool:
        return len(self._found) < _AHEAD and self._bytes < _AHEAD_BYTES


def _partition(record: KafkaRecord) -> Partition:
    return record.topic, record.partition


def _size(record: KafkaRecord) -> int:
    headers = sum(len(name) + len(value or b"") for name, value in record.headers)
    return len(record.key or b"") + len(record.value or b"") + headers
