"""Publishes committed outbox rows: at least once, each key's rows in order, deleted only when the broker has them.

Rows are claimed by being there, not by a cursor (`id > last` skips rows whose transaction commits late). A round takes
at most one row of a key, so that a row that fails can't be overtaken by its successor; a row that can't be
published blocks its key, not the table.
"""

import threading
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any, Final

import structlog
from confluent_kafka import KafkaError, KafkaException, Message, Producer
from sqlalchemy import Connection, Engine, Row, text
from sqlalchemy.exc import DBAPIError

from outbox.add import load_headers
from outbox.shards import Shards
from outbox.wake import CHANNEL, Wake

Probe = Callable[[str], None]
"""Called with the name of each point where a crash is interesting; fault tests pass one that kills the process."""


def no_probe(_point: str) -> None:
    """Outside of fault tests nothing happens at a probe's points."""


_BATCH: Final = 1000
_BATCH_MAX: Final = 20_000
_BLOCKED_S: Final = 30.0
_SHARE_S: Final = 2.0
_POLL_S: Final = 0.2
_RECONNECT_S: Final = 0.5
_FLUSH_S: Final = 0.5
_STOP_S: Final = 5.0

# codes of the client itself, which it names with an underscore: the broker did not answer, or was not asked
_AWAY: Final = (
    KafkaError._MSG_TIMED_OUT,  # noqa: SLF001
    KafkaError._TRANSPORT,  # noqa: SLF001
    KafkaError._PURGE_QUEUE,  # noqa: SLF001
    KafkaError._PURGE_INFLIGHT,  # noqa: SLF001
)

_READ = text(
    "SELECT seq, aggregateid, topic, key, payload, headers FROM outbox"
    " WHERE shard = ANY(:shards) AND aggregateid <> ALL(:blocked) ORDER BY seq LIMIT :limit"
)
_DELETE = text("DELETE FROM outbox WHERE seq = ANY(:seqs)")

log = structlog.get_logger("outbox.relay")


def producer_config(bootstrap_servers: str) -> dict[str, Any]:
    """The settings of a producer that loses nothing and keeps order."""
    return {
        "bootstrap.servers": bootstrap_servers,
        # a resend after a lost answer is written once, and in order
        "enable.idempotence": True,
        "acks": "all",
        # rows wait in the table, not in the client: a message not taken in time is simply read again
        "delivery.timeout.ms": 30_000,
        # a topic that isn't there is said soon: the default holds everybody up for 30 s
        "topic.metadata.propagation.max.ms": 2_000,
        # a round is sent as a whole; waiting for more would only add to every hop
        "linger.ms": 1,
        "compression.type": "lz4",
        "message.max.bytes": 8 * 1024 * 1024,
        "queue.buffering.max.kbytes": 256 * 1024,
    }


@dataclass(slots=True)
class _Round:
    """What became of one round's rows."""

    delivered: list[int]
    failed: list[tuple[Row[Any], KafkaError]]


