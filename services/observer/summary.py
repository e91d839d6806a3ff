"""What the overview keeps of a checkout. Pure."""

from dataclasses import dataclass

from services.observer.rules import Finding, Limits, findings
from services.observer.states import OPEN, begun, outcome_of, standing
from services.observer.steps import Done, done
from services.observer.timeline import Timeline


@dataclass(frozen=True, slots=True)
class Summary:
    """Instants are microseconds since 1970. partition: of the table. stuck_us: when it counts as stuck; None: never.

    ended_us: when the first of its ends was said. leaves: whether it may leave the table once it is old: it has
    settled, or its beginning isn't known. begun: whether its beginning is known.
    """

    state: str
    partition: int
    since_us: int
    first_us: int
    last_us: int
    ended_us: int | None
    outcome: tuple[str, str] | None
    stuck_us: int | None
    leaves: bool
    begun: bool
    findings: tuple[Finding, ...]
    done: tuple[Done, ...]

    @property
    def suspect(self) -> bool:
        """Whether time alone can make it a breach or stuck, or has."""
        return bool(self.findings) or self.stuck_us is not None


def summary(timeline: Timeline, partition: int, limits: Limits) -> Summary:
    """Of a timeline that has at least one event."""
    state, since_us, ended = standing(timeline)
    return Summary(
        state=state,
        partition=partition,
        since_us=since_us,
        first_us=timeline.said[0].at_us,
        last_us=timeline.said[-1].at_us,
        ended_us=ended.at_us if ended else None,
        outcome=outcome_of(ended) if ended else None,
        stuck_us=since_us + limits.stuck_us if state in OPEN else None,
        leaves=state not in OPEN,
        begun=begun(timeline),
        findings=findings(timeline, limits),
        done=tuple(done(timeline)),
    )
