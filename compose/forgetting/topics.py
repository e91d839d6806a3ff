"""What topics keep of a customer, and until when: counted by reading them from their beginning to their end."""

from collections.abc import Collection, Iterable, Iterator
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from typing import Any, Final

from confluent_kafka import Producer
from confluent_kafka.admin import AdminClient

from compose.forgetting.names import Names
from compose.publisher import NotDeliveredError
from compose.settings import Servers
from dlq.offsets import QUIET
from dlq.retention import retentions
from dlq.topics import dump
from outbox.relay import producer_config
from schemas.brokers import reaching
from schemas.choreography import DLQ_AUDIT_TOPIC, LEDGER_TOPIC, SERVICES, dead_letter_topic, retry_topic, topics
from schemas.envelope import rfc3339
from schemas.kafka.record import KafkaRecord, record_of

OBSERVER: Final = "observer"
_TABLE: Final = "-changelog"
_TIMEOUT_S: Final = 30.0


@dataclass(slots=True)
class Kept:
    """What one topic, named without prefix, has. records: of the customer's checkouts, or naming the customer; named:
    the latter. kept: how long the topic keeps a record; None: for ever, or until its key has a newer one.
    """

    topic: str
    kept: timedelta | None
    records: int = 0
    named: int = 0
    oldest: datetime | None = None
    newest: datetime | None = None

    def add(self, at: datetime, *, named: bool) -> None:
        """One more record."""
        self.records += 1
        self.named += named
        self.oldest = min(at, self.oldest or at)
        self.newest = max(at, self.newest or at)

    @property
    def until(self) -> datetime | None:
        """When the broker may drop the newest of them; it drops a segment when all of that is so old. None: never."""
        try:
            return None if self.kept is None or self.newest is None else self.newest + self.kept
        except OverflowError:
            return None

    def as_json(self) -> dict[str, Any]:
        """For `--json`."""
        times = {"oldest": self.oldest, "newest": self.newest, "until": self.until}
        days = None if self.kept is None else self.kept / timedelta(days=1)
        return {
            "topic": self.topic,
            "records": self.records,
            "named": self.named,
            "retention_days": days,
            **{name: None if at is None else rfc3339(at) for name, at in times.items()},
        }


@dataclass(slots=True)
class Found:
    """What is on the topics. rows: of the observer's tables: (topic, partition, key) that a tombstone can end.

    unread: records that can't be unpacked, or lie behind an open transaction: what they hold isn't known.
    """

    kept: dict[str, Kept]
    keys: set[bytes] = field(default_factory=set)
    rows: set[tuple[str, int, bytes]] = field(default_factory=set)
    unread: int = 0

    @property
    def staying(self) -> list[Kept]:
        """The topics that have something."""
        return [kept for kept in self.kept.values() if kept.records]


def look(servers: Servers, names: Names, own: Collection[str], moving: Collection[str]) -> Found:
    """Read every topic that may keep something of a customer. Raises KafkaException.

    own: the customer's checkouts; more of them may be found on the topics, whose tables have forgotten them: then the
    topics are read once more, for what is said of those. moving: checkouts whose rows of tables stay.
    """
    mine = frozenset(checkout_id.encode() for checkout_id in own)
    stay = frozenset(checkout_id.encode() for checkout_id in moving)
    found = _look(servers, names, mine, mine, stay)
    return _look(servers, names, mine | found.keys, mine, stay) if found.keys - mine else found


def _look(
    servers: Servers, names: Names, keys: frozenset[bytes], own: frozenset[bytes], stay: frozenset[bytes]
) -> Found:
    """keys: whose records are counted. own, stay: whose rows of the observer's tables go, and whose don't."""
    full, customer, prefix = _topics(servers), Names(names.customer), servers.topic_prefix
    kept = retentions(servers.kafka, full)
    found = Found({topic: Kept(topic.removeprefix(prefix), kept[topic]) for topic in full})
    events = {prefix + topic for topic in topics()}
    for record in _records(servers, full, found):
        named = _names(record, names)
        if named or record.key in keys:
            found.kept[record.topic].add(record.timestamp, named=named)
        if record.topic in events and record.key and customer.within(record.value):
            found.keys.add(record.key)
        if record.topic.endswith(_TABLE) and record.key is not None:
            _note_row(found, record, forgotten=record.key not in stay and (named or record.key in own))
    return found


def _note_row(found: Found, record: KafkaRecord, *, forgotten: bool) -> None:
    """The newest record of a key is the table's row."""
    row = (record.topic, record.partition, record.key or b"")
    if record.value is not None and forgotten:
        found.rows.add(row)
    else:
        found.rows.discard(row)


def _topics(servers: Servers) -> list[str]:
    """Full names of those that exist."""
    admin = AdminClient({**reaching(servers.kafka), **QUIET})
    there, prefix = admin.list_topics(timeout=_TIMEOUT_S).topics, servers.topic_prefix
    ours = [*topics(), *map(dead_letter_topic, SERVICES), *map(retry_topic, SERVICES), LEDGER_TOPIC, DLQ_AUDIT_TOPIC]
    observers = sorted(topic for topic in there if topic.startswith(f"{prefix}{OBSERVER}-"))
    return [topic for topic in (*(prefix + name for name in ours), *observers) if topic in there]


def _records(servers: Servers, names: list[str], found: Found) -> Iterator[KafkaRecord]:
    def left_out(_topic: str, _partition: int, _offset: int) -> None:
        found.unread += 1

    behind: dict[tuple[str, int], tuple[int, int]] = {}
    for message in dump(servers.kafka, names, left_out=left_out, behind=behind):
        yield record_of(message, unpack=servers.unpack_outbox_headers)
    found.unread += sum(end - stopped for stopped, end in behind.values())


def _names(record: KafkaRecord, names: Names) -> bool:
    headers = (part for name, value in record.headers for part in (name.encode(), value))
    return any(map(names.within, (record.value, record.key, *headers)))


def end_rows(servers: Servers, rows: Iterable[tuple[str, int, bytes]]) -> int:
    """Write a tombstone for each row of the observer's tables; how many. Raises NotDeliveredError, KafkaException.

    Without them the observer writes them itself, OBSERVER_KEEP_S after a checkout has settled, as long as it runs.
    """
    failed: list[str] = []
    producer = Producer(producer_config(servers.kafka) | QUIET)
    ended = sorted(rows)
    for topic, partition, key in ended:
        producer.produce(
            topic,
            key=key,
            partition=partition,
            on_delivery=lambda error, _: failed.append(error.str()) if error else None,
        )
        producer.poll(0)
    if producer.flush(_TIMEOUT_S) or failed:
        reason = failed[0] if failed else f"no answer from the broker within {_TIMEOUT_S:.0f} s"
        raise NotDeliveredError(f"the observer's table was not changed: {reason}")
    return len(ended)
