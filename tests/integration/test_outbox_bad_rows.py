"""Rows that no Kafka record can hold: each blocks its own key, whoever wrote it, and the relay goes on."""

import json
import secrets
import time
from collections.abc import Iterator
from contextlib import closing
from typing import Any, Final
from uuid import uuid4

import pytest
from sqlalchemy import Engine, create_engine, text

import outbox
from outbox import relay as relay_module
from outbox import waiting as waiting_module
from outbox.add import SHARDS, shard_of
from outbox.offered import Offered
from outbox.sending import Outgoing
from outbox.session import own_session
from outbox.waiting import Waiting
from tests.outboxes import Running, Topic, commit, database, key, relays, values, waiting
from tests.servers import TestServers
from tests.system import wait_for

BAD_HEADERS: Final = {
    "object": '{"a": "b"}',
    "number": "7",
    "surrogate": r'[["\ud800", "x"]]',
    "nul": r'[["a\u0000b", "x"]]',
    "value": '[["a", 1]]',
    "base64": '[["a", {"base64": "not base64"}]]',
    "deep": "[" * 2000 + "]" * 2000,
}
BAD_TOPICS: Final = {"empty": "", "long": "t" * 250, "umlaut": "größe", "two lines": "a\nb"}
MIB: Final = 1024 * 1024


@pytest.fixture(scope="module")
def url(servers: TestServers) -> Iterator[str]:
    with database(servers) as url:
        yield url


@pytest.fixture(scope="module")
def engine(url: str) -> Iterator[Engine]:
    engine = create_engine(url)
    yield engine
    engine.dispose()


@pytest.fixture(scope="module")
def topic(servers: TestServers) -> Iterator[Topic]:
    topic = Topic(servers, **{"max.message.bytes": "9000000"})
    topic.create()
    yield topic
    topic.close()


@pytest.fixture
def relay(url: str, engine: Engine, servers: TestServers) -> Iterator[Running]:
    with relays(url, servers) as [running]:
        yield running
    with engine.begin() as db:
        db.execute(text("DELETE FROM outbox"))


@pytest.fixture
def contents(monkeypatch: pytest.MonkeyPatch) -> list[list[int]]:
    """Which rows' contents each read gave."""
    read, real = list[list[int]](), Waiting._fetch

    def fetch(rows: Waiting, statement: str, *given: Any) -> list[tuple[Any, ...]]:
        found = real(rows, statement, *given)
        if statement in {"whole", "large"}:
            read.append([row[0] for row in found])
        return found

    monkeypatch.setattr(Waiting, "_fetch", fetch)
    return read


def insert(engine: Engine, of: str, topic: str, headers: str = "[]", payload: str = "bad") -> int:
    """A row by SQL, as anybody may write it; its seq."""
    sql = text(
        "INSERT INTO outbox (id, aggregatetype, aggregateid, type, payload, topic, key, headers, shard) VALUES"
        " (:id, 'event', :key, 't', convert_to(:payload, 'UTF8'), :topic, convert_to(:key, 'UTF8'),"
        " CAST(:headers AS json), :shard) RETURNING seq"
    )
    row = {"id": uuid4(), "key": of, "payload": payload, "topic": topic, "headers": headers, "shard": shard_of(of)}
    with engine.begin() as db:
        return int(db.execute(sql, row).scalar_one())


def remove(engine: Engine, seq: int) -> None:
    with engine.begin() as db:
        db.execute(text("DELETE FROM outbox WHERE seq = :seq"), {"seq": seq})


def test_every_bad_row_blocks_its_key_and_no_other_and_leaves_when_it_is_taken_out(
    engine: Engine, topic: Topic, relay: Running, monkeypatch: pytest.MonkeyPatch, contents: list[list[int]]
) -> None:
    bad: dict[str, int] = {}
    others: list[str] = []
    for headers, name in [
        *((headers, topic.name) for headers in BAD_HEADERS.values()),
        *(("[]", name) for name in BAD_TOPICS.values()),
    ]:
        mine, other = key(), key()
        bad[mine] = insert(engine, mine, name, headers=headers)
        commit(engine, outbox.Record(topic.name, mine, b"behind it"), outbox.Record(topic.name, other, b"good"))
        others.append(other)
    assert len(topic.await_of(len(others), *others)) == len(others)
    wait_for(lambda: relay.relay.blocked.keys() == bad.keys(), "every bad row's key to be blocked")
    assert {key: blocked.seq for key, blocked in relay.relay.blocked.items()} == bad
    assert all(blocked.why.isascii() for blocked in relay.relay.blocked.values())
    assert waiting(engine, *bad) == 2 * len(bad)
    assert topic.of(*bad) == []
    # polled on, without reading them again
    later = key()
    commit(engine, outbox.Record(topic.name, later, b"later"))
    topic.await_of(1, later)
    read = [seq for part in contents for seq in part]
    assert [read.count(seq) for seq in bad.values()] == [1] * len(bad)
    for seq in bad.values():
        remove(engine, seq)
    monkeypatch.setattr(relay_module, "_BLOCKED_S", 0.0)
    monkeypatch.setattr(relay.relay._blocked, "_clock", lambda: time.monotonic() + 60)
    relay.wake.set()
    assert values(topic.await_of(len(bad), *bad)) == [b"behind it"] * len(bad)
    wait_for(lambda: not relay.relay.blocked, "nothing to be blocked any more")


