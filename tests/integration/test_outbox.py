"""The outbox and inbox as a library: for a service that isn't ours, with its own tables, topic and relay."""

import math
import secrets
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from datetime import date, timedelta
from typing import Any, Final
from uuid import UUID

import pytest
from confluent_kafka import Message, Producer
from sqlalchemy import Connection, Engine, text
from sqlalchemy.orm import DeclarativeBase, Mapped, Session, mapped_column
from uuid_utils.compat import uuid7

import outbox
from outbox import inbox, offered
from outbox import relay as relay_module
from outbox.add import SHARDS, shard_of
from outbox.inbox import HandledElsewhereError, Seen
from outbox.offered import Offered
from outbox.relay import producer_config
from outbox.shards import _PRESENCE_LOCK, _SHARD_LOCK
from outbox.waiting import Waiting
from outbox.wake import notify
from tests.outboxes import Running, Topic, commit, database, engine_of, key, relays, values, waiting
from tests.servers import TestServers
from tests.system import free_port, wait_for

TODAY: Final = date(2026, 3, 1)


class Base(DeclarativeBase):
    """The other service's tables."""


class Order(Base):
    """The caller's own row."""

    __tablename__ = "orders"

    order_id: Mapped[str] = mapped_column(primary_key=True)


@pytest.fixture(scope="module")
def url(servers: TestServers) -> Iterator[str]:
    with database(servers) as url, engine_of(url) as engine:
        Base.metadata.create_all(engine)
        yield url


@pytest.fixture(scope="module")
def engine(url: str) -> Iterator[Engine]:
    with engine_of(url) as engine:
        yield engine


@pytest.fixture
def own_engine(servers: TestServers) -> Iterator[Engine]:
    """An engine on a database that no other test sees."""
    with database(servers) as url, engine_of(url) as engine:
        yield engine


@pytest.fixture(scope="module")
def topic(servers: TestServers) -> Iterator[Topic]:
    topic = Topic(servers)
    topic.create()
    yield topic
    topic.close()


@pytest.fixture
def relay(url: str, servers: TestServers) -> Iterator[Running]:
    with relays(url, servers) as [running]:
        yield running


# --- the caller's transaction ---------------------------------------------------------------------------------------


def test_a_commit_publishes_the_record_once_and_keeps_the_callers_row(
    engine: Engine, topic: Topic, relay: Running
) -> None:
    order_id = key()
    with Session(engine) as session, session.begin():
        session.add(Order(order_id=order_id))
        outbox.add(session, outbox.Record(topic.name, order_id, b"placed"))
    assert values(topic.await_of(1, order_id)) == [b"placed"]
    wait_for(lambda: waiting(engine, order_id) == 0, "the row to be deleted")
    with Session(engine) as session:
        assert session.get(Order, order_id) is not None
    marker = key()
    commit(engine, outbox.Record(topic.name, marker, b""))
    topic.await_of(1, marker)
    assert len(topic.of(order_id)) == 1


def test_a_rollback_publishes_nothing(engine: Engine, topic: Topic, relay: Running) -> None:
    order_id, marker = key(), key()
    with Session(engine) as session:
        session.add(Order(order_id=order_id))
        outbox.add(session, outbox.Record(topic.name, order_id, b"placed"))
        session.flush()
        session.rollback()
    commit(engine, outbox.Record(topic.name, marker, b""))
    topic.await_of(1, marker)
    assert topic.of(order_id) == []
    with Session(engine) as session:
        assert session.get(Order, order_id) is None


def test_nothing_to_add_is_no_statement_and_no_error(engine: Engine) -> None:
    with engine.begin() as db:
        outbox.add(db)


BYTES: Final = bytes(range(256))

INTACT: Final[dict[str, tuple[bytes | None, list[tuple[str, bytes | None]]]]] = {
    "an empty payload": (b"", []),
    "a tombstone": (None, []),
    "a binary payload": (BYTES, []),
    "a text header": (b"x", [("name", b"value"), ("leer", b""), ("umlaut", "größer".encode())]),
    "a binary header": (b"x", [("raw", BYTES), ("latin", b"\xe9")]),
    "a header with a NUL": (b"x", [("nul", b"a\x00b")]),
    "a header without a value": (b"x", [("none", None)]),
    "a header that looks like our own JSON": (b"x", [("json", b'{"base64": "eA=="}'), ("null", b"null")]),
    "a header that stands twice": (b"x", [("twice", b"1"), ("once", b"2"), ("twice", b"3")]),
}


