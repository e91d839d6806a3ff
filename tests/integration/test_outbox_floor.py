"""From where the relay looks for rows: nothing is ever below it, and old transactions don't make it slow."""

from collections.abc import Callable, Iterator
from contextlib import ExitStack, closing, contextmanager
from itertools import pairwise
from typing import Any, Final, cast

import pytest
from psycopg2 import extensions
from sqlalchemy import Connection, Engine, text

import outbox
from outbox import waiting as waiting_module
from outbox.add import SHARDS, shard_of
from outbox.horizon import Horizon
from outbox.offered import Offered
from outbox.waiting import Waiting
from tests.outboxes import Topic, commit, database, engine_of, key, relays, values
from tests.servers import TestServers

ALL: Final = range(SHARDS)
PAGES_OF_A_FLAT_READ: Final = 50


@pytest.fixture
def url(servers: TestServers) -> Iterator[str]:
    with database(servers) as url:
        yield url


@pytest.fixture
def engine(url: str) -> Iterator[Engine]:
    with engine_of(url) as engine:
        yield engine


@contextmanager
def session(engine: Engine) -> Iterator[extensions.connection]:
    """A session as the relay has one."""
    pooled = engine.raw_connection()
    own = cast("extensions.connection", pooled.driver_connection)
    pooled.detach()
    own.autocommit = True
    with closing(own):
        yield own


@pytest.fixture
def horizon(engine: Engine) -> Iterator[Horizon]:
    with session(engine) as own, own.cursor() as cursor:
        yield Horizon(cursor)


class Reader:
    """A relay without a broker: reads, and deletes what it has read."""

    def __init__(self, own: extensions.connection) -> None:
        self.rows = Waiting(own, Offered())
        self.rows.own(ALL)
        self._cursor = own.cursor()

    def seqs(self, *blocked: str) -> list[int]:
        """What a round reads."""
        return [seq for seq, *_ in self.rows.heads(blocked, 10_000)]

    def round(self, *blocked: str) -> list[int]:
        """What a round publishes."""
        seqs = self.seqs(*blocked)
        self.rows.drop(seqs)
        return seqs

    def pages(self) -> int:
        """The pages that the next read touches, by Postgres' own count."""
        self._cursor.execute(
            f"EXPLAIN (ANALYZE, BUFFERS, FORMAT JSON) EXECUTE outbox_heads"
            f" ({self.rows._floor}, '{{{','.join(map(str, ALL))}}}', '{{}}', 1000)"
        )
        [([plan],)] = self._cursor.fetchall()
        return int(plan["Plan"]["Shared Hit Blocks"] + plan["Plan"]["Shared Read Blocks"])


@pytest.fixture
def reader(engine: Engine, monkeypatch: pytest.MonkeyPatch) -> Iterator[Reader]:
    """Looks at every read."""
    monkeypatch.setattr(waiting_module, "_LOOK_S", 0.0)
    monkeypatch.setattr(waiting_module, "_LOOK_IDLE_S", 0.0)
    with session(engine) as own:
        yield Reader(own)


def add(db: Connection, *keys: str) -> None:
    outbox.add(db, *(outbox.Record("topic", name, b"x" * 200) for name in keys))


@contextmanager
def writing(engine: Engine) -> Iterator[Connection]:
    """A connection in a transaction that the test ends."""
    with engine.connect() as db:
        db.begin()
        yield db


def write(engine: Engine, count: int) -> None:
    """Rows with a key each, committed together."""
    with engine.begin() as db:
        add(db, *(key() for _ in range(count)))


# --- what is settled ------------------------------------------------------------------------------------------------


def test_what_is_committed_is_settled_at_the_first_look(engine: Engine, horizon: Horizon) -> None:
    write(engine, 7)
    horizon.look()
    assert horizon.settled == 7


