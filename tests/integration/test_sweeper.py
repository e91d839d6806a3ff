"""Where a connector publishes, rows leave the outbox when its slot has passed them, and never before.

The connector is played by hand: what it confirms, `pg_replication_slot_advance` says for it.
"""

import threading
from collections.abc import Iterator
from contextlib import closing
from functools import partial
from typing import Any
from uuid import uuid4

import pytest
from confluent_kafka import Producer
from sqlalchemy import Engine, create_engine, text

import outbox
from outbox.beside_connector import BesideConnector
from outbox.relay import Relay, producer_config
from outbox.sending import Head
from outbox.session import own_session
from outbox.sweeper import Sweeper
from tests.outboxes import Topic, commit, database, engine_of, key, waiting
from tests.servers import TestServers
from tests.system import wait_for


@pytest.fixture
def url(servers: TestServers) -> Iterator[str]:
    with database(servers) as url:
        yield url


@pytest.fixture
def engine(url: str) -> Iterator[Engine]:
    engine = create_engine(url)
    yield engine
    engine.dispose()


class Slot:
    """A connector's replication slot."""

    def __init__(self, engine: Engine) -> None:
        self.name = f"s{uuid4().hex[:10]}"
        self._engine = engine

    def _ask(self, sql: str) -> None:
        with self._engine.connect() as db:
            db.execute(text(sql), {"slot": self.name})

    def make(self) -> None:
        self._ask("SELECT pg_create_logical_replication_slot(:slot, 'pgoutput')")

    def confirm(self) -> None:
        """As a connector whose heartbeat has come round: everything until now is published."""
        with self._engine.begin() as db:
            db.execute(text("SELECT pg_logical_emit_message(true, 'heartbeat', '')"))
        self._ask("SELECT pg_replication_slot_advance(:slot, pg_current_wal_lsn())")

    def drop(self) -> None:
        self._ask("SELECT pg_drop_replication_slot(slot_name) FROM pg_replication_slots WHERE slot_name = :slot")


@pytest.fixture
def slot(engine: Engine) -> Iterator[Slot]:
    slot = Slot(engine)
    yield slot
    slot.drop()


@pytest.fixture
def cursor(engine: Engine) -> Iterator[Any]:
    with closing(own_session(engine)) as session, session.cursor() as cursor:
        yield cursor


def record(of: str) -> outbox.Record:
    return outbox.Record(topic="other.topic", key=of, payload=b"x")


def test_a_row_leaves_when_the_slot_has_passed_it(engine: Engine, slot: Slot, cursor: Any) -> None:
    told: list[int] = []
    slot.make()
    sweeper, mine = Sweeper(engine, slot.name, on_published=told.append), key()
    commit(engine, record(mine), record(mine))
    for _ in range(3):
        sweeper.turn(cursor)
    assert waiting(engine, mine) == 2
    slot.confirm()
    sweeper.turn(cursor)
    assert waiting(engine, mine) == 0
    assert told == [2]


def test_a_row_that_came_after_the_look_waits_for_the_next(engine: Engine, slot: Slot, cursor: Any) -> None:
    slot.make()
    sweeper, mine, later = Sweeper(engine, slot.name), key(), key()
    commit(engine, record(mine))
    sweeper.turn(cursor)
    commit(engine, record(later))
    slot.confirm()
    sweeper.turn(cursor)
    assert (waiting(engine, mine), waiting(engine, later)) == (0, 1)
    slot.confirm()
    sweeper.turn(cursor)
    assert waiting(engine, later) == 0


def test_a_row_with_an_older_number_that_commits_later_is_not_taken_along(
    engine: Engine, slot: Slot, cursor: Any
) -> None:
    slot.make()
    sweeper, early, late = Sweeper(engine, slot.name), key(), key()
    with engine.begin() as open_transaction:
        outbox.add(open_transaction, record(late))
        commit(engine, record(early))
        sweeper.turn(cursor)
        slot.confirm()
        sweeper.turn(cursor)
        assert waiting(engine, early) == 0
    sweeper.turn(cursor)
    assert waiting(engine, late) == 1


def test_a_slot_that_was_just_made_has_published_nothing(engine: Engine, slot: Slot, cursor: Any) -> None:
    mine = key()
    commit(engine, record(mine))
    slot.make()
    sweeper = Sweeper(engine, slot.name)
    for _ in range(3):
        sweeper.turn(cursor)
    assert waiting(engine, mine) == 1


def test_what_was_seen_by_a_slot_that_is_gone_does_not_count_for_the_next(
    engine: Engine, slot: Slot, cursor: Any
) -> None:
    slot.make()
    sweeper, mine = Sweeper(engine, slot.name), key()
    commit(engine, record(mine))
    sweeper.turn(cursor)
    slot.drop()
    sweeper.turn(cursor)
    assert slot.name in sweeper.missing
    commit(engine, record(key()))
    slot.make()
    sweeper.turn(cursor)
    assert sweeper.missing == ""
    assert waiting(engine, mine) == 1


