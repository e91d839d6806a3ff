"""The Kafka consumer: takes messages, commits offsets of what is settled, survives rebalances."""

import time
from collections.abc import Callable, Container, Sequence
from typing import Any, Final

import structlog
from confluent_kafka import Consumer, KafkaError, KafkaException, Message, TopicPartition

from schemas.brokers import Kafka, reaching
from schemas.kafka.record import KafkaRecord, Place, raw, record_of, time_of
from services.shell.progress import Partition, Progress

_COMMIT_EVERY_S: Final = 0.2
_PATIENCE_S: Final = 1.0
"""What was prefetched of a paused partition is thrown away and fetched again: not polling for a moment is cheaper."""
FATAL: Final = "the process ended twice with this message in hand; it was not read again"
log = structlog.get_logger("shell.intake")


def consumer_config(kafka: Kafka, group: str) -> dict[str, Any]:
    """The settings of a consumer that skips nothing."""
    return {
        **reaching(kafka),
        "group.id": group,
        # KIP-848: the broker assigns, members only move what must move
        "group.protocol": "consumer",
        # partition n of every topic goes to the same member, so a key is mostly handled by one process
        "group.remote.assignor": "range",
        # tells where a partition is read to its end, which is where the first open transaction begins
        "enable.partition.eof": True,
        # offsets are committed by hand, after the database
        "enable.auto.commit": False,
        "enable.auto.offset.store": False,
        # a new group reads what is there; the default would skip it
        "auto.offset.reset": "earliest",
        "fetch.wait.max.ms": 100,
        "queued.max.messages.kbytes": 4 * 1024,
        # what is taken at once, and what a batch may unpack to where the client can tell (zstd): the topics' own limit
        # of what is stored unpacked holds for every codec (schemas/registry.py)
        "fetch.max.bytes": 8 * 1024 * 1024,
        "receive.message.max.bytes": 16 * 1024 * 1024,
    }


