"""The loop of a service process, one thread: take from Kafka, timers and the retry table; settle, call, commit."""

import math
import threading
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Final

import structlog
from sqlalchemy import Engine
from sqlalchemy.exc import DBAPIError

from outbox.add import Record
from outbox.relay import Probe, no_probe
from schemas.choreography import retry_topic
from schemas.codec import Codec, RegistryUnavailableError
from schemas.kafka.record import KafkaRecord, Place
from services.shell.ahead import Ahead
from services.shell.batch import Batch, DatabaseUnavailableError
from services.shell.calls import Calls
from services.shell.database import words_of
from services.shell.delivery import Delivery
from services.shell.draft import Draft
from services.shell.fatal_messages import FatalMessages
from services.shell.flood import Flood
from services.shell.intake import Intake
from services.shell.lanes import Lanes
from services.shell.maintenance import Maintenance
from services.shell.metrics import Metrics
from services.shell.open_transactions import OpenTransactions
from services.shell.reading import read, read_replay
from services.shell.retry_worker import RetryWorker
from services.shell.service import Service
from services.shell.settings import Settings

_IDLE_S: Final = 0.1
_CALLS_OUT_S: Final = 0.002
"""Answers can't interrupt a poll of Kafka, so while calls are out it is they who are waited for, and not for long."""
_AWAY_S: Final = 0.5
"""Between two looks at a database or registry that is away."""
_TIMER_LIMIT: Final = 500

log = structlog.get_logger("shell.loop")


@dataclass(frozen=True)
class Parts:
    """What a loop works with. committed: told of records that are in the outbox now. clock: the time now, UTC.

    calls: None for a service that calls nobody. fatal: messages that must not be read. mark: told which one is.
    """

    codec: Codec
    engine: Engine
    batch: Batch
    committed: Callable[[Sequence[Record]], None]
    calls: Calls | None
    worker: RetryWorker
    flood: Flood
    clock: Callable[[], datetime]
    metrics: Metrics
    fatal: FatalMessages
    mark: Callable[[Place | None], None]
    open_transactions: OpenTransactions | None = None
    probe: Probe = no_probe


