"""Which relay owns which shard: one advisory lock per shard, held by the connection that reads and deletes.

A lost connection is a lost lock, so two relays never believe that they own the same shard. Copies share the
shards evenly: each also holds a shared lock that says "I am here", and keeps no more than its part.
"""

import math
from typing import Final

from sqlalchemy import Connection, text

from outbox.add import SHARDS

_SHARD_LOCK: Final = 0x6F7574  # "out": the class of this library's advisory locks
_PRESENCE_LOCK: Final = 0x6F7575

_COUNT = text(
    "SELECT count(*) FROM pg_locks WHERE locktype = 'advisory' AND classid = :class AND objid = 0 AND objsubid = 2"
    " AND database = (SELECT oid FROM pg_database WHERE datname = current_database())"
)
_HERE = text("SELECT pg_advisory_lock_shared(:class, 0)")
_TRY = text("SELECT pg_try_advisory_lock(:class, :shard)")
_RELEASE = text("SELECT pg_advisory_unlock(:class, :shard)")


class Shards:
    """The shards that this connection owns."""

    def __init__(self, db: Connection) -> None:
        self._db = db
        self.owned: set[int] = set()
        db.execute(_HERE, {"class": _PRESENCE_LOCK})

    def share(self) -> None:
        """Take free shards up to this copy's part, give back what is above it."""
        copies = self._db.execute(_COUNT, {"class": _PRESENCE_LOCK}).scalar_one()
        part = math.ceil(SHARDS / max(1, copies))
        for shard in sorted(self.owned)[part:]:
            self._db.execute(_RELEASE, {"class": _SHARD_LOCK, "shard": shard})
            self.owned.discard(shard)
        for shard in range(SHARDS):
            if len(self.owned) >= part:
                return
            if shard not in self.owned and self._try(shard):
                self.owned.add(shard)

    def _try(self, shard: int) -> bool:
        return bool(self._db.execute(_TRY, {"class": _SHARD_LOCK, "shard": shard}).scalar_one())