@pytest.fixture
def letters(servers: TestServers) -> Iterator[Topic]:
    topic = Topic(servers)
    topic.name += ".dlq"
    topic.create()
    yield topic
    topic.close()


def test_beside_a_connector_letters_are_published_and_other_rows_are_left_to_it(
    url: str, engine: Engine, slot: Slot, servers: TestServers, letters: Topic
) -> None:
    slot.make()
    events = Topic(servers)
    events.create()
    swept: list[int] = []
    published: list[Head] = []
    wake, offered, read, event = outbox.Wake(), key(), key(), key()
    with engine_of(url) as own:
        relay = Relay(
            own,
            lambda: Producer(producer_config(servers.kafka)),
            wake,
            on_published=published.extend,
            letters_only=True,
        )
        both = BesideConnector(Sweeper(own, slot.name, on_published=swept.append), relay)
        thread = threading.Thread(target=both.run)
        thread.start()
        wait_for(lambda: both.connected, "both to be connected")
        records = [
            outbox.Record(letters.name, offered, b"1", headers=[("a", b"b")]),
            outbox.Record(events.name, event, b"x"),
        ]
        commit(engine, *records)
        both.offer(records)
        wake.set()
        commit(engine, outbox.Record(letters.name, read, b"2"))
        [first] = letters.await_of(1, offered)
        letters.await_of(1, read)
        assert first.headers() == [("a", b"b")]
        wait_for(lambda: waiting(engine, offered, read) == 0, "the letters' rows to leave")
        assert waiting(engine, event) == 1
        assert events.of(event) == []
        assert (both.missing, both.settled, dict(both.blocked)) == ("", 0, {})

        def left() -> bool:
            slot.confirm()
            return waiting(engine, event) == 0

        wait_for(left, "the event's row to leave", pause_s=0.1)
        both.stop()
        thread.join(20)
        assert not thread.is_alive()
    assert {of for _, _, of in published} == {offered, read}
    assert swept == [1]
    events.close()
    wake.close()


def test_a_letter_is_not_swept(engine: Engine, slot: Slot, cursor: Any) -> None:
    slot.make()
    sweeper, mine, event = Sweeper(engine, slot.name), key(), key()
    topics = ("checkout.dlq", "p.dlq.ledger", "p.checkout.retry")
    commit(engine, *(outbox.Record(topic, mine, b"x") for topic in topics), record(event))
    for _ in range(3):
        sweeper.turn(cursor)
        slot.confirm()
    assert (waiting(engine, mine), waiting(engine, event)) == (len(topics), 0)


def test_when_the_sweeper_breaks_the_whole_ends_with_its_error(url: str, servers: TestServers) -> None:
    with engine_of(url) as own:
        sweeper = Sweeper(own, "a slot")

        def broken(*_: object, **__: object) -> None:
            raise ValueError("broken by hand")

        sweeper.turn = broken  # type: ignore[method-assign]
        wake = outbox.Wake()
        relay = Relay(own, lambda: Producer(producer_config(servers.kafka)), wake, letters_only=True)
        with pytest.raises(ValueError, match="broken by hand"):
            BesideConnector(sweeper, relay).run()
        wake.close()


def test_of_two_processes_one_sweeps_until_it_is_gone(engine: Engine, slot: Slot) -> None:
    slot.make()
    told: dict[str, list[int]] = {"first": [], "second": []}
    sweepers = {name: Sweeper(engine, slot.name, on_published=told[name].append) for name in told}
    threads = {name: threading.Thread(target=sweeper.run) for name, sweeper in sweepers.items()}
    try:
        for name, sweeper in sweepers.items():
            threads[name].start()
            wait_for(partial(getattr, sweeper, "connected"), "it to find the slot")
        assert _swept(engine, slot) == 1
        assert (len(told["first"]), len(told["second"])) == (1, 0)
        sweepers["first"].stop()
        threads["first"].join(10)
        assert _swept(engine, slot) == 1
        assert (len(told["first"]), len(told["second"])) == (1, 1)
    finally:
        for name, sweeper in sweepers.items():
            sweeper.stop()
            threads[name].join(10)


def _swept(engine: Engine, slot: Slot) -> int:
    """Commit a row and confirm until it has left; how many rows that were."""
    mine = key()
    commit(engine, record(mine))

    def left() -> bool:
        slot.confirm()
        return waiting(engine, mine) == 0

    wait_for(left, "the row to leave", pause_s=0.1)
    return 1
