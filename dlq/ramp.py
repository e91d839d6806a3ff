"""How fast a replay goes: a token bucket, and a ramp that looks at what came back. Pure: time and numbers come in."""

from dataclasses import dataclass, replace
from typing import Final

STAGES: Final = (1.0, 5.0, 25.0, 125.0)
"""Letters per second, one stage after the other."""
STAGE_S: Final = 4.0
LEAST_OUTCOMES: Final = 5
"""A share of fewer outcomes says nothing: one unlucky letter is no reason to stop."""
ANSWERED: Final = 0.8
"""The next stage is for those who keep up: so much of what was sent before this stage's last second is answered."""
LAG_LIMIT: Final = 1000
SLOWEST: Final = 0.25


@dataclass(frozen=True, slots=True, kw_only=True)
class Seen:
    """What can be seen of a replay.

    at_s: seconds on any steady clock. sent, answered, failed_again: letters since the start. lag: live messages that
    the service has not handled yet; None where it can't be told.
    """

    at_s: float
    sent: int
    answered: int
    failed_again: int
    lag: int | None = None

    @property
    def share(self) -> float:
        """The share of failures among the outcomes, 0 to 1; 0 as long as there are too few of them."""
        return self.failed_again / self.answered if self.answered >= LEAST_OUTCOMES else 0.0


@dataclass(frozen=True, slots=True)
class Stop:
    """The ramp gives up; why is a sentence."""

    why: str


@dataclass(frozen=True, slots=True, kw_only=True)
class Ramp:
    """A replay's speed. `next` gives the ramp after an observation, or why to stop.

    rate: letters per second. budget: the share of failures, 0 to 1, that is still well; twice as much ends the replay.
    cap: never faster. since_s: when this rate began; sent_before: how much was sent by then; lag_before: the lag then.
    eased_until_s: a rate that was just halved isn't halved again before. note: the last change, a sentence for people.
    """

    budget: float = 0.10
    cap: float = STAGES[-1]
    rate: float = STAGES[0]
    stage_s: float = STAGE_S
    lag_limit: int = LAG_LIMIT
    since_s: float = 0.0
    sent_before: int = 0
    lag_before: int | None = None
    eased_until_s: float = 0.0
    note: str = ""

    def next(self, seen: Seen) -> "Ramp | Stop":
        """What an observation leads to."""
        if seen.share > 2 * self.budget:
            return Stop(f"{_percent(seen.share)} of the outcomes failed again, more than twice {_percent(self.budget)}")
        if worse := self._worse(seen):
            return self if seen.at_s < self.eased_until_s else self._halved(seen, worse)
        if seen.at_s - self.since_s >= self.stage_s and self.rate < self._fastest and self._answered(seen):
            return self._at(_stage_after(self.rate), seen, "outcomes came back well")
        return self if self.lag_before is not None else replace(self, lag_before=seen.lag)

    @property
    def _fastest(self) -> float:
        return min(self.cap, STAGES[-1])

    def _answered(self, seen: Seen) -> bool:
        due = max(self.sent_before, 1, seen.sent - self.rate)
        return seen.answered >= ANSWERED * due

    def _worse(self, seen: Seen) -> str:
        if seen.share > self.budget:
            return f"{_percent(seen.share)} of the outcomes failed again"
        return f"the service's lag grew to {seen.lag:,} messages" if self._lag_grew(seen) else ""

    def _halved(self, seen: Seen, why: str) -> "Ramp":
        # what was sent at the old rate is still coming back: it is given a stage's time before it counts again
        return replace(self._at(self.rate / 2, seen, why), eased_until_s=seen.at_s + self.stage_s)

    def _lag_grew(self, seen: Seen) -> bool:
        return seen.lag is not None and self.lag_before is not None and seen.lag - self.lag_before > self.lag_limit

    def _at(self, rate: float, seen: Seen, why: str) -> "Ramp":
        speed = max(SLOWEST, min(rate, self._fastest))
        return replace(
            self, rate=speed, since_s=seen.at_s, sent_before=seen.sent, lag_before=seen.lag, note=f"{speed:g}/s: {why}"
        )


def _stage_after(rate: float) -> float:
    return next((stage for stage in STAGES if stage > rate), STAGES[-1])


def _percent(share: float) -> str:
    return f"{100 * share:.0f} %"


@dataclass(slots=True)
class Bucket:
    """A token bucket: so many letters per second, and never more than `burst` of them at once."""

    rate: float
    at_s: float
    burst: float = 1.0
    tokens: float = 1.0

    def pace(self, rate: float, burst: float, at_s: float) -> None:
        """Go on at another rate."""
        self._fill(at_s)
        self.rate, self.burst = rate, max(1.0, burst)

    def take(self, wanted: int, at_s: float) -> int:
        """How many of `wanted` letters may go now."""
        self._fill(at_s)
        given = min(wanted, int(self.tokens))
        self.tokens -= given
        return given

    def wait_s(self) -> float:
        """Seconds from the last call until one more letter may go."""
        return max(0.0, 1.0 - self.tokens) / self.rate

    def _fill(self, at_s: float) -> None:
        self.tokens = min(self.burst, self.tokens + (at_s - self.at_s) * self.rate)
        self.at_s = at_s
