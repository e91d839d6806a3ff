"""Publishes committed outbox rows: at least once, each key's rows in order, deleted only when the broker has them.

Rows are claimed by being there, not by a cursor (`id > last` skips rows whose transaction commits late). A round takes
at most one row of a key, so that a row that fails can't be overtaken by its successor; a row that can't be
published blocks its key, not the table.
"""

import threading
import time
from collections.abc import Callable, Iterable, Mapping, Sequence
from contextlib import closing
from typing import Final

import psycopg2
import structlog
from confluent_kafka import Producer
from psycopg2 import extensions
from sqlalchemy import Engine

from outbox.add import Record
from outbox.blocked import BLOCKED_S, Blocked, BlockedKeys
from outbox.letters import LETTERS_SQL, is_letter_topic
from outbox.offered import Offered
from outbox.sending import Failure, Head, OnSent, Sender, passes, producer_config
from outbox.session import own_session
from outbox.shards import Shards
from outbox.waiting import Waiting
from outbox.wake import CHANNEL, Wake

__all__ = ["Probe", "Relay", "no_probe", "producer_config"]

Probe = Callable[[str], None]
"""Called with the name of each point where a crash is interesting; fault tests pass one that kills the process."""


def no_probe(_point: str) -> None:
    """Outside of fault tests nothing happens at a probe's points."""


_BATCH: Final = 1000
_BATCH_MAX: Final = 20_000
_BLOCKED_S: Final = BLOCKED_S
_SHOWN: Final = 200
_SHARE_S: Final = 2.0
_POLL_S: Final = 0.2
_RECONNECT_S: Final = 0.5

log = structlog.get_logger("outbox.relay")


class Relay:
    """One relay; run as many as you like.

    engine: the database of the outbox, by psycopg2. make_producer: gives an idempotent producer (see
    `producer_config`). wake: set by whoever committed rows in this process. probe: see `Probe`. on_published: told
    which rows a round has published; on_sent: of each one, and where it lies. letters_only: leave all rows but those of
    dead letters to a connector (see `outbox.letters`).
    """

    def __init__(
        self,
        engine: Engine,
        make_producer: Callable[[], Producer],
        wake: Wake,
        *,
        probe: Probe = no_probe,
        on_published: Callable[[Sequence[Head]], None] = lambda _: None,
        on_sent: OnSent | None = None,
        letters_only: bool = False,
    ) -> None:
        self._engine = engine
        self._sender = Sender(make_producer, on_sent)
        self._wake = wake
        self._probe = probe
        self._on_published = on_published
        self._offered = Offered()
        self._stop = threading.Event()
        self._blocked = BlockedKeys()
        self._letters_only = letters_only
        self.connected = False
        self.settled = 0
        """Up to which `seq` every row is visible by now or will never be, as far as is known."""

    @property
    def missing(self) -> str:
        """What keeps it from publishing; "" when nothing does."""
        return "" if self.connected else "not connected to the database"

    @property
    def blocked(self) -> Mapping[str, Blocked]:
        """The keys that wait behind a row that can't be published, and why. From any thread."""
        return self._blocked.all

    def offer(self, records: Iterable[Record]) -> None:
        """Hand over what this process has just committed, before it sets `wake`: spares reading it from the table.

        Never before the commit. Only a short cut: what isn't offered is published as well. From any thread.
        """
        self._offered.put([r for r in records if is_letter_topic(r.topic)] if self._letters_only else records)

    def stop(self) -> None:
        """Ask `run` to return after the rows that are there; at most one more round is started."""
        self._sender.stop()
        self._stop.set()
        self._wake.set()

    def run(self) -> None:
        """Publish until stopped. A lost database or broker is waited for, never given up."""
        while not self._stop.is_set():
            try:
                with closing(own_session(self._engine)) as session:
                    self._publish_from(session)
            except psycopg2.Error as error:
                self.connected = False
                log.warning("outbox database unavailable", error=str(error).strip())
                self._wake.wait(_RECONNECT_S)
        self._sender.close()

    def _publish_from(self, session: extensions.connection) -> None:
        waiting = Waiting(session, self._offered, LETTERS_SQL if self._letters_only else "true")
        shards = Shards(session)
        shared_at, limit = -_SHARE_S, _BATCH
        with session.cursor() as cursor:
            cursor.execute(f"LISTEN {CHANNEL}")
        self.connected = True
        while not self._stop.is_set():
            if time.monotonic() - shared_at >= _SHARE_S:
                shards.share()
                waiting.own(shards.owned)
                shared_at = time.monotonic()
            found, published = self.round(waiting, limit)
            full = found >= limit
            # a full read: look further, or one key's long queue would hold up the others
            limit = min(limit * 2, _BATCH_MAX) if full else _BATCH
            if not published or (published == found and not full):
                # nothing goes, or that was all; whoever committed meanwhile has set the flag
                self._rest(session)
        self.round(waiting, limit)

    def round(self, waiting: Waiting, limit: int = _BATCH) -> tuple[int, int]:
        """Publish one row of each key; how many rows were found and how many were published."""
        blocked = self._blocked.waiting()
        rows = waiting.heads(blocked, limit)
        self.settled = waiting.settled
        firsts = {head[2]: head for head in reversed(rows)}
        if not firsts:
            self._blocked.settle(blocked, (), _BLOCKED_S)
            return 0, 0
        outcome = self._sender.send(list(firsts.values())[::-1], waiting.whole)
        self._probe("relay_published")
        if outcome.delivered:
            waiting.drop(outcome.delivered)
            gone = set(outcome.delivered)
            self._on_published([head for head in firsts.values() if head[0] in gone])
        self._blocked.settle(blocked, [failure for failure in outcome.failed if _blocks(failure)], _BLOCKED_S)
        return len(rows), len(outcome.delivered)

    def _rest(self, session: extensions.connection) -> None:
        """Wait for a commit in this process, a NOTIFY from another one, or the poll interval."""
        session.poll()
        if session.notifies:
            # it came after the rows were read
            session.notifies.clear()
            return
        self._wake.wait(_POLL_S, session.fileno())


def _blocks(failure: Failure) -> bool:
    """A broker that is away is waited for; a row that can't be published blocks its key for a while."""
    (seq, _, key), topic, error = failure
    shown = {"topic": topic[:_SHOWN], "key": key[:_SHOWN], "error": failure.why}
    if passes(error):
        log.warning("not published, will be tried again", **shown)
        return False
    log.error("an event can't be published: its key waits", seq=seq, again_in_s=_BLOCKED_S, **shown)
    return True
