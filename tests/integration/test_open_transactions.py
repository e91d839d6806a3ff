"""What is said behind another producer's open transaction is heard beside the consumer, on a real broker."""

import time
from collections.abc import Callable, Iterator
from contextlib import closing
from typing import Any
from uuid import uuid4

import pytest
from confluent_kafka import Consumer, KafkaError, Producer, TopicPartition
from confluent_kafka.admin import AdminClient
from confluent_kafka.cimpl import NewTopic

from schemas.kafka.behind import said_behind
from schemas.kafka.record import KafkaRecord, record_of
from services.shell.open_transactions import OpenTransactions
from tests.servers import TestServers
from tests.system import wait_for

AFTER_S = 0.6
PARTITIONS = 2
Topic = Callable[[], str]


@pytest.fixture
def topic(servers: TestServers) -> Iterator[str]:
    admin = AdminClient({"bootstrap.servers": servers.kafka})
    name = f"open-{uuid4().hex[:8]}"
    admin.create_topics([NewTopic(name, PARTITIONS)])[name].result(30)
    yield name
    admin.delete_topics([name])[name].result(30)


class Reader:
    """A consumer of committed messages as a service has it, and what is said beyond where it stands."""

    def __init__(self, servers: TestServers, topic: str, *, group: str = "") -> None:
        self.stands: dict[tuple[str, int], int] = {}
        self.ahead: list[KafkaRecord] = []
        self.heard: list[KafkaRecord] = []
        self.beyond = OpenTransactions(servers.kafka, after_s=AFTER_S)
        self._consumer = Consumer(
            {
                "bootstrap.servers": servers.kafka,
                "group.id": group or f"reader-{uuid4().hex[:8]}",
                "group.protocol": "consumer",
                "enable.auto.commit": False,
                "auto.offset.reset": "earliest",
                "enable.partition.eof": True,
                "fetch.wait.max.ms": 100,
            }
        )
        self._consumer.subscribe([topic], on_revoke=self._gone, on_lost=self._gone)

    def close(self) -> None:
        self._consumer.close()
        self.beyond.close()

    def turn(self) -> None:
        """One turn of a service's loop, less the work."""
        for message in self._consumer.consume(1000, 0.05):
            error = message.error()
            if error is None:
                self.heard.append(record_of(message))
            elif error.code() == KafkaError._PARTITION_EOF:
                self.stands[str(message.topic()), int(message.partition() or 0)] = int(message.offset() or 0)
        self.ahead += self.beyond.beyond(self.stands, 500)

    def until(self, condition: Callable[[], Any], what: str, limit_s: float = 30) -> None:
        def asked() -> Any:
            self.turn()
            return condition()

        wait_for(asked, what, limit_s, 0)

    def rest(self, seconds: float) -> None:
        """Turn for so long: to see that nothing more comes."""
        until = time.monotonic() + seconds
        self.until(lambda: time.monotonic() > until, "the time to pass")

    def commit(self, topic: str) -> None:
        """What a service commits: how far it heard."""
        after = {(r.topic, r.partition): r.offset + 1 for r in self.heard if r.topic == topic}
        self._consumer.commit(offsets=[TopicPartition(*p, offset) for p, offset in after.items()], asynchronous=False)

    def _gone(self, _consumer: Consumer, partitions: list[TopicPartition]) -> None:
        places = {(p.topic, p.partition) for p in partitions}
        for place in places:
            self.stands.pop(place, None)
        self.beyond.forget(places)


@pytest.fixture
def reader(servers: TestServers, topic: str) -> Iterator[Reader]:
    with closing(Reader(servers, topic)) as found:
        yield found


class Writer:
    """A producer. say: returns when the broker has it."""

    def __init__(self, servers: TestServers, topic: str, **settings: Any) -> None:
        self._producer = Producer({"bootstrap.servers": servers.kafka, "linger.ms": 0, **settings})
        self._topic = topic

    def say(self, *values: str, partition: int = 0) -> None:
        for value in values:
            self._producer.produce(self._topic, value.encode(), b"key", partition=partition, headers=[("n", b"1")])
        assert self._producer.flush(30) == 0


class Transaction(Writer):
    """A producer with an open transaction."""

    def __init__(self, servers: TestServers, topic: str) -> None:
        name = f"tx-{uuid4().hex[:8]}"
        super().__init__(servers, topic, **{"transactional.id": name, "transaction.timeout.ms": 300_000})
        self._producer.init_transactions(30)
        self.begin()

    def begin(self) -> None:
        self._producer.begin_transaction()

    def commit(self) -> None:
        self._producer.commit_transaction(30)

    def abort(self) -> None:
        self._producer.abort_transaction(30)


@pytest.fixture
def shop(servers: TestServers, topic: str) -> Writer:
    return Writer(servers, topic)


@pytest.fixture
def hanging(servers: TestServers, topic: str) -> Transaction:
    return Transaction(servers, topic)