@pytest.mark.parametrize(("payload", "headers"), INTACT.values(), ids=INTACT.keys())
def test_payload_and_headers_arrive_byte_for_byte(
    engine: Engine, topic: Topic, relay: Running, payload: bytes | None, headers: list[tuple[str, bytes | None]]
) -> None:
    name = key()
    commit(engine, outbox.Record(topic.name, name, payload, headers=headers))
    relay.wake.set()
    [message] = topic.await_of(1, name)
    assert message.value() == payload
    assert (message.headers() or []) == headers


def by_header(topic: Topic, mark: bytes) -> Message | None:
    return next((m for m in topic.all() if m.headers() == [("mark", mark)]), None)


@pytest.mark.parametrize("raw_key", [None, BYTES, b"other"], ids=["none", "binary", "another"])
def test_the_kafka_key_may_differ_from_the_ordering_key(
    engine: Engine, topic: Topic, relay: Running, raw_key: bytes | None
) -> None:
    name = key()
    commit(engine, outbox.Record(topic.name, name, b"x", headers=[("mark", name.encode())], raw_key=raw_key))
    message = wait_for(lambda: by_header(topic, name.encode()), "the message")
    assert message.key() == raw_key


def test_a_key_is_text_of_any_language(engine: Engine, topic: Topic, relay: Running) -> None:
    name = f"{key()}-größe-漢字"
    commit(engine, outbox.Record(topic.name, name, b"x"))
    assert values(topic.await_of(1, name)) == [b"x"]


def test_the_table_has_the_columns_that_debeziums_router_reads(engine: Engine) -> None:
    sql = "SELECT column_name, data_type FROM information_schema.columns WHERE table_name = 'outbox'"
    with engine.connect() as db:
        columns = {row.column_name: row.data_type for row in db.execute(text(sql))}
    wanted = {"id": "uuid", "aggregatetype": "text", "aggregateid": "text", "type": "text", "payload": "bytea"}
    assert wanted.items() <= columns.items()


def test_creating_the_tables_again_keeps_what_is_in_them(own_engine: Engine) -> None:
    with own_engine.begin() as db:
        outbox.add(db, outbox.Record("t", "k", b"x"))
        outbox.create_tables(db)
    assert waiting(own_engine, "k") == 1


# --- order and shares -----------------------------------------------------------------------------------------------

KEYS: Final = 200
ROWS: Final = 15


def write(engine: Engine, topic: Topic, keys: list[str], numbers: range) -> None:
    """One row of each key per transaction."""
    for number in numbers:
        commit(engine, *(outbox.Record(topic.name, name, str(number).encode()) for name in keys))


def owners(engine: Engine) -> list[int]:
    """How many shards each relay holds."""
    sql = text(
        "SELECT count(*) FROM pg_locks WHERE locktype = 'advisory' AND classid = :shards AND granted"
        " AND database = (SELECT oid FROM pg_database WHERE datname = current_database()) GROUP BY pid"
    )
    with engine.connect() as db:
        return list(db.execute(sql, {"shards": _SHARD_LOCK}).scalars())


def by_key(messages: list[Message]) -> dict[Any, list[Any]]:
    found: dict[Any, list[Any]] = {}
    for message in messages:
        found.setdefault(message.key(), []).append(message.value())
    return found


def distinct(topic: Topic, keys: list[str]) -> dict[Any, list[Any]]:
    """Each key's different values in the order in which they first came."""
    return {name: list(dict.fromkeys(found)) for name, found in by_key(topic.of(*keys)).items()}


def in_order(keys: list[str], rows: int) -> dict[bytes, list[bytes]]:
    return {name.encode(): [str(number).encode() for number in range(rows)] for name in keys}


