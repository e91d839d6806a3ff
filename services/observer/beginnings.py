"""Where the reading of each partition begins after a rebalance, and whether it did. Pure.

Faust throws away what it had fetched when partitions move, and may go on behind that: a record of before the move can
still reach its reader and take the mark along, and what lies before it is then dropped when it is fetched again. So
nothing counts, and nothing is acknowledged, until a partition was heard from where its group stands.
"""

from collections import Counter
from collections.abc import Hashable, Mapping, Set
from typing import Final

_TRIES: Final = 5
"""After these a partition begins with what there is: a transaction's mark at its start is no record."""


class Beginnings:
    """generation: of the group, for which all this is known; None: for none."""

    def __init__(self) -> None:
        self.generation: object = None
        self._starts: dict[Hashable, int] = {}
        self._missed: set[Hashable] = set()
        self._tries: Counter[Hashable] = Counter()

    def at(self, generation: object, starts: Mapping[Hashable, int]) -> None:
        """Every partition has been told to begin at its offset here."""
        self.generation, self._starts = generation, dict(starts)
        self._missed, self._tries = set(), Counter()

    def counts(self, generation: object, place: Hashable, offset: int) -> bool:
        """Whether a record counts: its partition began where it should. Otherwise it comes again."""
        if generation != self.generation:
            return False
        start = self._starts.get(place)
        if start is None:
            return True
        if offset > start:
            self._missed.add(place)
            return False
        del self._starts[place]
        return True

    @property
    def awaited(self) -> Set[Hashable]:
        """Partitions of which nothing has counted yet."""
        return self._starts.keys()

    def again(self, passed: Set[Hashable]) -> dict[Hashable, int]:
        """Partitions that have to begin again, and where. passed: those whose reader stands behind all there is."""
        due = {place: start for place, start in self._starts.items() if place in self._missed or place in passed}
        self._missed.clear()
        self._tries.update(due.keys())
        for place in due:
            if self._tries[place] > _TRIES:
                del self._starts[place]
        return {place: start for place, start in due.items() if place in self._starts}
