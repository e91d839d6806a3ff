"""What a batch knows of the messages that wait in its lanes, and what it makes of them; written with the batch."""

from collections.abc import Iterable, Sequence
from dataclasses import replace
from datetime import datetime
from typing import Final
from uuid import UUID

from sqlalchemy import Connection, text

from outbox.bulk import BulkInsert, array
from outbox.prepared import Prepared
from services.shell.delivery import Delivery
from services.shell.waiting import COLUMNS, NEW, READ, SHOWN, Status, Waiting, values_of, waiting_from

# locked in one order; whoever adds a row behind others has locked those, so nobody resolves them unseen
_LOAD: Final = Prepared(
    "retries_load",
    f"SELECT {READ} FROM retries"  # noqa: S608 - names come from this code
    " WHERE (status IN ('pending', 'compensating') AND lane = ANY(:lanes)) OR letter_id = ANY(:letters)"
    " ORDER BY lane, replay_id = '', seq FOR UPDATE",
    {"lanes": "text[]", "letters": "uuid[]"},
)
_NONE: Final = Prepared(
    "retries_none",
    "SELECT insist(NOT EXISTS (SELECT FROM retries WHERE status IN ('pending', 'compensating')"
    " AND lane = ANY(:lanes)), 'messages of these checkouts wait to be tried again')",
    {"lanes": "text[]"},
)
_CHANGED: Final = [name for name in COLUMNS if name != "letter_id"]
_SAVE: Final = BulkInsert(
    "retries",
    COLUMNS,
    "ON CONFLICT (letter_id) DO UPDATE SET "
    + ", ".join(f"{name} = excluded.{name}" for name in _CHANGED)
    + ", claimed_by = NULL, claimed_until = NULL, updated_at = now()",
)
_DELETE: Final = text("DELETE FROM retries WHERE letter_id = ANY(CAST(:letters AS uuid[]))")
# a statement of its own, so that it sees rows which others added while this batch waited for their locks; also what
# this process has claimed: it must be found when the claim ends with the process
_PROMOTE: Final = text(
    "UPDATE retries SET next_attempt_at = :now WHERE status = 'pending' AND next_attempt_at IS NULL"
    " AND lane = ANY(CAST(:lanes AS text[])) AND NOT EXISTS (SELECT 1 FROM retries AS first"
    " WHERE first.lane = retries.lane AND first.status = 'pending' AND NOT first.early"
    " AND (first.replay_id = '', first.seq) < (retries.replay_id = '', retries.seq))"
)


