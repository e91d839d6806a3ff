"""Which relay owns which shard: one advisory lock per shard, held by the connection that reads and deletes.

A lost connection is a lost lock, so two relays never believe that they own the same shard. Copies share the
shards evenly: each also holds a shared lock that says "I am here", and keeps no more than its part.
"""

import math
from typing import Any, Final

from psycopg2 import extensions

from outbox.add import SHARDS

_SHARD_LOCK: Final = 0x6F7574  # "out": the class of this library's advisory locks
_PRESENCE_LOCK: Final = 0x6F7575

_COUNT: Final = (
    "SELECT count(*) FROM pg_locks WHERE locktype = 'advisory' AND classid = %s AND objid = 0 AND objsubid = 2"
    " AND database = (SELECT oid FROM pg_database WHERE datname = current_database())"
)
_HERE: Final = "SELECT pg_advisory_lock_shared(%s, 0)"
_TRY: Final = "SELECT pg_try_advisory_lock(%s, %s)"
_RELEASE: Final = "SELECT pg_advisory_unlock(%s, %s)"


class Shards:
    """The shards that this session owns."""

    def __init__(self, session: extensions.connection) -> None:
        self._cursor = session.cursor()
        self.owned: set[int] = set()
        self._ask(_HERE, _PRESENCE_LOCK)

    def share(self) -> None:
        """Take free shards up to this copy's part, give back what is above it."""
        copies = self._ask(_COUNT, _PRESENCE_LOCK)
        part = math.ceil(SHARDS / max(1, copies))
        for shard in sorted(self.owned)[part:]:
            self._ask(_RELEASE, _SHARD_LOCK, shard)
            self.owned.discard(shard)
        for shard in range(SHARDS):
            if len(self.owned) >= part:
                return
            if shard not in self.owned and self._ask(_TRY, _SHARD_LOCK, shard):
                self.owned.add(shard)

    def _ask(self, question: str, *values: int) -> Any:
        self._cursor.execute(question, values)
        [(answer,)] = self._cursor.fetchall()
        return answer