def assert_in_order(topic: Topic, keys: list[str], rows: int) -> None:
    assert by_key(topic.await_of(len(keys) * rows, *keys)) == in_order(keys, rows)


def test_two_relays_share_the_keys_and_each_keys_rows_stay_in_order(
    url: str, engine: Engine, topic: Topic, servers: TestServers
) -> None:
    keys = [key() for _ in range(KEYS)]
    with relays(url, servers, 2), ThreadPoolExecutor(1) as writer:
        written = writer.submit(write, engine, topic, keys, range(ROWS))
        wait_for(lambda: owners(engine) == [SHARDS // 2] * 2, "each relay to own half of the shards")
        written.result()
        assert_in_order(topic, keys, ROWS)
    assert waiting(engine, *keys) == 0


def test_when_a_relay_ends_the_other_takes_over_in_order(
    url: str, engine: Engine, topic: Topic, servers: TestServers
) -> None:
    keys = [key() for _ in range(KEYS)]
    with relays(url, servers, 2) as [first, _second], ThreadPoolExecutor(1) as writer:
        wait_for(lambda: owners(engine) == [SHARDS // 2] * 2, "each relay to own half of the shards")
        written = writer.submit(write, engine, topic, keys, range(ROWS))
        first.stop()
        wait_for(lambda: owners(engine) == [SHARDS], "the other relay to own every shard")
        written.result()
        assert_in_order(topic, keys, ROWS)


def test_three_relays_leave_no_shard_alone(url: str, engine: Engine, servers: TestServers) -> None:
    with relays(url, servers, 3):
        wait_for(lambda: sum(found := owners(engine)) == SHARDS and len(found) == 3, "three relays to share")
        assert max(owners(engine)) <= math.ceil(SHARDS / 3)


def test_a_transaction_that_commits_late_is_not_skipped(engine: Engine, topic: Topic, relay: Running) -> None:
    early, late = key(), key()
    with engine.connect() as slow, slow.begin() as transaction:
        outbox.add(slow, outbox.Record(topic.name, late, b"late"))
        commit(engine, outbox.Record(topic.name, early, b"early"))
        topic.await_of(1, early)
        assert topic.of(late) == []
        transaction.commit()
    assert values(topic.await_of(1, late)) == [b"late"]


# --- a broker that refuses, a connection that is cut ----------------------------------------------------------------


def test_a_row_that_the_broker_refuses_blocks_its_key_and_goes_out_when_the_cause_is_gone(
    engine: Engine, topic: Topic, relay: Running, servers: TestServers, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(relay_module, "_BLOCKED_S", 0.5)
    narrow = Topic(servers, **{"max.message.bytes": "20000"})
    narrow.create()
    big, refused, other = secrets.token_bytes(50_000), key(), key()
    commit(engine, outbox.Record(narrow.name, refused, big), outbox.Record(topic.name, refused, b"behind it"))
    write(engine, topic, [other], range(10))
    assert_in_order(topic, [other], 10)
    assert waiting(engine, refused) == 2
    assert topic.of(refused) == []
    narrow.set("max.message.bytes", "200000")
    assert values(narrow.await_of(1, refused)) == [big]
    assert values(topic.await_of(1, refused)) == [b"behind it"]
    narrow.close()


def cut_relays(engine: Engine) -> int:
    """Cut the connections of every relay of this database; how many there were."""
    sql = (
        "SELECT pg_terminate_backend(pid) FROM pg_locks WHERE locktype = 'advisory' AND classid = :presence"
        " AND database = (SELECT oid FROM pg_database WHERE datname = current_database())"
    )
    with engine.connect() as db:
        return len(db.execute(text(sql), {"presence": _PRESENCE_LOCK}).all())


def test_a_relay_whose_connection_is_cut_goes_on(engine: Engine, topic: Topic, relay: Running) -> None:
    for _ in range(3):
        name = key()
        assert wait_for(lambda: cut_relays(engine), "a relay to be connected") == 1
        commit(engine, outbox.Record(topic.name, name, b"x"))
        assert values(topic.await_of(1, name)) == [b"x"]
        assert relay.thread.is_alive()


def test_a_connection_that_is_cut_under_load_loses_nothing_and_keeps_the_order(
    engine: Engine, topic: Topic, relay: Running
) -> None:
    keys = [key() for _ in range(KEYS)]
    with ThreadPoolExecutor(1) as writer:
        written = writer.submit(write, engine, topic, keys, range(ROWS))
        wait_for(lambda: topic.of(*keys), "the first messages")
        cut_relays(engine)
        written.result()
    wait_for(lambda: waiting(engine, *keys) == 0, "every row to be published")
    # what was published and not yet deleted comes again, which inboxes drop
    wait_for(lambda: sum(map(len, distinct(topic, keys).values())) >= KEYS * ROWS, "every message")
    assert distinct(topic, keys) == in_order(keys, ROWS)


# --- what was just committed ----------------------------------------------------------------------------------------


@pytest.fixture
def unread(monkeypatch: pytest.MonkeyPatch) -> list[int]:
    """How many rows each read of whole rows asked for: none, when everything was known."""
    asked, real = list[int](), Waiting._fetch

    def fetch(rows: Waiting, statement: str, *values: Any) -> list[tuple[Any, ...]]:
        if statement == "whole":
            asked.append(values[0].count(",") + 1)
        return real(rows, statement, *values)

    monkeypatch.setattr(Waiting, "_fetch", fetch)
    return asked


def offer(engine: Engine, relay: Running, *records: outbox.Record) -> None:
    """As a service does: commit, offer, wake. The relay sees nothing of it before it is offered."""
    with engine.begin() as db:
        outbox.add(db, *records)
        relay.relay.offer(records)
    relay.wake.set()


@pytest.mark.parametrize(("payload", "headers"), INTACT.values(), ids=INTACT.keys())
def test_what_is_offered_goes_out_byte_for_byte_and_is_not_read(
    engine: Engine, topic: Topic, relay: Running, unread: list[int],
    payload: bytes | None, headers: list[tuple[str, bytes | None]],
) -> None:  # fmt: skip
    wait_for(lambda: len(relay.relay._offered.shards) == SHARDS, "the relay to own every shard")
    name = key()
    offer(engine, relay, outbox.Record(topic.name, name, payload, headers=headers))
    [message] = topic.await_of(1, name)
    assert message.value() == payload
    assert (message.headers() or []) == headers
    assert unread == []


def test_the_key_of_what_is_offered_may_differ_from_the_ordering_key(
    engine: Engine, topic: Topic, relay: Running
) -> None:
    mark = key().encode()
    offer(engine, relay, outbox.Record(topic.name, key(), b"x", headers=[("mark", mark)], raw_key=BYTES))
    assert wait_for(lambda: by_header(topic, mark), "the message").key() == BYTES


def test_what_is_offered_and_rolled_back_is_never_published(engine: Engine, topic: Topic, relay: Running) -> None:
    gone, marker = outbox.Record(topic.name, key(), b"x"), key()
    with engine.connect() as db, db.begin() as transaction:
        outbox.add(db, gone)
        relay.relay.offer([gone])
        transaction.rollback()
    offer(engine, relay, outbox.Record(topic.name, marker, b"x"))
    topic.await_of(1, marker)
    assert topic.of(gone.key) == []


def test_offered_and_other_rows_of_a_key_stay_in_order(engine: Engine, topic: Topic, relay: Running) -> None:
    names = [key() for _ in range(50)]
    for number in range(0, ROWS, 2):
        write(engine, topic, names, range(number, number + 1))
        offer(engine, relay, *(outbox.Record(topic.name, name, str(number + 1).encode()) for name in names))
    assert_in_order(topic, names, ROWS + ROWS % 2)


def test_two_records_with_one_id_are_not_mixed_up(engine: Engine, topic: Topic, relay: Running) -> None:
    name, same = key(), uuid7()
    offer(engine, relay, *(outbox.Record(topic.name, name, value, id=same) for value in (b"1", b"2")))
    assert values(topic.await_of(2, name)) == [b"1", b"2"]


def record(payload: bytes = b"x") -> outbox.Record:
    return outbox.Record("topic", key(), payload)


def all_shards() -> Offered:
    made = Offered()
    made.shards = range(SHARDS)
    return made


def test_only_so_much_is_kept_and_the_oldest_stay(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(offered, "_MOST", 10)
    kept, records = all_shards(), [record() for _ in range(15)]
    kept.put(records[:6])
    kept.put(records[6:])
    assert kept.take(str(r.id) for r in records) == {str(r.id): r for r in records[:10]}
    kept.put(records[10:])
    assert len(kept.take(str(r.id) for r in records)) == 5


def test_what_is_taken_what_is_large_and_what_is_anothers_is_not_kept() -> None:
    kept, mine, large = all_shards(), record(), record(b"x" * 5000)
    kept.put([mine, large])
    assert kept.take([str(mine.id), str(large.id)]) == {str(mine.id): mine}
    assert kept.take([str(mine.id)]) == {}
    kept.shards = [shard for shard in range(SHARDS) if shard != shard_of(mine.key)]
    kept.put([mine])
    assert kept.take([str(mine.id)]) == {}


def test_what_nobody_asks_for_ages_out(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(offered, "_AGE_S", 0.0)
    kept, mine = all_shards(), record()
    kept.put([mine])
    kept.put([])
    kept.put([])
    assert kept.take([str(mine.id)]) == {}


# --- being woken ----------------------------------------------------------------------------------------------------

_OTHER_PROCESS: Final = """
import sys
from sqlalchemy import create_engine
import outbox
from outbox.wake import notify
url, topic, key = sys.argv[1:]
with create_engine(url).begin() as db:
    outbox.add(db, outbox.Record(topic, key, b"x"))
    notify(db)
"""


@pytest.fixture
def sleepy(url: str, servers: TestServers, monkeypatch: pytest.MonkeyPatch) -> Iterator[Running]:
    """A relay that polls so seldom that only being woken explains what it publishes."""
    with relays(url, servers) as [running]:
        monkeypatch.setattr(relay_module, "_POLL_S", 300.0)
        running.wake.set()
        yield running


def test_notify_from_another_process_wakes_the_relay(url: str, engine: Engine, topic: Topic, sleepy: Running) -> None:
    name = key()
    subprocess.run([sys.executable, "-c", _OTHER_PROCESS, url, topic.name, name], check=True, timeout=30)
    assert values(topic.await_of(1, name, limit_s=5)) == [b"x"]


def test_a_commit_in_the_same_process_wakes_it_by_the_flag(engine: Engine, topic: Topic, sleepy: Running) -> None:
    began = time.monotonic()
    for _ in range(20):
        name = key()
        commit(engine, outbox.Record(topic.name, name, b"x"))
        sleepy.wake.set()
        topic.await_of(1, name, limit_s=5)
    assert time.monotonic() - began < 20


def test_a_backlog_of_many_reads_goes_out_without_a_rest(engine: Engine, topic: Topic, sleepy: Running) -> None:
    names = [key() for _ in range(3_500)]
    commit(engine, *(outbox.Record(topic.name, name, b"x") for name in names))
    sleepy.wake.set()
    topic.await_of(len(names), *names, limit_s=15)


def test_a_notify_of_a_transaction_that_is_rolled_back_is_none(engine: Engine, topic: Topic, sleepy: Running) -> None:
    name, marker = key(), key()
    with engine.connect() as db, db.begin() as transaction:
        outbox.add(db, outbox.Record(topic.name, name, b"x"))
        notify(db)
        transaction.rollback()
    with engine.begin() as db:
        outbox.add(db, outbox.Record(topic.name, marker, b"x"))
        notify(db)
    topic.await_of(1, marker, limit_s=5)
    assert topic.of(name) == []


# --- the inbox ------------------------------------------------------------------------------------------------------


def event(day: date = TODAY) -> Seen:
    return Seen(uuid7(), day)


def handle(engine: Engine, consumer: str, *events: Seen) -> None:
    with engine.begin() as db:
        inbox.add(db, consumer, events)


def known(engine: Engine, consumer: str, *events: Seen) -> set[UUID]:
    with engine.connect() as db:
        return set(inbox.seen(db, consumer, events))


def test_what_a_consumer_handled_is_seen_by_it_and_by_no_other(engine: Engine) -> None:
    mine, fresh = event(), event()
    handle(engine, "a", mine)
    assert known(engine, "a", mine, fresh) == {mine.event_id}
    assert known(engine, "b", mine, fresh) == set()
    assert known(engine, "a") == set()


def test_what_was_rolled_back_was_not_handled(engine: Engine) -> None:
    mine = event()
    with engine.connect() as db:
        inbox.add(db, "a", [mine])
        db.rollback()
    assert known(engine, "a", mine) == set()


def test_the_second_of_two_that_handle_the_same_event_is_told(engine: Engine) -> None:
    mine = event()
    handle(engine, "a", mine)
    with pytest.raises(HandledElsewhereError, match="handled"):
        handle(engine, "a", event(), mine)
    handle(engine, "b", mine)


def lock_is_waited_for(engine: Engine) -> bool:
    sql = "SELECT 1 FROM pg_stat_activity WHERE wait_event_type = 'Lock' AND datname = current_database()"
    with engine.connect() as db:
        return bool(db.execute(text(sql)).all())


def race(engine: Engine, end: Callable[[Connection], None]) -> "Future[None]":
    """Two transactions handle the same event; the first one ends by `end` while the second waits for it."""
    mine = event()
    with engine.connect() as first, ThreadPoolExecutor(1) as other:
        inbox.add(first, "a", [mine])
        second = other.submit(handle, engine, "a", mine)
        wait_for(lambda: lock_is_waited_for(engine), "the second to wait")
        end(first)
    assert known(engine, "a", mine) == {mine.event_id}
    return second


def test_of_two_at_the_same_time_the_one_that_commits_later_is_told(own_engine: Engine) -> None:
    second = race(own_engine, Connection.commit)
    assert isinstance(second.exception(), HandledElsewhereError)


def test_of_two_at_the_same_time_the_second_goes_on_when_the_first_gives_up(own_engine: Engine) -> None:
    assert race(own_engine, Connection.rollback).exception() is None


def partitions(engine: Engine) -> set[str]:
    sql = "SELECT inhrelid::regclass::text FROM pg_inherits WHERE inhparent = 'inbox'::regclass"
    with engine.connect() as db:
        return set(db.execute(text(sql)).scalars()) - {"inbox_other_days"}


def rows_of(engine: Engine, table: str) -> int:
    with engine.connect() as db:
        return int(db.execute(text(f"SELECT count(*) FROM {table}")).scalar_one())


def maintain(engine: Engine, today: date) -> None:
    with engine.begin() as db:
        inbox.maintain(db, today)


def names(first: int, last: int) -> set[str]:
    return {f"inbox_{TODAY + timedelta(days=n):%Y%m%d}" for n in range(first, last + 1)}


def test_maintenance_makes_the_coming_days_and_drops_the_old_ones(own_engine: Engine) -> None:
    maintain(own_engine, TODAY)
    assert partitions(own_engine) == names(-1, inbox.AHEAD_DAYS)
    first, last = event(TODAY), event(TODAY + timedelta(days=1))
    handle(own_engine, "a", first, last)
    later = TODAY + timedelta(days=inbox.KEEP_DAYS + 1)
    maintain(own_engine, later)
    assert partitions(own_engine) & names(-1, 1) == names(1, 1)
    assert known(own_engine, "a", first, last) == {last.event_id}


def test_maintenance_moves_what_came_before_its_day_had_a_partition(own_engine: Engine) -> None:
    early, far = event(TODAY + timedelta(days=2)), event(TODAY + timedelta(days=300))
    handle(own_engine, "a", early, far)
    handle(own_engine, "b", early)
    assert rows_of(own_engine, "inbox_other_days") == 3
    maintain(own_engine, TODAY)
    assert rows_of(own_engine, "inbox_other_days") == 1
    assert rows_of(own_engine, next(iter(names(2, 2)))) == 2
    assert known(own_engine, "a", early, far) == {early.event_id, far.event_id}
    assert known(own_engine, "b", early) == {early.event_id}


def test_maintenance_by_many_copies_at_once_is_done_once(own_engine: Engine) -> None:
    barrier = threading.Barrier(4)

    def at_once() -> None:
        barrier.wait(10)
        maintain(own_engine, TODAY)

    with ThreadPoolExecutor(4) as copies:
        for copy in [copies.submit(at_once) for _ in range(4)]:
            copy.result(30)
    assert partitions(own_engine) == names(-1, inbox.AHEAD_DAYS)


def test_events_are_handled_while_maintenance_is_under_way(own_engine: Engine) -> None:
    before = event()
    handle(own_engine, "a", before)
    with own_engine.begin() as db, ThreadPoolExecutor(1) as handler:
        inbox.maintain(db, TODAY)
        during = handler.submit(handle, own_engine, "a", after := event())
        db.commit()
        during.result(30)
    assert known(own_engine, "a", before, after) == {before.event_id, after.event_id}


def test_a_refused_row_does_not_hold_up_other_keys_of_its_partition(
    engine: Engine, relay: Running, servers: TestServers
) -> None:
    narrow = Topic(servers, **{"max.message.bytes": "20000"})
    narrow.create(1)
    others = [key() for _ in range(20)]
    commit(
        engine,
        outbox.Record(narrow.name, key(), secrets.token_bytes(50_000)),
        *(outbox.Record(narrow.name, k, b"x") for k in others),
    )
    narrow.await_of(20, *others, limit_s=15)
    narrow.close()


def test_an_unknown_topic_holds_up_nobody_else_for_long(engine: Engine, topic: Topic, relay: Running) -> None:
    bad, other = key(), key()
    commit(engine, outbox.Record(f"nobody.{bad}", bad, b"x"))
    commit(engine, outbox.Record(topic.name, other, b"y"))
    topic.await_of(1, other, limit_s=6)


def test_a_notify_during_a_round_is_not_lost(
    url: str, engine: Engine, topic: Topic, servers: TestServers, monkeypatch: pytest.MonkeyPatch
) -> None:
    with relays(url, servers) as [running]:
        monkeypatch.setattr(relay_module, "_POLL_S", 300.0)
        name, real, done = key(), running.relay.round, list[int]()

        def round_(rows: Waiting, limit: int = 1000) -> tuple[int, int]:
            found = real(rows, limit)
            if not done and found == (0, 0):
                done.append(1)
                with engine.begin() as other:
                    outbox.add(other, outbox.Record(topic.name, name, b"x"))
                    notify(other)
            return found

        monkeypatch.setattr(running.relay, "round", round_)
        running.wake.set()
        topic.await_of(1, name, limit_s=5)


def test_the_session_of_a_relay_never_goes_back_to_the_pool(url: str, servers: TestServers) -> None:
    with engine_of(url) as own:
        running = outbox.Relay(own, lambda: Producer(producer_config(servers.kafka)), outbox.Wake())
        thread = threading.Thread(target=running.run)
        thread.start()
        wait_for(lambda: running.connected, "the relay to be connected")
        running.stop()
        thread.join()
        with own.connect() as db:
            assert db.execute(text("SHOW synchronous_commit")).scalar_one() == "on"


def test_a_producer_that_delivers_no_more_is_replaced_and_nothing_is_lost(
    url: str, engine: Engine, topic: Topic, servers: TestServers
) -> None:
    """A client that lost sight of a leader times out for ever; here one that has never seen any stands for it."""
    blind = {"bootstrap.servers": f"127.0.0.1:{free_port()}", "delivery.timeout.ms": 1000, "log_level": 0}
    configs = [producer_config(servers.kafka) | blind, producer_config(servers.kafka)]
    with engine_of(url) as own:
        running = outbox.Relay(own, lambda: Producer(configs.pop(0)), outbox.Wake())
        thread = threading.Thread(target=running.run)
        thread.start()
        name = key()
        commit(engine, outbox.Record(topic.name, name, b"x"))
        topic.await_of(1, name, limit_s=20)
        wait_for(lambda: waiting(engine, name) == 0, "the row to be gone")
        running.stop()
        thread.join()
    assert configs == []
