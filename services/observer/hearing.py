"""What is said goes into the table: read, fold, keep, acknowledge, in this order."""

import time
from collections.abc import Hashable
from typing import Any, Final, NamedTuple

import structlog
from aiokafka.errors import MessageSizeTooLargeError, RecordListTooLargeError

from schemas.choreography import topics
from schemas.codec import Codec, SchemaPendingError, UndecodableError
from services.observer.beginnings import Beginnings
from services.observer.engine import elsewhere_topic, event_topics, listen
from services.observer.instants import SECOND, can_be, written
from services.observer.metrics import Metrics
from services.observer.pending import TRIED_S, Aside, InOrder, Pending
from services.observer.placing import home_of
from services.observer.reading import Arrived, Reader, arrived, is_end, passed_on, timestamp_us
from services.observer.settings import ObserverSettings
from services.observer.tables import Memory
from services.observer.texts import clean
from services.observer.timeline import Said, Timeline, add, encoded

_REFUSED: Final = (MessageSizeTooLargeError, RecordListTooLargeError)
"""The broker will never take it."""

log = structlog.get_logger("observer.hearing")


class Outcome(NamedTuple):
    """What came of reading a record. sent: what it waits for until it is settled. undecodable, pending: why."""

    sent: Any = None
    undecodable: str = ""
    pending: str = ""


