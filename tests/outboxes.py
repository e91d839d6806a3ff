"""A service that isn't ours, for tests of the outbox: its database, its topic, its relays."""

import threading
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from typing import Any, Final
from uuid import uuid4

from confluent_kafka import OFFSET_BEGINNING, Consumer, Message, Producer, TopicPartition
from confluent_kafka.admin import AdminClient
from confluent_kafka.admin._config import AlterConfigOpType, ConfigEntry, ConfigResource
from confluent_kafka.admin._resource import ResourceType
from confluent_kafka.cimpl import NewTopic
from sqlalchemy import Engine, create_engine, make_url, text

import outbox
from outbox.relay import Relay, producer_config
from tests.servers import TestServers
from tests.system import wait_for

_ADMIN_S: Final = 30.0


@contextmanager
def database(servers: TestServers) -> Iterator[str]:
    """The URL of a new database with the library's tables."""
    name = f"other_{uuid4().hex[:10]}"
    admin = create_engine(servers.postgres_admin, isolation_level="AUTOCOMMIT")
    with admin.connect() as db:
        db.execute(text(f"CREATE DATABASE {name}"))
    url = make_url(servers.postgres_admin).set(database=name).render_as_string(hide_password=False)
    engine = create_engine(url)
    with engine.begin() as db:
        outbox.create_tables(db)
    engine.dispose()
    yield url
    with admin.connect() as db:
        db.execute(text(f"DROP DATABASE {name} WITH (FORCE)"))
    admin.dispose()


@contextmanager
def engine_of(url: str) -> Iterator[Engine]:
    """An engine whose connections are gone afterwards, as when its process ends."""
    engine = create_engine(url)
    yield engine
    engine.dispose()


class Topic:
    """A topic of the test's own, and all that was ever published on it."""

    def __init__(self, servers: TestServers, **config: str) -> None:
        self.name = f"other.{uuid4().hex[:10]}"
        self._config = config
        self._seen: list[Message] = []
        self._admin = AdminClient({"bootstrap.servers": servers.kafka})
        self._consumer = Consumer(
            {"bootstrap.servers": servers.kafka, "group.id": self.name, "enable.auto.commit": False}
        )

    def create(self, partitions: int = 3) -> None:
        """Make it."""
        topic = NewTopic(self.name, num_partitions=partitions, replication_factor=1, config=self._config)
        self._admin.create_topics([topic])[self.name].result(timeout=_ADMIN_S)
        self._consumer.assign([TopicPartition(self.name, n, OFFSET_BEGINNING) for n in range(partitions)])

    def set(self, name: str, value: str) -> None:
        """Change one of its settings."""
        entry = ConfigEntry(name, value, incremental_operation=AlterConfigOpType.SET)
        resource = ConfigResource(ResourceType.TOPIC, self.name, incremental_configs=[entry])
        self._admin.incremental_alter_configs([resource])[resource].result(timeout=_ADMIN_S)

    def of(self, *keys: str) -> list[Message]:
        """The messages with one of these keys that have come until now, in their order."""
        self._seen += [message for message in self._consumer.consume(5000, 0.02) if message.error() is None]
        wanted = {key.encode() for key in keys}
        return [message for message in self._seen if message.key() in wanted]

    def all(self) -> list[Message]:
        """Every message that has come until now."""
        self.of()
        return self._seen

    def await_of(self, count: int, *keys: str, limit_s: float = 30.0) -> list[Message]:
        """Wait for `count` messages with these keys."""
        found = wait_for(
            lambda: messages if len(messages := self.of(*keys)) >= count else None,
            f"{count} messages of {', '.join(keys[:3])}",
            limit_s,
        )
        assert len(found) == count
        return list(found)

    def close(self) -> None:
        """Drop it."""
        self._consumer.close()
        if self.name in self._admin.list_topics(timeout=_ADMIN_S).topics:
            self._admin.delete_topics([self.name])[self.name].result(timeout=_ADMIN_S)


@dataclass
class Running:
    """A relay in a thread of its own, on connections of its own."""

    relay: Relay
    wake: outbox.Wake
    thread: threading.Thread
    engine: Engine
    stopped: bool = False

    def stop(self) -> None:
        """As when its process ends."""
        if not self.stopped:
            self.stopped = True
            self.relay.stop()
            self.thread.join(30)
            assert not self.thread.is_alive()
            self.wake.close()
            self.engine.dispose()


def start_relay(url: str, servers: TestServers) -> Running:
    engine, wake = create_engine(url), outbox.Wake()
    relay = Relay(engine, lambda: Producer(producer_config(servers.kafka)), wake)
    thread = threading.Thread(target=relay.run, name="relay")
    thread.start()
    running = Running(relay, wake, thread, engine)
    wait_for(lambda: relay.connected, "the relay to be connected")
    return running


@contextmanager
def relays(url: str, servers: TestServers, count: int = 1) -> Iterator[list[Running]]:
    """As many relays as there are copies of the other service."""
    with ExitStack() as stack:
        started = []
        for _ in range(count):
            started.append(start_relay(url, servers))
            stack.callback(started[-1].stop)
        yield started


def key() -> str:
    return f"o-{uuid4().hex[:12]}"


def commit(engine: Engine, *records: outbox.Record) -> None:
    with engine.begin() as db:
        outbox.add(db, *records)


def waiting(engine: Engine, *keys: str) -> int:
    """How many rows of these keys are not published yet."""
    with engine.connect() as db:
        sql = text("SELECT count(*) FROM outbox WHERE aggregateid = ANY(:keys)")
        return int(db.execute(sql, {"keys": list(keys)}).scalar_one())


def values(messages: list[Message]) -> list[Any]:
    return [message.value() for message in messages]
