"""The keys of one relay that wait, because a row of theirs can't be published."""

import time
from collections.abc import Callable, Collection
from typing import Final, NamedTuple

from outbox.sending import Failure

BLOCKED_S: Final = 30.0
"""A blocked key's next row is tried again after this time."""


class Blocked(NamedTuple):
    """One key. seq, topic: of the row that is in the way. why: a sentence.

    since: seconds since 1970. until: when it is tried again, by the monotonic clock.
    """

    seq: int
    topic: str
    why: str
    since: float
    until: float


class BlockedKeys:
    """Changed by the relay's thread, read by any: `all` is never changed, but replaced."""

    def __init__(self, clock: Callable[[], float] = time.monotonic) -> None:
        self._clock = clock
        self.all: dict[str, Blocked] = {}

    def waiting(self) -> list[str]:
        """Those whose rows are not to be looked at now."""
        now = self._clock()
        return [key for key, blocked in self.all.items() if blocked.until > now]

    def settle(self, passed_over: Collection[str], failures: Collection[Failure], blocked_s: float) -> None:
        """A round is over in which the rows of `passed_over` were not looked at, and these ones failed for good.

        Keys whose time was up, and that are not among the failures, are free.
        """
        if not failures and len(passed_over) == len(self.all):
            return
        kept = {key: self.all[key] for key in passed_over}
        for failure in failures:
            seq, _, key = failure.head
            known = self.all.get(key)
            since = known.since if known and known.seq == seq else time.time()
            kept[key] = Blocked(seq, failure.topic, failure.why, since, self._clock() + blocked_s)
        self.all = kept
