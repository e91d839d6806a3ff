"""When a message is tried again, and when it is given up. Pure: a fault and a count in, a time or an end out."""

from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime, timedelta
from enum import StrEnum
from typing import Final

from dlq.letter import Disposition


class FaultClass(StrEnum):
    """What kind of fault it was: it decides whether trying again can help, and how often."""

    EARLY = "early"
    PROVIDER = "provider"
    COMPENSATION = "compensation"
    BUG = "bug"
    REFUSED = "refused"
    NOT_STORABLE = "not_storable"
    UNSAFE = "unsafe"
    UNDECODABLE = "undecodable"
    SCHEMA = "schema"
    REGISTRY = "registry"


FINAL: Final[Mapping[FaultClass, Disposition]] = {
    FaultClass.REFUSED: Disposition.FATAL,
    FaultClass.UNSAFE: Disposition.UNSAFE,
    FaultClass.UNDECODABLE: Disposition.UNDECODABLE,
}
"""Faults that trying again can't mend."""


@dataclass(frozen=True, slots=True)
class Again:
    """Try again at `at`."""

    at: datetime


@dataclass(frozen=True, slots=True)
class Dead:
    """Give up."""

    disposition: Disposition


@dataclass(frozen=True, slots=True, kw_only=True)
class Policy:
    """Back-off and limits.

    first_s, step_s, most_s: the n-th wait is first + (n - 1) * step, at most `most`, seconds. early_first_s,
    early_most_s: the same, doubling, for what came too early or has no schema yet. jitter: a wait is up to this share
    longer, so that what failed together does not come back together. attempts: tries by class of fault. max_age_s: a
    message that failed first so long ago is not tried again. schema_s: a schema that the registry does not give is
    asked for so long.
    """

    first_s: float = 30.0
    step_s: float = 30.0
    most_s: float = 300.0
    early_first_s: float = 1.0
    early_most_s: float = 15.0
    jitter: float = 0.1
    max_age_s: float = 24 * 3600.0
    schema_s: float = 60.0
    attempts: Mapping[FaultClass, int]

    def wait_s(self, fault: FaultClass, attempts: int, chance: float = 0.0) -> float:
        """Seconds until the next try after `attempts` tries. chance: 0 to 1, for the jitter."""
        if fault is FaultClass.REGISTRY:
            wait = self.early_most_s
        elif fault in (FaultClass.EARLY, FaultClass.SCHEMA):
            wait = min(self.early_first_s * 2.0 ** min(attempts - 1, 32), self.early_most_s)
        else:
            wait = min(self.first_s + self.step_s * (attempts - 1), self.most_s)
        return wait * (1 + self.jitter * chance)

    def next_step(
        self, fault: FaultClass, attempts: int, first_failed_at: datetime, at: datetime, chance: float
    ) -> Again | Dead:
        """What becomes of a message after its `attempts`-th try failed at `at`."""
        if fault in FINAL:
            return Dead(FINAL[fault])
        if fault is FaultClass.SCHEMA and at >= first_failed_at + timedelta(seconds=self.schema_s):
            return Dead(Disposition.UNDECODABLE)
        if attempts >= self.attempts.get(fault, attempts + 1):
            return Dead(Disposition.RETRIES_EXHAUSTED)
        again = at + timedelta(seconds=self.wait_s(fault, attempts, chance))
        if again > first_failed_at + timedelta(seconds=self.max_age_s):
            return Dead(Disposition.DEADLINE)
        return Again(again)