class Hearing:
    """Listens to every event's topic, and to what was passed on. changed: keys of timelines that changed since.

    folded: partition of a topic -> the offset behind the last record that was folded, or set aside.
    """

    def __init__(self, app: Any, table: Any, settings: ObserverSettings, codec: Codec, metrics: Metrics) -> None:
        self._app, self._table, self._metrics = app, table, metrics
        self._memory = Memory(table)
        self._prefix = settings.topic_prefix
        self._keep_us = round(settings.observer_keep_s * SECOND)
        self._unpack = settings.unpack_outbox_headers
        self._partitions: int = table.partitions
        self._reader = Reader(codec)
        self._elsewhere = elsewhere_topic(
            app, self._partitions, settings.observer_replication, settings.observer_elsewhere_keep_s
        )
        self.changed: set[bytes] = set()
        self.folded: dict[Hashable, int] = {}
        self._youngest_us: dict[Hashable, int] = {}
        self._pending, self._in_order = Pending(), InOrder()
        self.beginnings = Beginnings()
        self.topics = {self._prefix + topic for topic in topics()} | {self._elsewhere.get_topic_name()}
        listen(app, event_topics(app, self._prefix), "events", self._hear)
        listen(app, self._elsewhere, "elsewhere", self._hear)

    def timeline(self, key: bytes) -> Timeline | None:
        """What the table has of a checkout."""
        return self._memory.timeline(key)

    @property
    def waiting(self) -> set[bytes]:
        """Keys of records that are set aside: what is missing of these checkouts may be there already."""
        return {aside.message.key or b"" for aside in self._pending}

    def forget(self) -> None:
        """The partitions have changed."""
        self.changed.clear()
        self.folded.clear()
        self._youngest_us.clear()
        self._pending.clear()
        self._in_order.clear()

    def begin(self, generation: object, starts: dict[Any, int]) -> None:
        """Where every partition is read from. What lies before is acknowledged, and so in the table."""
        self.folded.update(starts)
        self.beginnings.at(generation, starts)

    # --- one record -----------------------------------------------------------------------------------------

    async def _hear(self, stream: Any) -> None:
        # acknowledged by hand: Faust would do it before the table's topic has it
        async for event in stream.noack().events():
            await self._take(event)

    async def _take(self, event: Any) -> None:
        message, generation = event.message, self._app.consumer_generation_id
        outcome = await self._outcome(message, generation)
        if not self.beginnings.counts(self._app.consumer_generation_id, message.tp, message.offset):
            return
        self._in_order.take(message.tp, message.offset, message)
        self.folded[message.tp] = max(self.folded.get(message.tp, 0), message.offset + 1)
        if outcome.pending:
            self._set_aside(message, generation, outcome.pending)
        else:
            self._settle(message, generation, outcome)

    def _settle(self, message: Any, generation: object, outcome: Outcome) -> None:
        """Acknowledge it when the table's topic has what follows from it; the next record need not wait for that."""
        if outcome.undecodable:
            self._left_behind(message, outcome.undecodable)
        if outcome.sent is None:
            self._acknowledge(message, generation)
        else:
            outcome.sent.add_done_callback(lambda done: self._kept(message, generation, done))

    def _kept(self, message: Any, generation: object, sent: Any) -> None:
        error = sent.exception()
        if isinstance(error, _REFUSED):
            self._left_behind(message, f"what follows from it can't be kept: {error}")
        elif error is not None:
            log.error("not kept: it will be read again after a restart", reason=clean(repr(error)))
            return
        self._acknowledge(message, generation)

    def _acknowledge(self, message: Any, generation: object) -> None:
        # what is before it may wait for a minute
        message.value, message.headers = None, ()
        # else its partition may be another worker's by now, who reads it again
        if generation == self._app.consumer_generation_id:
            for settled in self._in_order.settle(message.tp, message.offset):
                settled.ack(self._app.consumer)

    async def _outcome(self, message: Any, generation: object) -> Outcome:
        """Fold a record, whatever it is."""
        try:
            return Outcome(await self._taken_in(message, generation))
        except UndecodableError as error:
            return Outcome(undecodable=str(error) or "no reason is given")
        except SchemaPendingError as error:
            return Outcome(pending=str(error) or "no reason is given")
        # a record that this code can't handle must not keep the others from being heard
        except Exception as error:
            return Outcome(undecodable=f"{type(error).__name__}: {error}")

    async def _taken_in(self, message: Any, generation: object) -> Any:
        """What a record has to wait for until it counts as settled; None: nothing.

        Raises UndecodableError, SchemaPendingError.
        """
        if is_end(message):
            return None
        now_us = time.time_ns() // 1000
        record = arrived(message, self._prefix, self._youngest(message, now_us), unpack=self._unpack)
        if self._too_old(record, now_us):
            return None
        checkout_id, said = await self._read(message, record, now_us)
        return await self._fold(record, checkout_id, said) if generation == self._app.consumer_generation_id else None

    async def _read(self, message: Any, record: Arrived, now_us: int) -> tuple[str, Said]:
        if message.topic == self._elsewhere.get_topic_name():
            return passed_on(record)
        return await self._reader.read(record, now_us)

    async def _fold(self, record: Arrived, checkout_id: str, said: Said) -> Any:
        home = home_of(record.key, self._partitions)
        if home != record.partition:
            value = encoded(Timeline(checkout_id, (said,)))
            return await self._elsewhere.send(key=record.key, value=value, partition=home)
        known = self.timeline(record.key) or Timeline(checkout_id)
        new = add(known, said)
        if new is known:
            return None
        self.changed.add(record.key)
        self._metrics.heard(said.event)
        return self._table.send_changelog(home, record.key, self._memory.keep(record.key, new))

    def _youngest(self, message: Any, now_us: int) -> int:
        """The latest timestamp that can be one, of what lies before in the partition."""
        known, own = self._youngest_us.get(message.tp, 0), timestamp_us(message)
        if can_be(own, now_us):
            self._youngest_us[message.tp] = max(known, min(own, now_us))
        return known

    def _too_old(self, record: Arrived, now_us: int) -> bool:
        """While the past is read again: what has left the table long ago is not taken in for a moment.

        A timestamp that can't be one, or that is older than one before it, says nothing about a record's age: a wrong
        unit would hide a checkout.
        """
        written_us = written(record.timestamp_us, record.youngest_us, now_us, now_us)
        return written_us < now_us - self._keep_us and record.key not in self._table

    def _left_behind(self, message: Any, why: str) -> None:
        self._metrics.undecodable(message.topic.removeprefix(self._prefix))
        where = {"topic": message.topic, "partition": message.partition, "offset": message.offset}
        log.warning("left behind: it can't be decoded", **where, reason=clean(why))

    # --- without its schema ---------------------------------------------------------------------------------

    def _set_aside(self, message: Any, generation: object, why: str) -> None:
        size = len(message.key or b"") + len(message.value or b"")
        aside = Aside(message.tp, message.offset, size, time.monotonic(), message, generation)
        where = {"topic": message.topic, "partition": message.partition, "offset": message.offset}
        log.info("set aside: its schema can't be had now", **where, reason=clean(why))
        for given_up in self._pending.put(aside):
            self._give_up(given_up, "too much waits for its schema")

    async def try_again(self) -> None:
        """Once for everything that is set aside."""
        for aside in self._pending:
            outcome = await self._outcome(aside.message, aside.generation)
            # else it was given up meanwhile, or the partitions have changed
            if aside not in self._pending:
                continue
            if not outcome.pending:
                self._pending.remove(aside)
                self._settle(aside.message, aside.generation, outcome)
            elif time.monotonic() - aside.since_s >= TRIED_S or self._in_order.is_full:
                self._pending.remove(aside)
                self._give_up(aside, outcome.pending)

    def _give_up(self, aside: Aside, why: str) -> None:
        self._settle(aside.message, aside.generation, Outcome(undecodable=f"its schema can't be had: {why}"))
