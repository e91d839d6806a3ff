"""What this process has just committed, kept until the relay sends it: a row that is known need not be read again.

Only a short cut. Whether a row is there, and which one of a key is first, the table says; a record that is
missing here is read from the table.
"""

import threading
import time
from collections.abc import Collection, Iterable
from typing import Final

from outbox.add import Record, shard_of

_MOST: Final = 20_000
"""Together with _LARGE the bound of what is held. Full means that the relay is behind: it needs the oldest next, so
that newcomers stay out."""
_LARGE: Final = 4096
"""Bytes of a payload that is left to the table."""
_AGE_S: Final = 5.0
"""What nobody has asked for after this time (twice at most) was sent already, or is another relay's."""


class Offered:
    """Records by id. `put` and `take` may be called by different threads."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._young: dict[str, Record | None] = {}
        self._old: dict[str, Record | None] = {}
        self._turned_at = time.monotonic()
        self.shards: Collection[int] = ()

    def put(self, records: Iterable[Record]) -> None:
        """Keep those that this process's relay will send."""
        own = self.shards
        mine = [(str(r.id), r) for r in records if shard_of(r.key) in own and len(r.payload or b"") <= _LARGE]
        with self._lock:
            self._turn()
            room = _MOST - len(self._young) - len(self._old)
            for name, record in mine[:room] if room > 0 else ():
                # two with the same id can't be told apart
                self._young[name] = None if name in self._young else record

    def take(self, names: Iterable[str]) -> dict[str, Record]:
        """Those of `names` that are here; they are forgotten."""
        with self._lock:
            self._turn()
            young, old = self._young.pop, self._old.pop
            found = ((name, young(name, None) or old(name, None)) for name in names)
            return {name: record for name, record in found if record is not None}

    def _turn(self) -> None:
        now = time.monotonic()
        if now - self._turned_at > _AGE_S:
            self._young, self._old, self._turned_at = {}, self._young, now
