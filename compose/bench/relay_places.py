"""Where a relay is measured: a database with an outbox, topics that note when the broker took a record, real rows."""

import secrets
import time
from collections.abc import Iterator, Mapping, Sequence
from contextlib import closing, contextmanager
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Final
from uuid import uuid4

from confluent_kafka import OFFSET_BEGINNING, Consumer, TopicPartition
from confluent_kafka.admin import AdminClient
from confluent_kafka.admin._listoffsets import OffsetSpec
from confluent_kafka.cimpl import NewTopic
from sqlalchemy import create_engine, make_url, text

import outbox
from outbox import Record
from schemas.envelope import Envelope, event_headers, trace_headers
from schemas.events import CheckoutConfirmed

BATCH: Final = 500
_TOPICS: Final = 6
_PARTITIONS: Final = 6
_PAYLOAD: Final = 200
_ADMIN_S: Final = 30.0
_LIMIT_S: Final = 300.0
_LOOK_S: Final = 0.1


class NotPublishedError(Exception):
    """A relay that hasn't published everything in time."""


@dataclass(frozen=True, slots=True)
class Place:
    """url: of the database, as its superuser. kafka: the bootstrap servers."""

    url: str
    kafka: str
    topics: tuple[str, ...]

    def partitions(self) -> list[TopicPartition]:
        """Of all topics."""
        return [TopicPartition(topic, n, OFFSET_BEGINNING) for topic in self.topics for n in range(_PARTITIONS)]

    def await_published(self, count: int) -> None:
        """Until `count` records are on the topics altogether. Raises NotPublishedError."""
        admin, until = AdminClient({"bootstrap.servers": self.kafka}), time.monotonic() + _LIMIT_S
        while (there := self._published(admin)) < count:
            if time.monotonic() > until:
                raise NotPublishedError(f"{there} of {count} rows were published within {_LIMIT_S:.0f} s")
            time.sleep(_LOOK_S)

    def _published(self, admin: AdminClient) -> int:
        latest = OffsetSpec.latest()  # type: ignore[no-untyped-call]
        asked = admin.list_offsets(dict.fromkeys(self.partitions(), latest))
        return sum(answer.result(_ADMIN_S).offset for answer in asked.values())

    def appended_ms(self, count: int) -> dict[bytes, int]:
        """Key -> when the broker took its record, of the first `count` records; the clock is the machine's."""
        found: dict[bytes, int] = {}
        config = {"bootstrap.servers": self.kafka, "group.id": secrets.token_hex(8), "enable.auto.commit": False}
        with closing(Consumer(config)) as consumer:
            consumer.assign(self.partitions())
            until = time.monotonic() + _LIMIT_S
            while len(found) < count and time.monotonic() < until:
                for message in consumer.consume(10_000, 1.0):
                    key = message.key()
                    found.setdefault(key if isinstance(key, bytes) else b"", message.timestamp()[1])
        return found


@contextmanager
def new_place(environ: Mapping[str, str]) -> Iterator[Place]:
    """For the block. environ: with POSTGRES_ADMIN_URL and KAFKA_BOOTSTRAP_SERVERS."""
    name, kafka = f"relay_{secrets.token_hex(5)}", environ["KAFKA_BOOTSTRAP_SERVERS"]
    topics = tuple(f"{name}.{n}" for n in range(_TOPICS))
    server = make_url(environ["POSTGRES_ADMIN_URL"])
    url = server.set(database=name).render_as_string(hide_password=False)
    admin, kafka_admin = create_engine(server, isolation_level="AUTOCOMMIT"), AdminClient({"bootstrap.servers": kafka})
    with admin.connect() as db:
        db.execute(text(f"CREATE DATABASE {name}"))
    try:
        _fill(url, kafka_admin, topics)
        yield Place(url, kafka, topics)
    finally:
        for done in kafka_admin.delete_topics(list(topics)).values():
            done.exception(_ADMIN_S)
        with admin.connect() as db:
            db.execute(text(f"DROP DATABASE {name} WITH (FORCE)"))
        admin.dispose()


def _fill(url: str, kafka: AdminClient, topics: Sequence[str]) -> None:
    engine = create_engine(url)
    with engine.begin() as db:
        outbox.create_tables(db)
    engine.dispose()
    config = {"message.timestamp.type": "LogAppendTime"}
    made = kafka.create_topics([NewTopic(t, num_partitions=_PARTITIONS, config=config) for t in topics])
    for done in made.values():
        done.result(_ADMIN_S)


def rows(topics: Sequence[str], count: int) -> list[Record]:
    """Events as services write them, with a key each."""
    return [_row(topics[n % len(topics)]) for n in range(count)]


def _row(topic: str) -> Record:
    event = CheckoutConfirmed(checkout_id=f"c-{secrets.token_hex(8)}", order_id=uuid4())
    trace = [*trace_headers([]), ("tracestate", b"shop=00f067aa0ba902b7")]
    cause = uuid4()
    headers = event_headers(Envelope(event, cause, datetime.now(UTC)), "checkout", cause, trace)
    payload = secrets.token_bytes(_PAYLOAD // 2) + b"." * (_PAYLOAD // 2)
    return Record(topic, event.checkout_id, payload, type=event.TYPE, headers=headers)


def write(url: str, records: Sequence[Record]) -> None:
    """Commit them in batches."""
    engine = create_engine(url)
    for start in range(0, len(records), BATCH):
        with engine.begin() as db:
            outbox.add(db, *records[start : start + BATCH])
    engine.dispose()
