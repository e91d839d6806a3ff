"""Takes messages out of the retry table when their time has come: many workers, each lane at one of them.

A claim is a lease: it is renewed while its holder lives, and a killed worker's rows are free again when it ends.
"""

import time
from collections.abc import Sequence
from datetime import datetime
from typing import Final
from uuid import UUID

from sqlalchemy import Engine, text

from services.shell.waiting import READ, Waiting, waiting_from

_FREE: Final = "(claimed_until IS NULL OR claimed_until < now())"  # by the database's clock, which all share
_UNTIL: Final = "now() + make_interval(secs => :lease_s)"
# the lane's first row decides; whoever has it takes those behind it as well, so that they stay in order
_CLAIM: Final = text(
    "WITH heads AS (SELECT letter_id, lane, early FROM retries WHERE status = 'pending'"  # noqa: S608 - names from this code
    f" AND ((next_attempt_at <= :now AND gate <> ALL(:shut)) OR deadline_at <= :now) AND {_FREE}"
    " AND (CAST(:gate AS text) IS NULL OR gate = :gate)"
    " ORDER BY next_attempt_at LIMIT :limit FOR UPDATE SKIP LOCKED)"
    f" UPDATE retries SET claimed_by = :me, claimed_until = {_UNTIL} WHERE status = 'pending' AND {_FREE}"
    " AND (letter_id IN (SELECT letter_id FROM heads)"
    " OR (NOT early AND lane IN (SELECT lane FROM heads WHERE NOT early)))"
    f" RETURNING {READ}"
)
_RENEW: Final = text(
    f"UPDATE retries SET claimed_until = {_UNTIL} WHERE claimed_by = :me AND status = 'pending'"  # noqa: S608
)
_RELEASE: Final = text("UPDATE retries SET claimed_by = NULL, claimed_until = NULL WHERE claimed_by = :me")
_FORGET: Final = text("DELETE FROM retries WHERE status IN ('resolved', 'dead') AND updated_at < :before")


class Claims:
    """This process's claims. me: its name on its rows. lease_s: how long a claim holds without being renewed.

    engine: in autocommit; everything here is one statement.
    """

    def __init__(self, engine: Engine, me: UUID, lease_s: float) -> None:
        self._engine = engine
        self._me = me
        self._lease_s = lease_s
        self._renewed_at = time.monotonic()

    def due(self, now: datetime, limit: int, shut: Sequence[str] = (), gate: str | None = None) -> list[Waiting]:
        """Rows whose time has come, of `limit` lanes at most, each lane's in order; now they are ours.

        shut: operations whose provider is not asked at the moment: only their deadlines count. gate: of this one only.
        """
        values = {"now": now, "me": self._me, "lease_s": self._lease_s, "limit": limit, "shut": list(shut)}
        values["gate"] = gate
        with self._engine.connect() as db:
            rows = [waiting_from(row) for row in db.execute(_CLAIM, values)]
        return sorted(rows, key=lambda row: row.order)

    def renew(self) -> None:
        """Keep what is ours, three times per lease."""
        if time.monotonic() - self._renewed_at < self._lease_s / 3:
            return
        with self._engine.connect() as db:
            db.execute(_RENEW, {"me": self._me, "lease_s": self._lease_s})
        self._renewed_at = time.monotonic()

    def release(self) -> None:
        """Let others have what is ours."""
        with self._engine.connect() as db:
            db.execute(_RELEASE, {"me": self._me})

    def forget(self, before: datetime) -> None:
        """Drop what was over before that."""
        with self._engine.connect() as db:
            db.execute(_FORGET, {"before": before})
