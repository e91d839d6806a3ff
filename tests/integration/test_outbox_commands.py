"""`checkout outbox`: which rows can't be published, and one of them becomes a dead letter."""

import hashlib
import json
import subprocess
import sys
from collections.abc import Iterator
from datetime import UTC, datetime
from pathlib import Path
from typing import Any, Final
from uuid import uuid4

import pytest
from sqlalchemy import Engine, create_engine, text

import outbox
from compose.setting_aside import RAW_HEADERS, Asked, RefusedError, set_aside
from dlq.deeds import Author
from outbox.add import SHARDS, shard_of
from outbox.publishable import headers_from
from outbox.stuck import stuck_rows
from schemas.choreography import DEAD_LETTER_MAX_BYTES
from tests.outboxes import commit, database, key
from tests.servers import TestServers
from tests.system import System, wait_for

CHECKOUT: Final = Path(sys.executable).with_name("checkout")
AUTHOR: Final = Author(by="ada@desk", at=datetime(2026, 3, 1, tzinfo=UTC), why="nobody can send it")
MIB: Final = 1024 * 1024


@pytest.fixture
def engine(servers: TestServers) -> Iterator[Engine]:
    with database(servers) as url:
        engine = create_engine(url)
        yield engine
        engine.dispose()


def insert(engine: Engine, of: str, topic: str = "t", headers: str = "[]", **more: Any) -> int:
    """A row by SQL, as anybody may write it; its seq. more: columns' values."""
    row = {
        "id": uuid4(), "aggregatetype": "event", "aggregateid": of, "type": "t", "payload": b"body", "topic": topic,
        "key": of.encode(), "headers": headers, "shard": shard_of(of), "created_at": datetime.now(UTC),
    } | more  # fmt: skip
    places = ", ".join("CAST(:headers AS json)" if name == "headers" else f":{name}" for name in row)
    with engine.begin() as db:
        sql = f"INSERT INTO outbox ({', '.join(row)}) VALUES ({places}) RETURNING seq"
        return int(db.execute(text(sql), row).scalar_one())


def asked(seq: int, **more: Any) -> Asked:
    return Asked("checkout", seq, AUTHOR, "p.", **more)


def rows(engine: Engine) -> list[Any]:
    with engine.connect() as db:
        return list(db.execute(text("SELECT *, headers::text AS stored FROM outbox ORDER BY seq")).all())


def aside(engine: Engine, seq: int, **more: Any) -> tuple[Any, dict[str, bytes | None]]:
    """The row that the letter is, and its headers. Beside it stands the entry of the audit and no other row."""
    with engine.begin() as db:
        letter = set_aside(db, asked(seq, **more))
    [row, entry] = rows(engine)
    assert (row.topic, entry.topic, entry.aggregateid) == ("p.checkout.dlq", "p.dlq.audit", f"checkout/{letter}")
    headers = dict(headers_from(row.stored))
    assert headers["dlq-id"] == letter.encode()
    found = json.loads(bytes(entry.payload))
    assert (found["action"], found["by"], found["why"]) == ("set_aside", "ada@desk", "nobody can send it")
    assert (found["detail"]["seq"], found["detail"]["letter"]) == (seq, letter)
    return row, headers


def stuck(engine: Engine, older_than_s: float = 60.0) -> list[tuple[int, bool, int]]:
    with engine.connect().execution_options(isolation_level="REPEATABLE READ") as db, db.begin():
        return [(row.seq, row.unpublishable, row.behind) for row in stuck_rows(db, older_than_s, 100)]


BAD: Final[dict[str, dict[str, Any]]] = {
    "an object as headers": {"headers": '{"a": "b"}'},
    "half of a surrogate pair": {"headers": r'[["ce_id", "1"], ["\ud800", "x"]]'},
    "deep headers": {"headers": "[" * 2000 + "]" * 2000},
    "large and bad headers": {"headers": json.dumps([["a", 1]] * 20_000)},
    "a topic that is none": {"topic": "no\ntopic"},
    "a shard that no relay has": {"shard": SHARDS},
    "a created_at beyond every calendar": {"headers": "7", "created_at": "infinity"},
    "more than a record takes": {"payload": b"x" * (9 * MIB)},
    "a key that is too long": {"key": b"k" * (9 * MIB)},
}