def test_a_blocked_row_is_tried_again_and_remembers_since_when(
    engine: Engine, topic: Topic, relay: Running, monkeypatch: pytest.MonkeyPatch, contents: list[list[int]]
) -> None:
    monkeypatch.setattr(relay_module, "_BLOCKED_S", 0.3)
    mine = key()
    seq = insert(engine, mine, topic.name, headers="7")
    first = wait_for(lambda: relay.relay.blocked.get(mine), "it to be blocked")
    wait_for(lambda: sum(part.count(seq) for part in contents) >= 3, "it to be tried again")
    blocked = wait_for(lambda: relay.relay.blocked.get(mine), "it to be blocked again")
    assert (blocked.seq, blocked.since, blocked.why) == (seq, first.since, first.why)
    assert blocked.until > first.until


def test_a_row_larger_than_any_record_is_not_even_read(
    engine: Engine, topic: Topic, relay: Running, contents: list[list[int]]
) -> None:
    mine, headers, other = key(), key(), key()
    seqs = {insert(engine, mine, topic.name, payload="x" * 9_000_000)}
    seqs.add(insert(engine, headers, topic.name, headers=json.dumps([["a", "x" * 60_000_000]])))
    wait_for(lambda: {mine, headers} <= relay.relay.blocked.keys(), "both to be blocked")
    commit(engine, outbox.Record(topic.name, other, b"x"))
    topic.await_of(1, other)
    assert "9,00" in relay.relay.blocked[mine].why
    assert "headers have" in relay.relay.blocked[headers].why
    assert not seqs.intersection(seq for part in contents for seq in part)


@pytest.fixture
def few_bytes(monkeypatch: pytest.MonkeyPatch) -> int:
    """A large row is half as large; how many bytes of them are read at once."""
    monkeypatch.setattr(waiting_module, "_AT_ONCE", 200_000)
    return 200_000


def test_large_rows_go_out_whole_and_each_keys_in_order(
    engine: Engine, topic: Topic, servers: TestServers, url: str, few_bytes: int
) -> None:
    keys = [key() for _ in range(12)]
    for number in range(2):
        commit(engine, *(outbox.Record(topic.name, each, bytes([number]) * (few_bytes // 2)) for each in keys))
    packed, zeros = key(), [("zeros", b"0" * MIB)]
    commit(engine, outbox.Record(topic.name, packed, b"x", headers=zeros))
    with relays(url, servers):
        found = topic.await_of(2 * len(keys), *keys)
        [message] = topic.await_of(1, packed)
        wait_for(lambda: waiting(engine, *keys, packed) == 0, "the rows to be deleted")
    assert message.headers() == zeros
    for each in keys:
        assert [m.value() for m in found if m.key() == each.encode()] == [
            bytes([number]) * (few_bytes // 2) for number in range(2)
        ]


def test_no_more_than_so_many_bytes_of_large_rows_are_read_at_once(engine: Engine, few_bytes: int) -> None:
    large = secrets.token_bytes(few_bytes * 2 // 5)
    commit(
        engine, *(outbox.Record("t", key(), large) for _ in range(5)), *(outbox.Record("t", key(), b"") for _ in "ab")
    )
    with closing(own_session(engine)) as session:
        rows = Waiting(session, Offered())
        rows.own(range(SHARDS))
        parts = [[*part] for part in rows.whole(rows.heads([], 1000))]
        rows.drop([row.head[0] for part in parts for row in part])
    sizes = [[len(row.value or b"") for row in part if isinstance(row, Outgoing)] for part in parts]
    assert sizes == [[0, 0], [len(large)] * 2, [len(large)] * 2, [len(large)]]


@pytest.mark.parametrize("error", [ValueError, TypeError, UnicodeDecodeError, OverflowError, SystemError])
def test_what_the_client_raises_for_a_row_is_that_rows_matter(
    engine: Engine, topic: Topic, relay: Running, error: type[Exception]
) -> None:
    """The real producer, which refuses one row of many as its C code would."""
    real, mine, other = relay.relay._sender._producer, key(), key()
    arguments = ("utf-8", b"\xff", 0, 1, "no UTF-8") if error is UnicodeDecodeError else ("refused",)

    class Refusing:
        def produce(self, topic: str, value: Any, key: Any, **more: Any) -> None:
            if value == b"bad":
                raise error(*arguments)
            real.produce(topic, value, key, **more)

        def __len__(self) -> int:
            return len(real)

        def __getattr__(self, name: str) -> Any:
            return getattr(real, name)

    relay.relay._sender._producer = Refusing()  # type: ignore[assignment]
    commit(engine, outbox.Record(topic.name, mine, b"bad"), outbox.Record(topic.name, other, b"good"))
    relay.wake.set()
    assert values(topic.await_of(1, other)) == [b"good"]
    blocked = wait_for(lambda: relay.relay.blocked.get(mine), "it to be blocked")
    assert error.__name__ in blocked.why


def test_who_is_told_of_what_is_sent_can_not_stop_it(
    url: str, engine: Engine, topic: Topic, servers: TestServers
) -> None:
    with relays(url, servers) as [running]:

        def told(_row: Outgoing, _message: Any) -> None:
            raise ValueError("a listener broke")

        running.relay._sender._on_sent = told
        names = [key(), key()]
        commit(engine, *(outbox.Record(topic.name, each, b"x") for each in names))
        assert len(topic.await_of(2, *names)) == 2
        wait_for(lambda: waiting(engine, *names) == 0, "the rows to be deleted")
        assert running.thread.is_alive()


def test_what_could_not_be_published_is_refused_where_it_is_written(engine: Engine, topic: Topic) -> None:
    mine = key()
    for record in (
        outbox.Record("no topic", mine, b"x"),
        outbox.Record(topic.name, mine, b"x", headers=[("\ud800", b"x")]),
        outbox.Record(topic.name, mine, b"x", headers=[(json.loads('"a\\u0000"'), b"x")]),
    ):
        with pytest.raises(ValueError, match="no Kafka record"):
            commit(engine, outbox.Record(topic.name, mine, b"good"), record)
    assert waiting(engine, mine) == 0
