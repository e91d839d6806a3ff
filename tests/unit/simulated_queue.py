"""The retry tables and dead letters of a simulated run, by the shell's rules: order in a lane, tries, replays."""

from collections.abc import Iterator
from dataclasses import dataclass, field
from enum import StrEnum

from schemas.events import Event

Identity = tuple[str, int]
"""Consumer, number of the event."""


class Fate(StrEnum):
    """What became of a message that failed."""

    WAITS = "waits"
    COMPENSATING = "compensating"
    DEAD = "dead"
    RESOLVED = "resolved"


@dataclass(eq=False)
class Copy:
    """A copy of an event on its way to one consumer.

    forgotten: the inbox no longer knows the event. replay: which replay of its dead letter it is. claim: of a copy that
    was taken from the retry table, the claim by which it was.
    """

    consumer: str
    number: int
    event: Event
    forgotten: bool = False
    replay: int = 0
    claim: int = 0

    @property
    def identity(self) -> Identity:
        """Which row of a retry table is its own."""
        return self.consumer, self.number


@dataclass(eq=False)
class Row:
    """A message in a retry table. out: at somebody who handles it now. compensated: what its letter says."""

    copy: Copy
    seq: int
    fate: Fate = Fate.WAITS
    tries: int = 0
    early: bool = False
    replay: int = 0
    out: bool = False
    claim: int = 0
    compensated: bool = False

    @property
    def order(self) -> tuple[bool, int]:
        """Its place in its lane: a replay goes first."""
        return not self.replay, self.seq


@dataclass
class Rows:
    """All rows. holds_up: whether what waits holds up later messages of its lane."""

    holds_up: bool = True
    rows: dict[Identity, Row] = field(default_factory=dict)
    _seq: int = 0

    def find(self, copy: Copy) -> Row | None:
        """The row of a message."""
        return self.rows.get(copy.identity)

    def of(self, copy: Copy) -> Row:
        """The row of a message, a new one if need be."""
        row = self.rows.get(copy.identity)
        if row is None:
            self._seq += 1
            row = self.rows[copy.identity] = Row(copy, self._seq)
        elif not copy.claim:
            row.tries, row.fate, row.replay = 0, Fate.WAITS, copy.replay
        row.out = False
        return row

    def resolve(self, copy: Copy) -> None:
        """Handled; what was a dead letter stays known."""
        row = self.rows.get(copy.identity)
        if row is None:
            return
        row.fate, row.out = Fate.RESOLVED, False
        if not copy.replay and not row.replay:
            del self.rows[copy.identity]

    def is_foreign(self, copy: Copy) -> bool:
        """Whether somebody else has what was taken from the table."""
        row = self.find(copy)
        return copy.claim > 0 and (row is None or row.fate is not Fate.WAITS or row.claim != copy.claim)

    def is_known(self, copy: Copy) -> bool:
        """Whether a replay brings what was handled already, or is being tried."""
        row = self.find(copy)
        return copy.replay > 0 and not copy.claim and row is not None and row.fate is not Fate.DEAD

    def is_behind(self, copy: Copy) -> bool:
        """Whether an earlier message of its lane waits."""
        own = self.find(copy)
        ahead = [row for row in self._lane(copy) if row is not own and row.fate is Fate.WAITS and not row.early]
        if own is not None and own.fate is Fate.WAITS:
            return self.holds_up and not own.early and any(row.order < own.order for row in ahead)
        return self.holds_up and bool(ahead)

    def waiting(self) -> list[Row]:
        """Rows that may be taken now: the first of each lane, and early ones."""
        free = [row for row in self.rows.values() if row.fate is Fate.WAITS and not row.out]
        return [row for row in free if not self.is_behind(row.copy)]

    def dead(self) -> list[Row]:
        """Dead letters."""
        return [row for row in self.rows.values() if row.fate is Fate.DEAD]

    def compensating(self, consumer: str, checkout_id: str) -> Iterator[Row]:
        """What was given up and whose letters wait until everything was let go."""
        for row in self.rows.values():
            ours = row.copy.consumer == consumer and row.copy.event.checkout_id == checkout_id
            if ours and row.fate is Fate.COMPENSATING:
                yield row

    def _lane(self, copy: Copy) -> Iterator[Row]:
        for row in self.rows.values():
            if row.copy.consumer == copy.consumer and row.copy.event.checkout_id == copy.event.checkout_id:
                yield row