@pytest.mark.parametrize("bad", BAD.values(), ids=BAD.keys())
def test_a_row_that_nobody_can_publish_is_shown_and_set_aside_as_a_letter_that_can_be(
    engine: Engine, bad: dict[str, Any]
) -> None:
    mine = key()
    seq = insert(engine, mine, **bad)
    commit(engine, outbox.Record("t", key(), b"another's"))
    insert(engine, mine)
    assert stuck(engine) == [(seq, True, 1)]
    with engine.begin() as db:
        db.execute(text("DELETE FROM outbox WHERE seq > :seq"), {"seq": seq})
    row, headers = aside(engine, seq)
    assert stuck(engine) == []
    assert (headers["dlq-error-class"], headers["dlq-disposition"]) == (b"UnpublishableRow", b"fatal")
    assert (headers["dlq-service"], headers["dlq-consumer-group"]) == (b"checkout", b"p.checkout")
    assert headers["dlq-original-topic"] == bad.get("topic", "t").encode()
    assert row.aggregatetype == "dead_letter"
    if "payload" not in bad and "key" not in bad:
        assert (bytes(row.payload), bytes(row.key)) == (b"body", mine.encode())
    raw = headers.get(RAW_HEADERS)
    assert raw == (bad["headers"].encode()[: 64 * 1024] if "headers" in bad else None)
    assert len(bytes(row.payload)) + len(bytes(row.key)) + len(row.stored) < DEAD_LETTER_MAX_BYTES


def test_what_can_be_read_of_the_headers_is_on_the_letter(engine: Engine) -> None:
    seq = insert(engine, key(), headers=r'[["ce_id", "1"], 7, ["n", null], ["\ud800", "x"], ["b", {"base64": "/w=="}]]')
    _, headers = aside(engine, seq)
    assert (headers["ce_id"], headers["n"], headers["b"]) == (b"1", None, b"\xff")


def test_of_a_payload_that_no_letter_takes_its_head_its_length_and_its_digest_stay(engine: Engine) -> None:
    payload = bytes(range(256)) * (36 * 1024)
    row, headers = aside(engine, insert(engine, key(), payload=payload))
    assert bytes(row.payload) == payload[: 64 * 1024]
    assert headers["outbox-payload-bytes"] == str(len(payload)).encode()
    assert headers["outbox-payload-sha256"] == hashlib.sha256(payload).hexdigest().encode()


def test_a_tombstone_without_a_key_stays_one(engine: Engine) -> None:
    row, _ = aside(engine, insert(engine, key(), headers="7", payload=None, key=None))
    assert (row.payload, row.key) == (None, None)


def test_large_headers_that_can_be_read_stay_on_the_letter_where_they_fit(engine: Engine) -> None:
    large = json.dumps([["a", "x" * 300_000]])
    _, headers = aside(engine, insert(engine, key(), headers=large), force=True)
    assert len(headers["a"] or b"") == 300_000
    assert RAW_HEADERS not in headers


def test_large_headers_beside_a_large_payload_are_cut(engine: Engine) -> None:
    large = json.dumps([["a", "x" * 2 * MIB]])
    row, headers = aside(engine, insert(engine, key(), headers=large, payload=b"x" * 3 * MIB), force=True)
    assert len(headers[RAW_HEADERS] or b"") == 64 * 1024
    assert len(row.payload) == 3 * MIB
    assert "a" not in headers


def test_a_sound_row_is_set_aside_only_by_force(engine: Engine) -> None:
    seq = insert(engine, key())
    with pytest.raises(RefusedError, match="sound record"), engine.begin() as db:
        set_aside(db, asked(seq))
    assert [row.seq for row in rows(engine)] == [seq]
    _, headers = aside(engine, seq, force=True)
    assert b"by hand" in (headers["dlq-error-message"] or b"")


def test_a_row_that_is_gone_is_not_set_aside(engine: Engine) -> None:
    with pytest.raises(RefusedError, match="no row 7"), engine.begin() as db:
        set_aside(db, asked(7))
    assert rows(engine) == []


