"""What was expected of each checkout of a run, and what happened."""

from collections import Counter
from dataclasses import dataclass, field
from typing import Any
from uuid import UUID

from rich.table import Table
from rich.text import Text

from compose.audit.report import Report
from compose.ends import End
from compose.sample import DEAD_LETTER, Kind
from schemas.terminal import safe


@dataclass(slots=True)
class Tally:
    """Expectations by checkout_id, and the ends that were heard."""

    kinds: dict[str, Kind] = field(default_factory=dict)
    outcomes: dict[str, list[str]] = field(default_factory=dict)
    _heard: set[UUID] = field(default_factory=set)

    def expect(self, checkout_id: str, kind: Kind) -> None:
        """This checkout was published."""
        self.kinds[checkout_id] = kind

    def hear(self, end: End) -> None:
        """An end was heard; other runs' are ignored."""
        kind = self.kinds.get(end.checkout_id)
        if end.identity in self._heard:
            return  # a relay that was killed publishes again what it could not delete
        self._heard.add(end.identity)
        if kind is None or (end.outcome == DEAD_LETTER and kind.expected != DEAD_LETTER):
            return
        self.outcomes.setdefault(end.checkout_id, []).append(end.outcome)

    @property
    def all_ended(self) -> bool:
        """Whether everything that was published has come to an end."""
        return len(self.outcomes) == len(self.kinds)

    @property
    def as_expected(self) -> bool:
        """Whether every checkout ended once, as its kind should."""
        return all(self.outcomes.get(key) == [kind.expected] for key, kind in self.kinds.items())

    def checkouts(self) -> list[str]:
        """What of it are checkouts: an undecodable message is none."""
        return [key for key, kind in self.kinds.items() if kind.expected != DEAD_LETTER]

    def table(self) -> Table:
        """Expected and happened, by kind."""
        table = Table(title="what was expected, what happened", title_justify="left")
        for column in ("checkout", "expected", "published", "happened", ""):
            table.add_column(column, justify="right" if column == "published" else "left")
        for title in dict.fromkeys(kind.title for kind in self.kinds.values()):
            table.add_row(*self._row(title))
        return table

    def _row(self, title: str) -> tuple[str, str, str, str, Text]:
        keys = [key for key, kind in self.kinds.items() if kind.title == title]
        expected = self.kinds[keys[0]].expected
        happened = Counter(" + ".join(self.outcomes.get(key, ["nothing yet"])) for key in keys)
        words = ", ".join(f"{outcome} x {count}" if count > 1 else outcome for outcome, count in happened.items())
        good = set(happened) == {expected}
        result = Text("as expected", "green") if good else Text("NOT as expected", "red")
        return title, str(expected), f"{len(keys):,}", safe(words), result

    def as_json(self, report: Report, seconds: float) -> dict[str, Any]:
        """The last line of `checkout run --json`."""
        keys = self.checkouts()
        endings = Counter(outcome for key in keys for outcome in self.outcomes.get(key, [])[:1])
        return {
            "checkouts": len(keys),
            "ended": sum(key in self.outcomes for key in keys),
            "endings": dict(sorted(endings.items())),
            "audit": report.as_json(),
            "seconds": round(seconds, 1),
        }