class Intake:
    """What this process has taken from Kafka.

    on_revoked: told which partitions are no longer ours, before they are somebody else's. on_assigned: told that some
    came. unpack: see `record_of`. mark: told which message is being read. fatal: those that must not be.
    make: makes the client.
    """

    def __init__(
        self,
        config: dict[str, Any],
        topics: Sequence[str],
        on_revoked: Callable[[set[Partition]], None] = lambda _: None,
        on_assigned: Callable[[], None] = lambda: None,
        *,
        unpack: bool = False,
        mark: Callable[[Place | None], None] = lambda _: None,
        fatal: Container[Place] = (),
        make: Callable[[dict[str, Any]], Consumer] = Consumer,
    ) -> None:
        self._unpack, self._mark, self._fatal, self._on_assigned = unpack, mark, fatal, on_assigned
        self._consumer = make(config)
        self._progress = Progress()
        self._on_revoked = on_revoked
        self._paused = False
        self._stalled: dict[Partition, float] = {}
        self.stands: dict[Partition, int] = {}
        """Partitions that were read to their (committed) end, and the offset of that end."""
        self._backlog: list[KafkaRecord] = []
        self._committed_at = self._polled_at = time.monotonic()
        self.assigned: set[Partition] = set()
        self._consumer.subscribe(list(topics), on_assign=self._assign, on_revoke=self._revoke, on_lost=self._lose)

    def poll(self, limit: int, timeout_s: float) -> list[KafkaRecord]:
        """Up to about `limit` messages: waits for the first one only, then takes what is there."""
        self._resume()
        self._polled_at = time.monotonic()
        records, self._backlog = self._backlog, []
        first = self._consumer.consume(1, 0 if records else timeout_s)
        if first:
            first += self._consumer.consume(limit, 0)
        return [*records, *(self._taken(message) for message in first if self._usable(message))]

    def _taken(self, message: Message) -> KafkaRecord:
        """A message as a record, read once: the client can't be asked for its headers twice."""
        place = (message.topic() or "", _number(message.partition()), _number(message.offset()))
        if place in self._fatal:
            record = KafkaRecord(*place, time_of(message), raw(message.key()), raw(message.value()), [], FATAL)
        else:
            self._mark(place)
            record = record_of(message, unpack=self._unpack)
        self._progress.take(place[:2], place[2])
        return record

    def stall(self, partition: Partition, probe_s: float) -> None:
        """Stop a partition where its first unfinished message lies; it is tried again after `probe_s` seconds."""
        self.stands.pop(partition, None)
        first = self._progress.first_unfinished(partition)
        self._commit(self._progress.forget({partition}), wait=False)
        self._backlog = [record for record in self._backlog if record.place[:2] != partition]
        self._consumer.pause([TopicPartition(*partition)])
        if first is not None:
            self._consumer.seek(TopicPartition(*partition, first))
        self._stalled[partition] = time.monotonic() + probe_s

    def probes(self) -> list[Partition]:
        """Stalled partitions that go on now, because it is time to see whether they are better."""
        due = [partition for partition, at in self._stalled.items() if at <= time.monotonic()]
        for partition in due:
            del self._stalled[partition]
            self._consumer.resume([TopicPartition(*partition)])
        return due

    def stalled(self) -> list[Partition]:
        """Partitions that are stopped because most of their messages failed."""
        return sorted(self._stalled)

    def stay(self) -> None:
        """Remain a member of the group without taking anything: while a database or the provider is slow."""
        if not self._paused:
            if time.monotonic() - self._polled_at < _PATIENCE_S:
                return
            self._consumer.pause(self._consumer.assignment())
            self._paused = True
        message = self._consumer.poll(0)
        if message is not None and self._usable(message):
            self._backlog.append(self._taken(message))

    def finish(self, topic: str, partition: int, offset: int) -> None:
        """A message is settled."""
        self._progress.finish((topic, partition), offset)

    def commit(self, *, now: bool = False) -> None:
        """Commit the offsets that moved; at most every 0.2 s unless `now`, which also waits for the broker."""
        if not now and time.monotonic() - self._committed_at < _COMMIT_EVERY_S:
            return
        self._committed_at = time.monotonic()
        self._commit(self._progress.moved(), wait=now)

    def close(self) -> None:
        """Commit, give the partitions back and leave the group."""
        self.commit(now=True)
        self._consumer.close()

    def _commit(self, offsets: dict[Partition, int], *, wait: bool) -> None:
        if not offsets:
            return
        positions = [TopicPartition(topic, partition, offset) for (topic, partition), offset in offsets.items()]
        try:
            if wait:
                self._consumer.commit(offsets=positions, asynchronous=False)
            else:
                self._consumer.commit(offsets=positions, asynchronous=True)
        except KafkaException as error:
            # the messages come again, and the inbox knows them
            log.warning("offsets not committed", error=str(error))

    def _resume(self) -> None:
        if self._paused:
            stopped = self._stalled
            self._consumer.resume([p for p in self._consumer.assignment() if (p.topic, p.partition) not in stopped])
            self._paused = False

    def _assign(self, _consumer: Consumer, partitions: list[TopicPartition]) -> None:
        self.assigned |= _places(partitions)
        self._on_assigned()
        log.info("partitions assigned", count=len(partitions))

    def _revoke(self, _consumer: Consumer, partitions: list[TopicPartition]) -> None:
        places = _places(partitions)
        self._commit(self._progress.forget(places), wait=True)
        self._let_go(places)

    def _lose(self, _consumer: Consumer, partitions: list[TopicPartition]) -> None:
        """Somebody else has them already: committing would move their offsets."""
        places = _places(partitions)
        self._progress.forget(places)
        self._let_go(places)

    def _let_go(self, places: set[Partition]) -> None:
        self.assigned -= places
        for place in places:
            self._stalled.pop(place, None)
            self.stands.pop(place, None)
        self._backlog = [record for record in self._backlog if record.place[:2] not in places]
        self._on_revoked(places)
        log.info("partitions given back", count=len(places))

    def _usable(self, message: Message) -> bool:
        error = message.error()
        if error is None:
            return True
        if error.fatal():
            raise KafkaException(error)
        if error.code() != KafkaError._PARTITION_EOF:  # noqa: SLF001
            log.warning("consumer", error=error.str())
        elif (place := (message.topic() or "", _number(message.partition()))) in self.assigned:
            self.stands[place] = _number(message.offset())
        return False


def _places(partitions: list[TopicPartition]) -> set[Partition]:
    return {(p.topic, p.partition) for p in partitions}


def _number(value: int | None) -> int:
    return -1 if value is None else value
