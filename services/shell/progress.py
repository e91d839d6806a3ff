"""Which offset may be committed: the lowest unfinished message of each partition, whatever was finished after it."""

from collections import deque

Partition = tuple[str, int]


class Progress:
    """Messages taken and finished, by partition."""

    def __init__(self) -> None:
        self._taken: dict[Partition, deque[int]] = {}
        self._finished: dict[Partition, set[int]] = {}
        self._moved: dict[Partition, int] = {}

    def take(self, partition: Partition, offset: int) -> None:
        """A message was taken, in the order of its partition."""
        self._taken.setdefault(partition, deque()).append(offset)
        self._finished.setdefault(partition, set())

    def finish(self, partition: Partition, offset: int) -> None:
        """A message is settled; nothing happens when its partition was given away meanwhile."""
        if partition not in self._taken:
            return
        taken, finished = self._taken[partition], self._finished[partition]
        finished.add(offset)
        while taken and taken[0] in finished:
            done = taken.popleft()
            finished.discard(done)
            self._moved[partition] = done + 1

    def first_unfinished(self, partition: Partition) -> int | None:
        """The lowest offset that was taken and is not settled."""
        taken = self._taken.get(partition)
        return taken[0] if taken else None

    def moved(self) -> dict[Partition, int]:
        """The next offsets to consume, of the partitions that moved since this was last asked."""
        moved, self._moved = self._moved, {}
        return moved

    def forget(self, partitions: set[Partition]) -> dict[Partition, int]:
        """Partitions that go to somebody else; the offsets not yet asked for of those."""
        left = {partition: offset for partition, offset in self._moved.items() if partition in partitions}
        for partition in partitions:
            self._taken.pop(partition, None)
            self._finished.pop(partition, None)
            self._moved.pop(partition, None)
        return left