def test_nothing_is_settled_beyond_a_row_that_is_not_committed(engine: Engine, horizon: Horizon) -> None:
    write(engine, 3)
    horizon.look()
    with writing(engine) as slow:
        add(slow, key())
        write(engine, 5)
        for _ in range(5):
            horizon.look()
        assert horizon.settled == 3
        slow.commit()
    horizon.look()
    assert horizon.settled == 9


def test_numbers_that_were_rolled_back_hold_nothing_up(engine: Engine, horizon: Horizon) -> None:
    with writing(engine) as db:
        add(db, key())
        horizon.look()
        db.rollback()
    horizon.look()
    assert horizon.settled == 1


def test_whoever_comes_later_is_not_waited_for(engine: Engine, horizon: Horizon) -> None:
    """Under load somebody always writes."""
    with ExitStack() as stack:
        writers = [stack.enter_context(writing(engine)) for _ in range(4)]
        add(writers[0], key())
        for before, after in pairwise(writers):
            horizon.look()
            add(after, key())
            before.commit()
        horizon.look()
        assert horizon.settled >= 2


def test_a_writer_that_comes_during_a_look_is_not_overlooked(
    engine: Engine, horizon: Horizon, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Between the two statements of a look it takes a number, and is not among those that were seen."""
    writers, last = horizon._writers, horizon._last
    with writing(engine) as slow:
        came = list[str]()

        def come(ask: Callable[[], Any]) -> Callable[[], Any]:
            def asked() -> Any:
                answer = ask()
                if not came:
                    came.append(key())
                    add(slow, *came)
                return answer

            return asked

        monkeypatch.setattr(horizon, "_writers", come(writers))
        monkeypatch.setattr(horizon, "_last", come(last))
        horizon.look()
        horizon.look()
        assert horizon.settled == 0


def test_a_sequence_that_gives_its_numbers_in_no_order_settles_nothing(engine: Engine) -> None:
    with engine.begin() as db:
        db.execute(text("ALTER SEQUENCE outbox_seq_seq CACHE 10"))
    with session(engine) as own, own.cursor() as cursor:
        horizon = Horizon(cursor)
        write(engine, 5)
        horizon.look()
        horizon.look()
        assert horizon.settled == 0


# --- nothing is below the floor -------------------------------------------------------------------------------------


def test_a_row_that_is_committed_after_a_thousand_later_ones_is_read(engine: Engine, reader: Reader) -> None:
    with writing(engine) as late:
        add(late, key())
        for _ in range(10):
            write(engine, 100)
            assert len(reader.round()) == 100
            assert reader.rows._floor == 0
            assert reader.round() == []
            assert reader.rows._floor == 0
        late.commit()
    assert reader.round() == [1]
    assert reader.rows._floor == 0
    assert reader.round() == []
    assert reader.rows._floor == 1001


def test_a_relay_publishes_what_is_committed_after_a_thousand_later_rows(
    url: str, engine: Engine, servers: TestServers
) -> None:
    topic, late = Topic(servers), key()
    topic.create()
    with relays(url, servers), writing(engine) as slow:
        outbox.add(slow, outbox.Record(topic.name, late, b"late"))
        for _ in range(10):
            names = [key() for _ in range(100)]
            commit(engine, *(outbox.Record(topic.name, name, b"early") for name in names))
            topic.await_of(100, *names)
        slow.commit()
        assert values(topic.await_of(1, late, limit_s=5)) == [b"late"]
    topic.close()


def test_rows_of_a_blocked_key_are_read_when_it_may_go_again(engine: Engine, reader: Reader) -> None:
    blocked = key()
    with engine.begin() as db:
        add(db, blocked, key(), blocked)
    assert reader.round(blocked) == [2]
    write(engine, 5)
    assert reader.round(blocked) == [4, 5, 6, 7, 8]
    assert reader.round(blocked) == []
    assert reader.rows._floor == 8
    with engine.begin() as db:
        add(db, blocked)
    assert reader.seqs() == [1, 3, 9]
    reader.rows.drop([1])
    assert reader.seqs(blocked) == []
    assert reader.round() == [3, 9]
    assert reader.rows._aside == {}


def test_with_too_many_rows_of_blocked_keys_the_floor_stays(
    engine: Engine, reader: Reader, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(waiting_module, "_ASIDE_MOST", 3)
    blocked = key()
    with engine.begin() as db:
        add(db, *[blocked] * 4)
    write(engine, 2)
    assert reader.round(blocked) == [5, 6]
    assert reader.round(blocked) == []
    assert reader.rows._floor == 0
    assert reader.seqs() == [1, 2, 3, 4]


def test_a_blocked_row_that_somebody_takes_out_is_forgotten(engine: Engine, reader: Reader) -> None:
    blocked = key()
    with engine.begin() as db:
        add(db, blocked, blocked)
    assert reader.round(blocked) == []
    with engine.begin() as db:
        db.execute(text("DELETE FROM outbox WHERE seq = 1"))
    assert reader.round() == [2]
    assert reader.rows._aside == {}


def test_a_shard_that_comes_back_is_looked_through_from_the_beginning(engine: Engine, reader: Reader) -> None:
    moving = key()
    reader.rows.own(set(ALL) - {shard_of(moving)})
    with engine.begin() as db:
        add(db, moving)
    others = [name for name in (key() for _ in range(100)) if shard_of(name) != shard_of(moving)]
    with engine.begin() as db:
        add(db, *others)
    assert len(reader.round()) == len(others)
    assert reader.round() == []
    assert reader.rows._floor == len(others) + 1
    reader.rows.own(ALL)
    assert reader.round() == [1]


def test_blocked_rows_of_a_shard_that_went_are_left_to_its_owner(engine: Engine, reader: Reader) -> None:
    moving = key()
    with engine.begin() as db:
        add(db, moving)
    assert reader.round(moving) == []
    assert reader.rows._floor == 1
    reader.rows.own(set(ALL) - {shard_of(moving)})
    assert reader.round() == []
    reader.rows.own(ALL)
    assert reader.round() == [1]


def test_a_sequence_that_is_set_back_is_followed(engine: Engine, reader: Reader) -> None:
    write(engine, 10)
    assert len(reader.round()) == 10
    assert reader.round() == []
    with engine.begin() as db:
        db.execute(text("TRUNCATE outbox RESTART IDENTITY"))
    write(engine, 2)
    assert reader.round() == [1, 2]


# --- old transactions -----------------------------------------------------------------------------------------------


@contextmanager
def snapshot(engine: Engine) -> Iterator[None]:
    """A report that somebody has been reading for long."""
    with engine.connect().execution_options(isolation_level="REPEATABLE READ") as db:
        db.execute(text("SELECT count(*) FROM outbox"))
        yield


@contextmanager
def foreign_writer(engine: Engine) -> Iterator[None]:
    """A transaction that has written elsewhere, and doesn't come to its end."""
    with engine.connect() as db:
        db.execute(text("CREATE TABLE elsewhere (n int)"))
        db.execute(text("INSERT INTO elsewhere VALUES (1)"))
        db.execute(text("SELECT pg_current_xact_id()"))
        yield


@pytest.mark.parametrize("held", [snapshot, foreign_writer])
def test_an_old_transaction_does_not_make_reads_longer(
    engine: Engine, reader: Reader, held: Callable[[Engine], Any]
) -> None:
    blocked = key()
    with engine.begin() as db:
        add(db, blocked)
    with held(engine):
        costs = []
        for _ in range(20):
            write(engine, 500)
            assert len(reader.round(blocked)) == 500
            assert reader.round(blocked) == []
            costs.append(reader.pages())
        assert max(costs) < PAGES_OF_A_FLAT_READ
        # the dead rows are really there
        reader.rows._floor, floor = 0, reader.rows._floor
        assert reader.pages() > 5 * PAGES_OF_A_FLAT_READ
        reader.rows._floor = floor
        assert reader.round() == [1]
