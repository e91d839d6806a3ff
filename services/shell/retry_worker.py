"""The retry worker: hands the loop the messages whose time in the retry table has come."""

import time
from collections.abc import Callable
from datetime import datetime, timedelta

from schemas.codec import Codec
from services.shell.claims import Claims
from services.shell.delivery import Delivery
from services.shell.gate import Gates
from services.shell.reading import from_waiting
from services.shell.waiting import Waiting


class RetryWorker:
    """poll_s: between two looks at the table. clock: the time now, UTC."""

    def __init__(
        self,
        claims: Claims,
        gates: Gates,
        codec: Codec,
        topic_prefix: str,
        poll_s: float,
        clock: Callable[[], datetime],
    ) -> None:
        self._claims, self._gates, self._codec = claims, gates, codec
        self._prefix, self._poll_s, self._clock = topic_prefix, poll_s, clock
        self._claimed: list[Waiting] = []
        self._looked_at = 0.0

    def due(self, limit: int) -> list[Delivery]:
        """Messages to be tried again now, of about `limit` checkouts, each one's in order.

        Raises RegistryUnavailableError; what was claimed stays claimed then.
        """
        if limit > 0 and time.monotonic() - self._looked_at >= self._poll_s:
            self._claims.renew()
            self._claimed += self._claim(limit)
            self._looked_at = time.monotonic()
        deliveries = [from_waiting(row, self._codec, self._prefix) for row in self._claimed]
        self._claimed = []
        return deliveries

    def release(self) -> None:
        """Let others have what was claimed and not settled."""
        self._claims.release()

    def forget(self, keep_days: int) -> None:
        """Drop rows that are over for longer."""
        self._claims.forget(self._clock() - timedelta(days=keep_days))

    def _claim(self, limit: int) -> list[Waiting]:
        """What is due; of an operation whose provider is just back only as much as it is asked at once."""
        now, shut, slow = self._clock(), self._gates.shut(), self._gates.slow()
        claimed = self._claims.due(now, limit, [*shut, *slow])
        for gate, places in slow.items():
            claimed += self._claims.due(now, min(limit, places), gate=gate)
        return claimed