def values(records: list[KafkaRecord]) -> list[str]:
    return [(record.value or b"").decode() for record in records]


@pytest.mark.parametrize("ending", ["commit", "abort"])
def test_only_the_open_transaction_waits_for_its_end(
    reader: Reader, shop: Writer, hanging: Transaction, ending: str
) -> None:
    shop.say("before")
    hanging.say("inside 1")
    shop.say("between")
    hanging.say("inside 2")
    shop.say("behind 1", "behind 2")
    reader.until(lambda: len(reader.ahead) == 3, "what is said behind the transaction")
    shop.say("behind 3")
    reader.until(lambda: len(reader.ahead) == 4, "what is said later")
    assert values(reader.heard) == ["before"]
    assert values(reader.ahead) == ["between", "behind 1", "behind 2", "behind 3"]
    {"commit": hanging.commit, "abort": hanging.abort}[ending]()
    shop.say("after")
    reader.until(lambda: "after" in values(reader.heard), "the consumer to go on")
    inside = {"commit": ["inside 1", "inside 2"], "abort": []}[ending]
    everything = ["before", *inside[:1], "between", *inside[1:], "behind 1", "behind 2", "behind 3", "after"]
    assert values(reader.heard) == everything
    reader.until(lambda: not reader.beyond.held(), "the partition to be free")
    assert values(reader.ahead) == ["between", "behind 1", "behind 2", "behind 3"]
    # both readings of a record are one message
    heard = {record.place: record for record in reader.heard}
    assert [heard[record.place] for record in reader.ahead] == reader.ahead


def test_a_transaction_that_was_committed_behind_an_open_one_is_read(
    reader: Reader, hanging: Transaction, servers: TestServers, topic: str
) -> None:
    hanging.say("never")
    second, third = Transaction(servers, topic), Transaction(servers, topic)
    for transaction in (second, third):
        transaction.say("a", "b")
    second.commit()
    third.abort()
    reader.until(lambda: len(reader.ahead) == 2, "the committed transaction")
    second.begin()
    second.say("c")
    reader.rest(1)
    assert values(reader.ahead) == ["a", "b"]
    second.commit()
    reader.until(lambda: len(reader.ahead) == 3, "the next one, which was seen open")
    assert values(reader.ahead) == ["a", "b", "c"]
    hanging.abort()
    reader.until(lambda: len(reader.heard) == 3, "the consumer")
    assert values(reader.heard) == ["a", "b", "c"]


def test_what_hangs_is_named_while_it_hangs(reader: Reader, shop: Writer, hanging: Transaction, topic: str) -> None:
    shop.say("x")
    hanging.say("inside", partition=1)
    began = time.time()
    shop.say("behind", partition=1)
    reader.until(lambda: reader.ahead, "what is said behind it")
    [(place, held)] = reader.beyond.held().items()
    assert place == (topic, 1)
    assert held.offset == 0
    assert began - 1 <= held.since <= time.time()
    assert held.producer_id is not None
    assert held.producer_id >= 0
    hanging.commit()
    reader.until(lambda: not reader.beyond.held(), "nothing to hang")


def test_two_open_transactions_end_one_after_the_other(
    reader: Reader, shop: Writer, hanging: Transaction, servers: TestServers, topic: str
) -> None:
    hanging.say("first")
    shop.say("a")
    second = Transaction(servers, topic)
    second.say("second")
    shop.say("b")
    reader.until(lambda: len(reader.ahead) == 2, "what is said behind both")
    hanging.commit()
    reader.until(lambda: values(reader.heard) == ["first", "a"], "the consumer to come to the second")
    shop.say("c")
    reader.until(lambda: values(reader.ahead) == ["a", "b", "c"], "what is said behind the second")
    second.abort()
    reader.until(lambda: values(reader.heard) == ["first", "a", "b", "c"], "the consumer to come to the end")


def test_a_short_transaction_makes_nothing_come_twice(reader: Reader, shop: Writer, hanging: Transaction) -> None:
    for n in range(3):
        hanging.say(f"inside {n}")
        shop.say(f"behind {n}")
        hanging.commit()
        hanging.begin()
    reader.until(lambda: len(reader.heard) == 6, "the consumer")
    assert reader.ahead == []


def test_a_partition_that_moves_is_read_where_it_goes(
    servers: TestServers, topic: str, shop: Writer, hanging: Transaction
) -> None:
    group = f"group-{uuid4().hex[:8]}"
    with closing(Reader(servers, topic, group=group)) as first:
        for partition in range(PARTITIONS):
            shop.say("before", partition=partition)
            hanging.say("inside", partition=partition)
            shop.say("behind", partition=partition)
        first.until(lambda: len(first.ahead) == 2, "what is said behind the transaction")
        first.commit(topic)
        with closing(Reader(servers, topic, group=group)) as second:

            def shared() -> bool:
                first.turn()
                return bool(second.ahead)

            second.until(shared, "one partition to move, and what lies behind the transaction there")
            # nothing was committed beyond the transaction
            assert second.heard == []
            [moved] = {record.partition for record in second.ahead}
            assert (topic, moved) not in first.stands
            assert set(first.beyond.held()) <= {(topic, 1 - moved)}
            shop.say("later", partition=moved)
            second.until(lambda: values(second.ahead) == ["behind", "later"], "what comes later")
            seen = len(first.ahead)
            first.rest(1)
            assert len(first.ahead) == seen


