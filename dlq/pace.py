"""How many letters of a replay may go now: all, at a rate, or as a ramp finds right."""

import time
from collections.abc import Iterable
from dataclasses import replace
from typing import Final

from dlq.lag import live_lag
from dlq.letters import DeadLetter
from dlq.ramp import STAGES, Bucket, Ramp, Seen, Stop
from dlq.request import Request
from dlq.settings import DlqSettings

_LAG_EVERY_S: Final = 2.0
_BURST_S: Final = 0.2
"""After a pause at most what this time would have given."""


class Pace:
    """The pace of one job. note: what the ramp did last, "" before."""

    def __init__(self, settings: DlqSettings, request: Request, letters: Iterable[DeadLetter]) -> None:
        now = time.monotonic()
        self._settings = settings
        self._services = sorted({letter.service for letter in letters}) if request.ramp else []
        self._ramp = _ramp(request, now) if request.ramp else None
        rate = self._ramp.rate if self._ramp else request.rate
        self._bucket = _bucket(rate, now) if rate else None
        self._lag: int | None = None
        self._lag_at_s = -_LAG_EVERY_S
        self.note = ""

    def allow(self, wanted: int, seen: Seen) -> int | Stop:
        """How many of `wanted` letters may go now, or why none may go any more."""
        if self._ramp is not None:
            found = self._ramp.next(replace(seen, lag=self._lag_at(seen.at_s)))
            if isinstance(found, Stop):
                return found
            self._follow(found, seen.at_s)
        return wanted if self._bucket is None else self._bucket.take(wanted, seen.at_s)

    def wait_s(self) -> float:
        """Seconds until one more may go."""
        return 0.0 if self._bucket is None else self._bucket.wait_s()

    def _follow(self, ramp: Ramp, at_s: float) -> None:
        if self._bucket is not None and ramp.rate != self._bucket.rate:
            self._bucket.pace(ramp.rate, _BURST_S * ramp.rate, at_s)
        self._ramp, self.note = ramp, ramp.note

    def _lag_at(self, at_s: float) -> int | None:
        if at_s - self._lag_at_s >= _LAG_EVERY_S:
            self._lag, self._lag_at_s = live_lag(self._settings, self._services), at_s
        return self._lag


def _ramp(request: Request, now: float) -> Ramp:
    return Ramp(budget=request.budget, cap=request.rate or STAGES[-1], rate=min(STAGES[0], request.rate or STAGES[0]),
                since_s=now)  # fmt: skip


def _bucket(rate: float, now: float) -> Bucket:
    return Bucket(rate=rate, at_s=now, burst=max(1.0, _BURST_S * rate))
