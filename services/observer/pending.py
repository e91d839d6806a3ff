"""Records that wait: for their schema, and for what lies before them to be settled. Pure."""

from collections import OrderedDict
from collections.abc import Hashable, Iterator
from typing import Any, Final, NamedTuple

TRIED_S: Final = 60.0
"""Then a record whose schema the registry doesn't give counts as undecodable."""
_MOST: Final = 1_000
_MOST_BYTES: Final = 16 * 1024 * 1024
_MOST_BEHIND: Final = 50_000


class Aside(NamedTuple):
    """A record without its schema. place: its partition. since_s: when it was tried first, by a monotonic clock."""

    place: Hashable
    offset: int
    size: int
    since_s: float
    message: Any
    generation: object


class Pending:
    """Records set aside, in the order in which they came; bounded in number and in bytes."""

    def __init__(self, most: int = _MOST, most_bytes: int = _MOST_BYTES) -> None:
        self._most, self._most_bytes, self._bytes = most, most_bytes, 0
        self._kept: OrderedDict[tuple[Hashable, int], Aside] = OrderedDict()

    def __len__(self) -> int:
        return len(self._kept)

    def __iter__(self) -> Iterator[Aside]:
        return iter(list(self._kept.values()))

    def __contains__(self, aside: Aside) -> bool:
        return self._kept.get((aside.place, aside.offset)) is aside

    def put(self, aside: Aside) -> list[Aside]:
        """Set a record aside; those that have to be given up for it, which have been tried longest."""
        self.remove(self._kept.get((aside.place, aside.offset)))
        self._kept[aside.place, aside.offset] = aside
        self._bytes += aside.size
        given_up = []
        while len(self._kept) > self._most or self._bytes > self._most_bytes:
            given_up.append(next(iter(self._kept.values())))
            self.remove(given_up[-1])
        return given_up

    def remove(self, aside: Aside | None) -> None:
        """It is settled."""
        if aside is not None and self._kept.pop((aside.place, aside.offset), None) is not None:
            self._bytes -= aside.size

    def clear(self) -> None:
        """The partitions have changed: all this is read again by the worker that holds them now."""
        self._kept.clear()
        self._bytes = 0


class InOrder:
    """Acknowledgements of a partition in the order of its records, whatever is settled first.

    Faust commits behind the first record that was acknowledged after the committed offset, also where the very next one
    was not: it would be lost with the process.
    """

    def __init__(self) -> None:
        self._open: dict[Hashable, OrderedDict[int, tuple[Any, bool]]] = {}
        self._held = 0

    def take(self, place: Hashable, offset: int, item: Any) -> None:
        """A record is being worked at."""
        waiting = self._open.setdefault(place, OrderedDict())
        self._held += offset not in waiting
        waiting[offset] = (item, False)

    def settle(self, place: Hashable, offset: int) -> list[Any]:
        """It is settled: what may be acknowledged now."""
        waiting, free = self._open.get(place, OrderedDict()), []
        if offset in waiting:
            waiting[offset] = (waiting[offset][0], True)
        while waiting and next(iter(waiting.values()))[1]:
            free.append(waiting.popitem(last=False)[1][0])
        self._held -= len(free)
        return free

    @property
    def is_full(self) -> bool:
        """Whether too much waits behind what is set aside."""
        return self._held > _MOST_BEHIND

    def clear(self) -> None:
        """The partitions have changed: nothing of this may be acknowledged any more."""
        self._open.clear()
        self._held = 0