class Loop:
    """Runs one service until it is stopped. make_intake: given whom to tell of partitions that go elsewhere."""

    def __init__(
        self,
        service: Service,
        settings: Settings,
        parts: Parts,
        make_intake: Callable[[Callable[[set[tuple[str, int]]], None]], Intake],
    ) -> None:
        self._service, self._settings = service, settings
        self._codec, self._engine, self._batch = parts.codec, parts.engine, parts.batch
        self._calls, self._committed, self._clock = parts.calls, parts.committed, parts.clock
        self._worker, self._flood, self._metrics, self._probe = parts.worker, parts.flood, parts.metrics, parts.probe
        self._fatal, self._mark = parts.fatal, parts.mark
        self._retry_topic = settings.topic_prefix + retry_topic(service.name)
        self._lanes = Lanes()
        self._intake = make_intake(self._give_back)
        self._ahead = Ahead(parts.open_transactions, self._read, self._intake.stands)
        self._unread: list[KafkaRecord] = []
        self._stop = threading.Event()
        self._timers_at = 0.0
        self._maintenance = Maintenance(parts.engine, parts.worker, parts.fatal, parts.clock, settings)
        self._out = 0
        self.beat_at = time.monotonic()
        self.waiting_for = ""
        self.done_at = math.inf

    def partitions(self) -> list[tuple[str, int]]:
        """(topic, partition) of those that the broker has given this process."""
        return list(self._intake.assigned)

    def stalled(self) -> list[str]:
        """Partitions that are stopped because most of their messages failed, as topic/partition."""
        return [f"{topic}/{partition}" for topic, partition in self._intake.stalled()]

    def stop(self) -> None:
        """Ask `run` to finish what it holds and return."""
        self._stop.set()

    def run(self) -> None:
        """Until stopped; then finish calls that are out, commit and leave."""
        while not self._stop.is_set():
            self._guarded(self._turn)
        self._finish()
        self.done_at = time.monotonic()
        self._intake.close()

    def _turn(self) -> None:
        self._maintenance.turn()
        self._take()
        if self._calls:
            nothing_else = self._out > 0 and not self._lanes.runnable
            self._answers(self._calls.wait(_CALLS_OUT_S if nothing_else else 0))
        self._due()
        self._retry()
        self._settle()
        self._intake.commit()

    def _guarded(self, turn: Callable[[], None]) -> None:
        """A database or registry that is away: nothing moves until it is back; this process stays in the group."""
        self.beat_at = time.monotonic()
        try:
            turn()
        except (DatabaseUnavailableError, RegistryUnavailableError) as away:
            self._wait_out(str(away))
        except DBAPIError as error:
            self._wait_out(words_of(error))
        else:
            self.waiting_for = ""

    def _wait_out(self, reason: str) -> None:
        if not self.waiting_for:
            log.warning("waiting until it is back", reason=reason)
        self.waiting_for = reason
        self._intake.stay()
        self._stop.wait(_AWAY_S)

    def _take(self) -> None:
        if len(self._lanes) >= self._settings.in_flight_limit:
            self._intake.stay()
            if self._calls:
                self._answers(self._calls.wait(_IDLE_S))
            return
        self._fatal.refresh()
        if not self._unread:
            self._unread = self._intake.poll(self._settings.batch_size, 0 if self._out or len(self._lanes) else _IDLE_S)
        deliveries = [self._read(record) for record in self._unread]
        self._unread = []
        self._lanes.add(deliveries)
        self._lanes.add(self._ahead.deliveries(self._settings.batch_size))
        self._mark(None)

    def _read(self, record: KafkaRecord) -> Delivery:
        if not record.defect:
            self._mark(record.place)
        reader = read_replay if record.topic == self._retry_topic else read
        return reader(record, self._codec, self._settings.topic_prefix)

    def _retry(self) -> None:
        """Messages whose time in the retry table has come, and partitions that may be better now."""
        for partition in self._intake.probes():
            self._flood.probe(partition)
        room = self._settings.in_flight_limit - len(self._lanes)
        self._lanes.add(self._worker.due(min(room, self._settings.batch_size)))

    def _answers(self, answered: list[Delivery]) -> None:
        for delivery in answered:
            self._out -= 1
            self._lanes.release(delivery)
            self._probe("answered")

    def _due(self) -> None:
        """Timers whose time has come, as deliveries of the service to itself."""
        if not self._service.timers or time.monotonic() - self._timers_at < self._settings.timer_interval_s:
            return
        now = self._clock()
        with self._engine.connect() as db:
            for timer in self._service.timers:
                self._lanes.add(timer.due(db, now, _TIMER_LIMIT))
        self._timers_at = time.monotonic()

    def _settle(self) -> None:
        batch = self._lanes.take(self._settings.batch_size)
        if not batch:
            return
        try:
            draft = self._batch.settle(batch)
        except (DatabaseUnavailableError, RegistryUnavailableError):
            self._lanes.put_back(batch)
            raise
        self._after(draft)

    def _after(self, draft: Draft) -> None:
        if draft.records:
            self._committed(draft.records)
        self._call(draft)
        self._lanes.postpone(draft.postponed)
        for partition in draft.stalled:
            self._stall(partition)
        for delivery in (*draft.done, *draft.duplicates):
            if delivery.place is not None and not delivery.is_ahead:
                self._intake.finish(*delivery.place)
        self._metrics.settled(draft, self._clock())

    def _call(self, draft: Draft) -> None:
        if not draft.calls:
            return
        if self._calls is None:
            raise RuntimeError(f"{self._service.name} has nobody to make its calls")
        for delivery, _ in draft.calls:
            self._lanes.hold(delivery)
        self._out += len(draft.calls)
        self._calls.submit(draft.calls)

    def _stall(self, partition: tuple[str, int]) -> None:
        """Most of a partition fails: leave it in Kafka, tell somebody, and look again later with one message."""
        log.critical(
            "partition stopped: most of its messages fail", topic=partition[0], partition=partition[1],
            again_in_s=self._settings.flood_probe_s,
        )  # fmt: skip
        self._give_back({partition})
        self._intake.stall(partition, self._settings.flood_probe_s)

    def _finish(self) -> None:
        """Wait for calls that are out, within limits; what is left is given back and comes again."""
        until = time.monotonic() + self._settings.stop_timeout_s
        while self._calls and self._out and time.monotonic() < until:
            self._answers(self._calls.wait(_IDLE_S))
            self._guarded(self._settle)
            if self.waiting_for:
                return
        self._guarded(self._worker.release)
        log.info("stopped", calls_left=self._out)

    def _give_back(self, places: set[tuple[str, int]]) -> None:
        self._lanes.give_back(lambda d: d.place is not None and d.place[:2] in places)
        self._unread = [record for record in self._unread if record.place[:2] not in places]
        self._ahead.forget(places)
        self._flood.forget(places)
