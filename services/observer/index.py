"""The overview of all checkouts of one worker: counts, rates, what is stuck, what is broken. Derived from the table."""

from collections import Counter, deque
from collections.abc import Iterator
from heapq import heapify, heappop, heappush
from typing import Final, NamedTuple

from services.observer.instants import SECOND
from services.observer.rules import Finding
from services.observer.steps import NAMES, Done
from services.observer.summary import Summary

RATE_S: Final = 60
"""The window of the rates."""
STEPS_S: Final = 300
"""The window of the steps' durations."""
_SAMPLES: Final = 2000
_RECENT: Final = 200
_MOST_CODES: Final = 50
_FIGURES: Final = 2


class Breach(NamedTuple):
    """A rule that a checkout breaks now."""

    checkout_id: str
    finding: Finding


class Index:
    """Summaries by checkout, and what is counted of them.

    horizon_us: a checkout whose beginning is missing, and whose first known event is older than this, began before what
    is kept: nothing can be said about it.
    """

    def __init__(self) -> None:
        self.states: Counter[str] = Counter()
        self._known: dict[str, Summary] = {}
        self._suspects: dict[str, Summary] = {}
        self._ends: dict[int, Counter[tuple[str, str]]] = {}
        self._took: dict[str, deque[Done]] = {name: deque(maxlen=_SAMPLES) for name in NAMES}
        self._leaving: list[tuple[int, str]] = []
        self._recent: deque[str] = deque(maxlen=_RECENT)

    def __len__(self) -> int:
        return len(self._known)

    def put(self, checkout_id: str, new: Summary) -> None:
        """A checkout is new or has changed; what was counted of it before no longer counts."""
        old = self._known.get(checkout_id)
        if old is not None:
            self._count(old, -1)
        else:
            self._recent.append(checkout_id)
        self._known[checkout_id] = new
        self._count(new, 1)
        self._note_steps(old, new)
        if new.suspect:
            self._suspects[checkout_id] = new
        else:
            self._suspects.pop(checkout_id, None)
        if new.leaves:
            heappush(self._leaving, (new.last_us, checkout_id))

    def drop(self, checkout_id: str) -> None:
        """A checkout has left the table."""
        old = self._known.pop(checkout_id, None)
        if old is not None:
            self._count(old, -1)
            self._suspects.pop(checkout_id, None)

    def _count(self, summary: Summary, by: int) -> None:
        self.states[summary.state] += by
        if summary.ended_us is not None and summary.outcome is not None:
            self._ends.setdefault(summary.ended_us // SECOND, Counter())[summary.outcome] += by

    def _note_steps(self, old: Summary | None, new: Summary) -> None:
        before = {step.step for step in old.done} if old else set()
        for step in new.done:
            if step.step not in before:
                self._took[step.step].append(step)

    def get(self, checkout_id: str) -> Summary | None:
        """What is known of a checkout."""
        return self._known.get(checkout_id)

    def recent(self, most: int) -> list[tuple[str, Summary]]:
        """The checkouts that came last."""
        found = ((each, self._known[each]) for each in reversed(self._recent) if each in self._known)
        return [pair for pair, _ in zip(found, range(most), strict=False)]

    def breaches(self, heard_us: int | None, horizon_us: int) -> list[Breach]:
        """What is broken, newest first. heard_us: everything said until then is known; None: not even that is known."""
        found = [
            Breach(checkout_id, finding)
            for checkout_id, summary in self._suspects.items()
            if summary.begun or summary.first_us >= horizon_us
            for finding in summary.findings
            if finding.due_us <= (heard_us or 0)
        ]
        return sorted(found, key=lambda breach: (-breach.finding.fault.at_us, breach.checkout_id))

    def stuck(self, heard_us: int | None) -> list[tuple[str, Summary]]:
        """Checkouts that have not ended, or not let go, within their limit; the oldest first."""
        found = [
            (checkout_id, summary)
            for checkout_id, summary in self._suspects.items()
            if summary.stuck_us is not None and summary.stuck_us <= (heard_us or 0)
        ]
        return sorted(found, key=lambda pair: (pair[1].since_us, pair[0]))

    def rates(self, now_us: int) -> dict[tuple[str, str], int]:
        """(outcome, code) -> checkouts that ended in the last minute."""
        now = now_us // SECOND
        for second in [second for second in self._ends if second < now - 2 * RATE_S]:
            del self._ends[second]
        total: Counter[tuple[str, str]] = Counter()
        for second, ends in self._ends.items():
            if now - RATE_S < second <= now:
                total.update(ends)
        return _bounded({outcome: count for outcome, count in total.items() if count > 0})

    def durations(self, now_us: int) -> dict[str, Counter[float]]:
        """Step -> seconds (to two figures) -> how often; of the steps that were taken in the last minutes."""
        since = now_us - STEPS_S * SECOND
        return {
            name: Counter(rounded(step.took_us / SECOND) for step in took if step.at_us >= since)
            for name, took in self._took.items()
        }

    def leaving(self, before_us: int, most: int) -> Iterator[str]:
        """Checkouts that may leave: nothing was said of them since `before_us`, or there are more than `most`."""
        over = len(self._known) - most
        while self._leaving and (self._leaving[0][0] < before_us or over > 0):
            last_us, checkout_id = heappop(self._leaving)
            known = self._known.get(checkout_id)
            if known is not None and known.leaves and known.last_us == last_us:
                over -= 1
                yield checkout_id
        if len(self._leaving) > 2 * len(self._known) + _SAMPLES:
            self._leaving = [(known.last_us, key) for key, known in self._known.items() if known.leaves]
            heapify(self._leaving)


def _bounded(rates: dict[tuple[str, str], int]) -> dict[tuple[str, str], int]:
    """The most frequent ones; the rest as the code `other`: an event may name any code."""
    if len(rates) <= _MOST_CODES:
        return rates
    kept: Counter[tuple[str, str]] = Counter()
    for number, ((outcome, code), count) in enumerate(Counter(rates).most_common()):
        kept[outcome, code if number < _MOST_CODES else "other"] += count
    return dict(kept)


def rounded(seconds: float) -> float:
    """To two figures, so that durations of several workers can be counted together."""
    return float(f"{seconds:.{_FIGURES}g}")


def quantile(counts: Counter[float], share: float) -> float | None:
    """The smallest value that at least this share doesn't exceed."""
    wanted, seen = share * counts.total(), 0
    for value in sorted(counts):
        seen += counts[value]
        if seen >= wanted and seen:
            return value
    return None
