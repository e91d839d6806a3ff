"""One partition in which another producer's transaction is open: since when messages wait behind it.

Pure: it is given where the partition ends, the time, and what was fetched.
"""

import structlog

from schemas.kafka.behind import Behind
from schemas.kafka.raw import Ends, Partition
from schemas.kafka.record import KafkaRecord

log = structlog.get_logger("shell.open_transactions")


class HeldPartition:
    """Begins when a transaction is seen open, and is over when no message lies behind one.

    since: monotonic time, from when on messages wait at least. is_held: whether they wait too long, and the consumer
    has come to the LSO. unpack: as in `record_of`.
    """

    def __init__(self, place: Partition, end: Ends, now: float, *, unpack: bool = False) -> None:
        self.place, self.since, self.is_held = place, now, False
        self._behind = Behind(place, end.lso, self._left, unpack=unpack)
        self._mark = end.high
        self._is_told = False

    @property
    def lso(self) -> int:
        """Where the first open transaction begins."""
        return self._behind.lso

    @property
    def holder(self) -> int | None:
        """The id of the producer whose transaction it is; None before it was read."""
        return self._behind.holder

    @property
    def start(self) -> int | None:
        """From which offset on to fetch; None where nothing is to be fetched now."""
        return self._behind.start if self.is_held else None

    def update(self, end: Ends, stands: int, now: float, after_s: float) -> bool:
        """Where the partition ends now, and where its consumer stands. Whether messages lie behind a transaction.

        They wait since `now` when the LSO has passed all that lay in the partition at `since`: transactions that
        follow each other, and overlap, may move the LSO all the time and yet hold up what comes behind.
        """
        if end.high <= end.lso or end.lso < self.lso:
            return False
        if end.lso > self.lso:
            self._behind.move(end.lso)
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

    def take(self, stored: bytes, start: int) -> bool:
        """Find what is said in what was fetched from `start` on; whether there was anything."""
        return self._behind.take(stored, start)

    def next(self) -> KafkaRecord | None:
        """The next record that is said; None when more has to be fetched first."""
        return self._behind.next()

    def _left(self, reason: str) -> None:
        self._tell("what lies behind a transaction is left to the consumer", reason=reason)

    def _tell(self, what: str, **more: object) -> None:
        topic, partition = self.place
        log.warning(what, topic=topic, partition=partition, lso=self.lso, producer_id=self.holder, **more)
