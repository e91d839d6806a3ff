"""A transaction in few round trips is still one: all of it or nothing, and whoever comes next finds a clean session."""

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Final

import pytest
from psycopg2 import errorcodes
from pydantic import SecretStr
from sqlalchemy import Connection, Engine, text
from sqlalchemy.exc import DBAPIError

from outbox.bulk import array
from outbox.prepared import Prepared, transaction
from services.shell.engine import make_engine
from services.shell.insist import INSIST_V1
from services.shell.states import StateTable
from tests.outboxes import database
from tests.servers import TestServers

ADD: Final = Prepared("add", "INSERT INTO items SELECT * FROM unnest(:ids)", {"ids": "text[]"})
FROM: Final = Prepared("from_here", "SELECT id FROM items WHERE id >= :first ORDER BY id", {"first": "text"})


@dataclass(frozen=True)
class Parcel:
    """A state."""

    checkout_id: str
    status: str


PARCELS: Final = StateTable("parcels", Parcel, {"checkout_id": "text", "status": "text"})


@pytest.fixture
def engine(servers: TestServers) -> Iterator[Engine]:
    with database(servers) as url:
        made = make_engine(SecretStr(url), "test")
        with transaction(made) as db:
            db.execute(text("CREATE TABLE items (id text PRIMARY KEY)"))
            db.execute(text("CREATE TABLE parcels (checkout_id text PRIMARY KEY, status text, version bigint,"
                            " updated_at timestamptz)"))  # fmt: skip
            for statement in INSIST_V1:
                db.execute(text(statement))
        yield made
        made.dispose()


def add(db: Connection, *ids: str) -> None:
    """Send rows, without waiting for an answer."""
    ADD.send(db, {"ids": array("text", ids)})


def items(engine: Engine) -> list[str]:
    """What is there for others."""
    with engine.connect() as db:
        return list(db.execute(text("SELECT id FROM items ORDER BY id")).scalars())


def test_what_is_only_sent_is_written_at_the_end(engine: Engine) -> None:
    with transaction(engine) as db:
        add(db, "a")
        add(db, "b")
        assert items(engine) == []
    assert items(engine) == ["a", "b"]


def test_an_answer_knows_what_was_sent_before(engine: Engine) -> None:
    with transaction(engine) as db:
        add(db, "a")
        assert FROM.rows(db, {"first": ""}) == [("a",)]


@pytest.mark.parametrize("first", ["sent", "SQLAlchemy's own"])
def test_nothing_is_written_when_the_block_fails(engine: Engine, first: str) -> None:
    def fail() -> None:
        with transaction(engine) as db:
            if first == "sent":
                add(db, "a")
            db.execute(text("INSERT INTO items VALUES ('b')"))
            add(db, "c")
            raise RuntimeError

    with pytest.raises(RuntimeError):
        fail()
    assert items(engine) == []


def fail_at_the_end(engine: Engine) -> None:
    """What is refused is sent with the COMMIT."""
    with transaction(engine) as db:
        add(db, "a")
        add(db, "b", "b")


def test_nothing_is_written_when_what_is_sent_last_fails(engine: Engine) -> None:
    with pytest.raises(DBAPIError) as refused:
        fail_at_the_end(engine)
    assert getattr(refused.value.orig, "pgcode", None) == errorcodes.UNIQUE_VIOLATION
    assert items(engine) == []


def test_nothing_is_left_open_in_a_session_that_goes_back(engine: Engine) -> None:
    with pytest.raises(DBAPIError):
        fail_at_the_end(engine)
    with engine.connect() as db:
        busy = "SELECT count(*) FROM pg_stat_activity WHERE datname = current_database() AND state LIKE 'idle in%'"
        assert db.execute(text(busy)).scalar_one() == 0
    with transaction(engine) as db:
        add(db, "a")
    assert items(engine) == ["a"]


def test_a_session_that_is_killed_is_nobodys(engine: Engine) -> None:
    def lose() -> None:
        with transaction(engine) as db:
            add(db, "a")
            pid = db.execute(text("SELECT pg_backend_pid()")).scalar_one()
            with engine.connect() as other:
                other.execute(text("SELECT pg_terminate_backend(:pid, 5000)"), {"pid": pid})
            add(db, "b")

    with pytest.raises(DBAPIError) as lost:
        lose()
    assert lost.value.connection_invalidated
    assert items(engine) == []
    with transaction(engine) as db:
        add(db, "c")
    assert items(engine) == ["c"]


def test_a_state_that_somebody_else_has_changed_is_not_overwritten(engine: Engine) -> None:
    old = Parcel("p1", "packed")
    with transaction(engine) as db:
        PARCELS.insert(db, [old])
    with transaction(engine) as db:
        PARCELS.update(db, [Parcel("p1", "sent")], [old], [1])
    with pytest.raises(DBAPIError) as refused, transaction(engine) as db:
        PARCELS.update(db, [Parcel("p1", "lost")], [old], [1])
    assert getattr(refused.value.orig, "pgcode", None) == errorcodes.SERIALIZATION_FAILURE
    with transaction(engine) as db:
        assert PARCELS.load(db, ["p1"]).get("p1") == Parcel("p1", "sent")
