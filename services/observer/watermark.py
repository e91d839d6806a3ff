"""Until when everything that was said is known here. Without it, what is merely late would be taken for missing.

At an instant the ends of all topics are noted; once everything before them has been folded into the table, all that
was on the topics at that instant is known. While the past is read (a rebuild, a broker that was away) the mark doesn't
move, and nothing is judged that could still be on its way. Pure.
"""

from collections.abc import Hashable, Mapping, Set


class Watermark:
    """reached_us: everything that was on the topics then has been folded; None until that is known once."""

    def __init__(self) -> None:
        self.reached_us: int | None = None
        self._noted_us: int | None = None
        self._ends: dict[Hashable, int] = {}
        self._quiet: dict[Hashable, tuple[int, int]] = {}
        self._behind: dict[Hashable, int] = {}

    def forget(self) -> None:
        """The partitions have changed: nothing is known any more."""
        self.reached_us = self._noted_us = None
        self._ends, self._quiet, self._behind = {}, {}, {}

    @property
    def wants_ends(self) -> bool:
        """Whether the next step is to note the ends of the topics."""
        return self._noted_us is None

    def note(self, now_us: int, ends: Mapping[Hashable, int]) -> None:
        """The offsets behind the last record of every partition, asked for after `now_us`."""
        self._noted_us, self._ends = now_us, dict(ends)

    def open(self, folded: Mapping[Hashable, int]) -> list[Hashable]:
        """Partitions with something before the noted end that was not folded. folded: offset behind the last one."""
        return [
            place for place, end in self._ends.items() if max(folded.get(place, 0), self._behind.get(place, 0)) < end
        ]

    def passed(self, fetched: Mapping[Hashable, int]) -> set[Hashable]:
        """Of these positions those that stand behind all that was noted."""
        return {place for place, position in fetched.items() if position >= self._ends.get(place, 0)}

    def settle(
        self, folded: Mapping[Hashable, int], fetched: Mapping[Hashable, int], busy: Set[Hashable]
    ) -> int | None:
        """Move the mark where all is folded; the new mark, or None.

        fetched: positions of the consumer in what is open. busy: partitions with messages that wait to be folded. A
        position may stand behind the end although nothing was folded: the rest are transaction markers, or it was
        folded before a restart. It counts when it is found unchanged a second time, with nothing waiting.
        """
        still_open = False
        for place in self.open(folded):
            now = (fetched.get(place, -1), folded.get(place, 0))
            at_end = now[0] >= self._ends[place] and place not in busy
            if at_end and self._quiet.get(place) == now:
                self._behind[place] = self._ends[place]
            else:
                still_open = True
            self._quiet[place] = now if at_end else (-1, -1)
        if self._noted_us is None or still_open:
            return None
        self.reached_us, self._noted_us = self._noted_us, None
        return self.reached_us