def test_an_old_row_is_stuck_when_newer_ones_have_left(engine: Engine) -> None:
    old = datetime(2026, 1, 1, tzinfo=UTC)
    mine = key()
    first, _second = insert(engine, mine, created_at=old), insert(engine, mine, created_at=old)
    assert stuck(engine) == []
    newer = insert(engine, key())
    assert stuck(engine) == []
    with engine.begin() as db:
        db.execute(text("DELETE FROM outbox WHERE seq = :seq"), {"seq": newer})
    assert stuck(engine) == [(first, False, 1)]
    assert stuck(engine, older_than_s=1e12) == []


# the commands


@pytest.fixture(scope="module")
def system(servers: TestServers, scratch: Path) -> Iterator[System]:
    with System(servers, scratch, services=("checkout",)) as system:
        yield system


def run(system: System, *arguments: str, given: str = "") -> "subprocess.CompletedProcess[str]":
    return subprocess.run(
        [CHECKOUT, "outbox", *arguments], env={**system.env, "COLUMNS": "250"}, input=given,
        capture_output=True, text=True, timeout=60, check=False,
    )  # fmt: skip


def one_line(done: "subprocess.CompletedProcess[str]") -> str:
    [line] = done.stderr.splitlines()
    return line


def test_a_blocked_row_is_shown_and_leaves_as_a_letter_and_those_behind_it_go_on(system: System) -> None:
    nothing = run(system, "blocked")
    assert (nothing.returncode, nothing.stdout) == (1, "")
    assert "nothing is blocked" in one_line(nothing)
    mine, engine = f"\x1b[2J[/]{key()}", system.engine("checkout")
    topic = f"{system.env['TOPIC_PREFIX']}checkout.completed"
    seq = insert(engine, mine, topic=topic, headers=r'[["\ud800", "x"]]')
    insert(engine, mine, topic=topic, payload=b"behind it")
    shown = run(system, "blocked", "--service", "checkout")
    assert shown.returncode == 0
    assert "\x1b" not in shown.stdout
    assert r"\x1b[2J[/]" in shown.stdout
    [found] = json.loads(run(system, "blocked", "--json").stdout)
    assert (found["service"], found["seq"], found["key"], found["behind"]) == ("checkout", seq, mine, 1)
    assert "surrogate" in found["why"]
    refused = run(system, "set-aside", "checkout", str(seq), "--why", "a test", given="n\n")
    assert refused.returncode == 1
    done = run(system, "set-aside", "checkout", str(seq), "--why", "a test", "--by", "ada", "--yes")
    assert done.returncode == 0, done.stderr
    [letter] = system.await_letters("checkout", mine, 1)
    assert letter.value == b"body"
    assert letter.headers["dlq-id"].decode() in done.stdout
    assert letter.headers[RAW_HEADERS] == rb'[["\ud800", "x"]]'
    wait_for(lambda: not system.rows("checkout", "SELECT 1 FROM outbox"), "what was behind it to go on")
    [group] = system.dlq("groups", "--service", "checkout")
    assert group["error_class"] == "UnpublishableRow"
    entries = [json.loads(bytes(m.value() or b"")) for m in system.messages("dlq.audit")]
    assert [(entry["action"], entry["by"], entry["why"]) for entry in entries] == [("set_aside", "ada", "a test")]
    again = run(system, "set-aside", "checkout", str(seq), "--why", "a test", "--yes")
    assert again.returncode == 1
    assert "has no row" in one_line(again)


def test_what_can_not_be_done_is_said_in_one_line(system: System) -> None:
    assert run(system, "blocked", "--service", "nobody").returncode == 2
    assert run(system, "set-aside", "nobody", "1", "--why", "x", "--yes").returncode == 2
    empty = run(system, "set-aside", "checkout", "1", "--why", " ", "--yes")
    assert (empty.returncode, "--why is empty" in one_line(empty)) == (1, True)
    away = system.env["CHECKOUT_DATABASE_URL"].rpartition("/")[0] + "/no_such_database"
    done = subprocess.run(
        [CHECKOUT, "outbox", "blocked"], env={**system.env, "CHECKOUT_DATABASE_URL": away},
        capture_output=True, text=True, timeout=60, check=False,
    )  # fmt: skip
    assert done.returncode == 2
    assert "no_such_database" in one_line(done)