class Queue:
    """The rows of a batch's lanes. me: this process's name on the rows that it has claimed."""

    def __init__(self, rows: Iterable[Waiting], me: UUID) -> None:
        self._rows: dict[str, Waiting] = {}
        self._lanes: dict[str, dict[str, Waiting]] = {}
        for row in rows:
            self._keep(row)
        self._me = me
        self._changed: set[str] = set()
        self._gone: set[str] = set()
        self._moved: set[str] = set()

    @property
    def is_empty(self) -> bool:
        """Whether nothing waits, changes of this batch included."""
        return not self._rows

    def find(self, letter_id: str) -> Waiting | None:
        """The row of a letter, changes of this batch included."""
        return self._rows.get(letter_id)

    def is_foreign(self, delivery: Delivery) -> bool:
        """Whether a message that waited is no longer ours to handle: our claim ran out and somebody else has it."""
        if delivery.waiting is None:
            return False
        row = self._rows.get(delivery.letter_id)
        return row is None or row.status is not Status.PENDING or row.claimed_by != self._me

    def is_behind(self, delivery: Delivery) -> bool:
        """Whether an earlier message of its lane still waits."""
        if delivery.key not in self._lanes:
            return False
        own = self._rows.get(delivery.letter_id)
        ahead = [r for r in self._lane(delivery.key) if r.holds_up and r.letter_id != delivery.letter_id]
        if own is not None and own.status is Status.PENDING:
            return not own.early and any(row.order < own.order for row in ahead)
        return bool(ahead)

    def park(self, delivery: Delivery, now: datetime) -> None:
        """Wait behind the others of its lane; a replay takes the place that its first failure gives it."""
        row = self.row_of(delivery)
        first = all(row.order < r.order for r in self._lane(delivery.key) if r.letter_id != row.letter_id)
        self.put(replace(row, next_attempt_at=now if first else None))

    def put(self, row: Waiting) -> None:
        """A row's new state."""
        self._keep(row)
        self._changed.add(row.letter_id)
        self._gone.discard(row.letter_id)
        self._moved.add(row.lane)

    def resolve(self, delivery: Delivery) -> None:
        """Handled. What operators look at, and what was a dead letter, stays as resolved; other rows go."""
        row = self._rows.get(delivery.letter_id)
        if row is None:
            return
        if row.operation in SHOWN or delivery.replay.id:
            self.put(replace(row, status=Status.RESOLVED, next_attempt_at=None))
            return
        del self._rows[row.letter_id], self._lanes[row.lane][row.letter_id]
        self._changed.discard(row.letter_id)
        self._gone.add(row.letter_id)
        self._moved.add(row.lane)

    def wake_early(self, lane: str, now: datetime) -> None:
        """Something of this lane was handled: what waits for just that looks again at once."""
        for row in self._lane(lane):
            if row.early and row.status is Status.PENDING and row.next_attempt_at != now:
                self.put(replace(row, next_attempt_at=now))

    def compensating(self, lane: str) -> list[Waiting]:
        """Messages of a lane that were given up, and whose letters wait until everything was let go."""
        return [row for row in self._lane(lane) if row.status is Status.COMPENSATING]

    def row_of(self, delivery: Delivery) -> Waiting:
        """The row of a delivery: the one that is there, or a new one. Raises ValueError for a timer's."""
        known = self._rows.get(delivery.letter_id)
        if delivery.origin is None:
            raise ValueError("a timer has no message that could wait")
        if known is not None and delivery.waiting is not None:
            return known
        if known is not None:
            # a letter that is tried anew
            return replace(
                known,
                origin=delivery.origin,
                replay=delivery.replay,
                status=Status.PENDING,
                disposition="",
                attempts=0,
                timeouts=0,
                since=None,
                digest="",
            )
        return Waiting(
            letter_id=delivery.letter_id,
            event_id=delivery.event_id,
            lane=delivery.key,
            event_type=delivery.event_type,
            origin=delivery.origin,
            seq=NEW + len(self._rows),
            first_failed_at=delivery.first_failed_at,
            replay=delivery.replay,
        )

    def save(self, db: Connection, now: datetime) -> None:
        """Write what changed: three statements at most, none where nothing waits."""
        changed = [self._rows[letter_id] for letter_id in sorted(self._changed, key=self._order)]
        _SAVE.run(db, [values_of(row) for row in changed])
        if self._gone:
            db.execute(_DELETE, {"letters": array("uuid", sorted(self._gone))})
        if self._moved:
            db.execute(_PROMOTE, {"now": now, "lanes": array("text", sorted(self._moved))})

    def _keep(self, row: Waiting) -> None:
        """By lane as well: every message of a batch asks for its own."""
        self._rows[row.letter_id] = row
        self._lanes.setdefault(row.lane, {})[row.letter_id] = row

    def _lane(self, lane: str) -> list[Waiting]:
        return list(self._lanes[lane].values()) if lane in self._lanes else []

    def _order(self, letter_id: str) -> tuple[bool, int]:
        return self._rows[letter_id].order


def load(db: Connection, deliveries: Sequence[Delivery], me: UUID, *, look: bool) -> Queue:
    """The rows of the deliveries' lanes and, of those that came as replays, their own. One statement.

    look: False takes it for granted that nothing waits, which spares a round trip; where something does, the
    transaction ends with a serialization failure, and is to be done again with True.
    """
    lanes = array("text", sorted({delivery.key for delivery in deliveries}))
    letters = sorted(
        {d.letter_id for d in deliveries if d.replay.id or d.waiting is not None}
        | {d.replay.edit_root for d in deliveries if d.replay.edit_root}
    )
    if not (look or letters):
        _NONE.send(db, {"lanes": lanes})
        return Queue((), me)
    rows = _LOAD.rows(db, {"lanes": lanes, "letters": array("uuid", letters)})
    return Queue([waiting_from(row) for row in rows], me)
