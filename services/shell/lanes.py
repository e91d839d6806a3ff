"""Keys in order, other keys not held up: each key is a lane, and a lane whose provider call is out waits alone."""

from collections import deque
from collections.abc import Callable, Iterable

from services.shell.delivery import Delivery


class Lanes:
    """Deliveries that were taken and are not settled. Not thread-safe: one loop owns it."""

    def __init__(self) -> None:
        self._waiting: dict[str, deque[Delivery]] = {}
        self._out: dict[str, Delivery] = {}
        self._runnable: deque[str] = deque()
        self._count = 0

    def __len__(self) -> int:
        """Deliveries that are waiting or out."""
        return self._count + len(self._out)

    @property
    def runnable(self) -> bool:
        """Whether a lane waits that nothing holds up."""
        return bool(self._runnable)

    def add(self, deliveries: Iterable[Delivery]) -> None:
        """New deliveries, in the order of their partitions."""
        for delivery in deliveries:
            self._append(delivery)

    def take(self, limit: int) -> list[Delivery]:
        """Whole lanes that nothing holds up, about `limit` deliveries."""
        batch: list[Delivery] = []
        while self._runnable and len(batch) < limit:
            batch.extend(self._waiting.pop(self._runnable.popleft(), ()))
        self._count -= len(batch)
        return batch

    def hold(self, delivery: Delivery) -> None:
        """Its provider call is out: its lane waits."""
        self._out[delivery.key] = delivery

    def postpone(self, deliveries: Iterable[Delivery]) -> None:
        """Deliveries of a held lane that a batch had to leave, in their order."""
        self.add(deliveries)

    def put_back(self, batch: Iterable[Delivery]) -> None:
        """A batch that could not be settled at all: it goes first again."""
        later, self._waiting, self._runnable = self._waiting, {}, deque()
        self._count = 0
        self.add(batch)
        for lane in later.values():
            self.add(lane)

    def release(self, delivery: Delivery) -> None:
        """Its answer is there: it goes first in its lane. One that was given away meanwhile is not waited for."""
        if self._out.pop(delivery.key, None) is not delivery:
            return
        lane = self._waiting.setdefault(delivery.key, deque())
        lane.appendleft(delivery)
        self._count += 1
        self._runnable.append(delivery.key)

    def give_back(self, belongs: Callable[[Delivery], bool]) -> None:
        """Forget deliveries that are now somebody else's; those whose call is out stay until the answer."""
        for key, lane in list(self._waiting.items()):
            kept = deque(delivery for delivery in lane if not belongs(delivery))
            self._count -= len(lane) - len(kept)
            if kept:
                self._waiting[key] = kept
            else:
                del self._waiting[key]
        # a key whose lane is gone must not stay runnable: the same key may come back and be held
        self._runnable = deque(key for key in self._runnable if key in self._waiting)

    def _append(self, delivery: Delivery) -> None:
        lane = self._waiting.get(delivery.key)
        if lane is None:
            lane = self._waiting[delivery.key] = deque()
            if delivery.key not in self._out:
                self._runnable.append(delivery.key)
        lane.append(delivery)
        self._count += 1
