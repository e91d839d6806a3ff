"""Dead letters of the same cause, as one line each: a thousand letters of one fault are one thing to look at."""

from collections import Counter
from collections.abc import Iterable
from dataclasses import dataclass
from datetime import datetime

from dlq.ledger import State
from dlq.letters import DeadLetter


@dataclass(frozen=True, slots=True, kw_only=True)
class Group:
    """Letters with the same service, event type, error class and fingerprint.

    first_failed_at, last_failed_at: of all its letters, UTC. oldest_age_s: since the first failure, seconds. replayed:
    how many were replayed at all; failed_again: how many of those failed again. sample: its letter that failed last.
    """

    service: str
    event_type: str
    error_class: str
    fingerprint: str
    count: int
    first_failed_at: datetime
    last_failed_at: datetime
    oldest_age_s: float
    states: dict[State, int]
    replayed: int
    failed_again: int
    sample: DeadLetter


def groups(letters: Iterable[DeadLetter], now: datetime) -> list[Group]:
    """The groups of these letters, the largest first; of equal ones the older first."""
    by_cause: dict[tuple[str, ...], list[DeadLetter]] = {}
    for letter in letters:
        cause = (letter.service, letter.event_type, letter.error_class, letter.fingerprint)
        by_cause.setdefault(cause, []).append(letter)
    found = [_group(members, now) for members in by_cause.values()]
    return sorted(found, key=lambda group: (-group.count, group.first_failed_at))


def _group(members: list[DeadLetter], now: datetime) -> Group:
    sample = max(members, key=lambda letter: letter.failed_at)
    first = min(letter.first_failed_at for letter in members)
    states = Counter(letter.state for letter in members)
    return Group(
        service=sample.service,
        event_type=sample.event_type,
        error_class=sample.error_class,
        fingerprint=sample.fingerprint,
        count=len(members),
        first_failed_at=first,
        last_failed_at=sample.failed_at,
        oldest_age_s=max(0.0, (now - first).total_seconds()),
        states={state: states[state] for state in State if state in states},
        replayed=sum(letter.replay_count > 0 for letter in members),
        failed_again=states[State.FAILED_AGAIN],
        sample=sample,
    )