class Relay:
    """One relay; run as many as you like.

    engine: the database of the outbox. make_producer: gives an idempotent producer (see `producer_config`).
    wake: set by whoever committed rows in this process. probe: see `Probe`.
    """

    def __init__(
        self,
        engine: Engine,
        make_producer: Callable[[], Producer],
        wake: Wake,
        *,
        probe: Probe = no_probe,
        on_published: Callable[[int], None] = lambda _: None,
    ) -> None:
        self._engine = engine.execution_options(isolation_level="AUTOCOMMIT")
        self._make_producer = make_producer
        self._producer = make_producer()
        self._wake = wake
        self._probe = probe
        self._on_published = on_published
        self._stop = threading.Event()
        self._stop_at: float | None = None
        self._blocked: dict[str, float] = {}
        self.connected = False

    def stop(self) -> None:
        """Ask `run` to return after the rows that are there; at most one more round is started."""
        self._stop_at = time.monotonic()
        self._stop.set()
        self._wake.set()

    def run(self) -> None:
        """Publish until stopped. A lost database or broker is waited for, never given up."""
        while not self._stop.is_set():
            try:
                with self._engine.connect() as db:
                    self._publish_from(db)
            except DBAPIError as error:
                self.connected = False
                log.warning("outbox database unavailable", error=str(error.orig).strip())
                self._wake.wait(_RECONNECT_S)
        self._producer.flush(_FLUSH_S)

    def _publish_from(self, db: Connection) -> None:
        # locks, LISTEN and this setting belong to the session: it must end with the relay, not go back to a pool where
        # the next transaction would be committed without being flushed
        db.detach()
        db.execute(text("SET synchronous_commit = off"))  # a delete that is lost is a duplicate, which inboxes drop
        db.execute(text(f"LISTEN {CHANNEL}"))
        shards = Shards(db)
        shared_at, limit = -_SHARE_S, _BATCH
        self.connected = True
        while not self._stop.is_set():
            if time.monotonic() - shared_at >= _SHARE_S:
                shards.share()
                shared_at = time.monotonic()
            found, published = self.round(db, sorted(shards.owned), limit)
            # a full read with few keys in it: look further, or one key's long queue would hold up the others
            limit = min(limit * 2, _BATCH_MAX) if found == limit and published < limit // 2 else _BATCH
            if not published:
                self._rest(db)
        self.round(db, sorted(shards.owned), limit)

    def round(self, db: Connection, shards: Sequence[int], limit: int = _BATCH) -> tuple[int, int]:
        """Publish one row of each key; how many rows were found and how many were published."""
        rows = db.execute(_READ, {"shards": list(shards), "blocked": self._blocked_keys(), "limit": limit}).all()
        firsts = {row.aggregateid: row for row in reversed(rows)}
        if not firsts:
            return 0, 0
        outcome = self._send(list(firsts.values())[::-1])
        self._probe("relay_published")
        if outcome.delivered:
            db.execute(_DELETE, {"seqs": outcome.delivered})
            self._on_published(len(outcome.delivered))
        for row, error in outcome.failed:
            self._give_up_for_now(row, error)
        if any(_is_stuck(error) for _, error in outcome.failed):
            self._renew_producer()
        return len(rows), len(outcome.delivered)

    def _send(self, rows: Sequence[Row[Any]]) -> _Round:
        """Publish `rows` together; what was refused is tried alone: brokers refuse whole batches for one row."""
        outcome = self._send_together(rows)
        refused = [row for row, error in outcome.failed if not _passes(error)]
        if refused and len(rows) > 1:
            outcome.failed = [(row, error) for row, error in outcome.failed if _passes(error)]
            for row in refused:
                alone = self._send_together([row])
                outcome.delivered += alone.delivered
                outcome.failed += alone.failed
        return outcome

    def _send_together(self, rows: Sequence[Row[Any]]) -> _Round:
        outcome = _Round([], [])
        for row in rows:
            self._produce(row, outcome)
        while len(self._producer):
            # message time-outs bound this: every message is reported delivered or failed in the end
            self._producer.flush(_FLUSH_S)
            if self._stop_at is not None and time.monotonic() - self._stop_at > _STOP_S:
                self._producer.purge()  # the broker is away: the rows stay for the next relay
        return outcome

    def _produce(self, row: Row[Any], outcome: _Round) -> None:
        def report(error: KafkaError | None, _message: Message) -> None:
            if error is None:
                outcome.delivered.append(row.seq)
            else:
                outcome.failed.append((row, error))

        payload = None if row.payload is None else bytes(row.payload)
        key = None if row.key is None else bytes(row.key)
        try:
            self._producer.produce(
                row.topic, value=payload, key=key, headers=[*load_headers(row.headers)], on_delivery=report
            )
        except BufferError:
            self._producer.flush(_FLUSH_S)  # the row is read again in the next round
        except KafkaException as error:
            outcome.failed.append((row, error.args[0]))

    def _give_up_for_now(self, row: Row[Any], error: KafkaError) -> None:
        """A broker that is away is waited for; a row that the broker refuses blocks its key for a while."""
        if _passes(error):
            log.warning("not published, will be tried again", topic=row.topic, key=row.aggregateid, error=error.str())
            return
        self._blocked[row.aggregateid] = time.monotonic() + _BLOCKED_S
        log.error(
            "the broker refuses an event: its key waits", topic=row.topic, key=row.aggregateid, seq=row.seq,
            error=error.str(), again_in_s=_BLOCKED_S,
        )  # fmt: skip

    def _renew_producer(self) -> None:
        """The rows are still there, so a new client loses nothing.

        A client that heard "no leader" while a broker stopped may never send to that partition again, although the
        broker is long back: every message of it times out.
        """
        log.warning("a new producer: the one before delivers no more")
        self._producer = self._make_producer()

    def _blocked_keys(self) -> list[str]:
        now = time.monotonic()
        self._blocked = {key: until for key, until in self._blocked.items() if until > now}
        return list(self._blocked)

    def _rest(self, db: Connection) -> None:
        """Wait for a commit in this process, a NOTIFY from another one, or the poll interval."""
        driver: Any = db.connection.dbapi_connection
        driver.poll()
        if driver.notifies:
            # it came after the rows were read
            driver.notifies.clear()
            return
        self._wake.wait(_POLL_S, driver.fileno())


def _is_stuck(error: KafkaError) -> bool:
    """Whether the client itself may be what is in the way."""
    return error.fatal() or error.code() == KafkaError._MSG_TIMED_OUT  # noqa: SLF001


def _passes(error: KafkaError) -> bool:
    """Whether the row as such is in order and will be taken when the broker is back."""
    return error.fatal() or error.retriable() or error.code() in _AWAY