def test_a_reader_that_starts_while_a_transaction_hangs_reads_behind_it(
    servers: TestServers, topic: str, shop: Writer, hanging: Transaction
) -> None:
    group = f"group-{uuid4().hex[:8]}"
    with closing(Reader(servers, topic, group=group)) as first:
        shop.say("before")
        first.until(lambda: first.heard, "the message")
        first.commit(topic)
    hanging.say("inside")
    shop.say("behind")
    with closing(Reader(servers, topic, group=group)) as again:
        again.until(lambda: again.ahead, "what lies behind the transaction")
        assert (values(again.heard), values(again.ahead)) == ([], ["behind"])


def test_more_than_there_is_room_for_comes_in_order(reader: Reader, shop: Writer, hanging: Transaction) -> None:
    hanging.say("inside")
    said = [f"{n} {'x' * 1000}" for n in range(9000)]
    shop.say(*said)
    reader.until(lambda: len(reader.ahead) >= len(said), "all of it", 60)
    assert values(reader.ahead) == said


@pytest.mark.parametrize("codec", ["none", "gzip", "snappy", "lz4", "zstd"])
def test_both_readings_are_the_same_whatever_is_sent(
    servers: TestServers, topic: str, reader: Reader, hanging: Transaction, codec: str
) -> None:
    hanging.say("inside")
    odd = Producer({"bootstrap.servers": servers.kafka, "compression.type": codec, "linger.ms": 200})
    headers: list[Any] = [
        [],
        [("a", b"1"), ("a", None), ("", b""), ("\U0001f600", bytes(range(256)))],
        [(f"h{n}", b"v") for n in range(3000)],
    ]
    sent = [
        (k, v, h, t) for k in (None, b"", b"k") for v in (None, b"", b"v" * 5000) for h in headers for t in (1, 2**40)
    ]
    for key, value, some, at in sent:
        odd.produce(topic, value, key, partition=0, headers=some, timestamp=at)
    assert odd.flush(30) == 0
    reader.until(lambda: len(reader.ahead) == len(sent), "all of it")
    hanging.abort()
    reader.until(lambda: len(reader.heard) == len(sent), "the consumer")
    assert reader.heard == reader.ahead


def test_what_unpacks_to_too_much_is_left_to_the_consumer(
    servers: TestServers, topic: str, reader: Reader, shop: Writer, hanging: Transaction
) -> None:
    hanging.say("inside")
    large = Producer({"bootstrap.servers": servers.kafka, "compression.type": "zstd", "message.max.bytes": 100_000_000})
    large.produce(topic, bytes(30_000_000), b"key", partition=0)
    assert large.flush(60) == 0
    shop.say("behind")
    reader.until(lambda: reader.ahead, "what lies behind it")
    assert values(reader.ahead) == ["behind"]
    hanging.abort()
    reader.until(lambda: len(reader.heard) == 2, "the consumer")
    assert len(reader.heard[0].value or b"") == 30_000_000


def test_a_broker_that_answers_nobody_stops_nothing() -> None:
    with closing(OpenTransactions("127.0.0.1:1", after_s=0.1)) as beyond:
        until = time.monotonic() + 1
        while time.monotonic() < until:
            began = time.monotonic()
            assert beyond.beyond({("t", 0): 5}, 10) == []
            assert time.monotonic() - began < 0.1
            time.sleep(0.05)
        assert beyond.held() == {}


def test_one_who_reads_what_is_there_reads_behind_open_transactions(
    servers: TestServers, topic: str, shop: Writer, hanging: Transaction
) -> None:
    shop.say("before")
    hanging.say("inside")
    second = Transaction(servers, topic)
    second.say("a")
    shop.say("b", "c")
    second.commit()
    hanging.say("inside", partition=1)
    shop.say("d", partition=1)
    high = 7
    found = list(said_behind(servers.kafka, {(topic, 0): (1, high), (topic, 1): (0, 1)}, pytest.fail))
    assert values(found) == ["b", "c", "a"]
    assert list(said_behind(servers.kafka, {(topic, 0): (high, high)}, pytest.fail)) == []
    found = list(said_behind(servers.kafka, {(topic, 0): (1, 4), (topic, 1): (0, 2)}, pytest.fail))
    assert sorted(values(found)) == ["a", "b", "d"]
