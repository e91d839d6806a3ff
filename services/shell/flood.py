"""When most of a partition's messages fail, something is wrong with more than the messages: stop.

Pure: outcomes in, "go on" or "stop" out. A partition that is stopped is tried again with a single message.
"""

from collections.abc import Sequence

Partition = tuple[str, int]


class Flood:
    """The newest outcomes of each partition.

    window: how many of them count. at_least: failures before it can be a flood. More than half of the window
    failed is one. at_least 0 turns the rule off.
    """

    def __init__(self, at_least: int, window: int) -> None:
        self._at_least = at_least
        self._window = max(window, 2 * at_least)
        self._outcomes: dict[Partition, dict[int, bool]] = {}
        self._probing: set[Partition] = set()

    def fine(self, partition: Partition, offsets: Sequence[int]) -> None:
        """Messages were handled."""
        self._probing.discard(partition)
        for offset in offsets[-self._window :]:
            self._saw(partition, offset, dead=False)

    def may_fail(self, partition: Partition, offset: int, fine: int = 0) -> bool:
        """Whether one more message of the partition may fail; False: stop the partition.

        fine: messages of the partition that were handled, in a transaction that is not committed yet.
        """
        if self._at_least == 0:
            return True
        if partition in self._probing or self._is_flooded(partition, fine):
            return False
        self._saw(partition, offset, dead=True)
        return True

    def probe(self, partition: Partition) -> None:
        """The partition is tried again: the next message decides."""
        self._outcomes.pop(partition, None)
        self._probing.add(partition)

    def forget(self, partitions: set[Partition]) -> None:
        """Partitions that are somebody else's now."""
        for partition in partitions:
            self._outcomes.pop(partition, None)
            self._probing.discard(partition)

    def _is_flooded(self, partition: Partition, fine: int) -> bool:
        outcomes = list(self._outcomes.get(partition, {}).values())
        newest = outcomes[max(0, len(outcomes) + fine - self._window) :]
        dead = sum(newest)
        return dead >= self._at_least and dead * 2 > min(self._window, len(newest) + fine)

    def _saw(self, partition: Partition, offset: int, *, dead: bool) -> None:
        outcomes = self._outcomes.setdefault(partition, {})
        # a batch that is tried again sees the same offsets again
        outcomes.pop(offset, None)
        outcomes[offset] = dead
        while len(outcomes) > self._window:
            del outcomes[next(iter(outcomes))]
