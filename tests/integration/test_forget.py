"""`checkout forget`: nothing of one customer is left in any table, the others' rows and the books are as they were."""

import hashlib
import json
import re
import subprocess
import sys
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any, Final
from uuid import uuid4

import pytest
from confluent_kafka import Producer
from confluent_kafka.admin import AdminClient
from confluent_kafka.cimpl import NewTopic
from uuid_utils.compat import uuid7

from compose.forgetting.acting import forget as carry_out
from compose.forgetting.plan import make_plan
from compose.setting_up import methods_of, payment_methods
from dlq.deeds import Author
from schemas.choreography import SERVICES
from schemas.envelope import Envelope
from schemas.events import CheckoutCancelRequested, CheckoutRequested
from tests.servers import TestServers
from tests.system import System, wait_for

ADA: Final = "ada_10"
OTHERS: Final = ("adaX10", "ada_100", "ada_10:b")
LETTERS: Final = 2
AUTHOR: Final = Author(by="ann", at=datetime(2026, 3, 1, tzinfo=UTC), why="asked for it")
CHECKOUT: Final = Path(sys.executable).with_name("checkout")
TABLES: Final = (
    "SELECT relname FROM pg_class WHERE relkind = 'r' AND relnamespace = 'public'::regnamespace ORDER BY relname"
)


@pytest.fixture(scope="module")
def system(servers: TestServers, scratch: Path) -> Iterator[System]:
    with System(servers, scratch) as running:
        yield running


def run(system: System, *arguments: str, **env: str) -> "subprocess.CompletedProcess[str]":
    return subprocess.run(
        [CHECKOUT, "forget", *arguments], env=system.env | env, capture_output=True, text=True, timeout=120, check=False
    )


def forget(system: System, *arguments: str, code: int = 0) -> Any:
    done = run(system, *arguments, "--json")
    assert done.returncode == code, (done.stdout, done.stderr)
    return json.loads(done.stdout)


def customer(system: System, name: str) -> str:
    payment_methods(system.servers, methods_of(name))
    return name


def order(system: System, name: str, **fields: Any) -> CheckoutRequested:
    return system.request(**{"customer_id": name, "payment_method_id": f"{name}:ok"} | fields)


def dump(system: System) -> dict[str, list[str]]:
    """Every row of every table, as text; without the registry of processes that the tables of locks are."""
    found = {}
    for service in SERVICES:
        for (table,) in system.rows(service, TABLES):
            rows = system.rows(service, f'SELECT each::text AS row FROM "{table}" AS each')
            found[f"{service}.{table}"] = sorted(row.row for row in rows)
    return found


def naming(dumped: dict[str, list[str]], name: str, but: Sequence[str] = ()) -> dict[str, list[str]]:
    """Rows in which a name stands anywhere, bytes included; but: longer names, which are others'."""

    def without(row: str) -> str:
        for other in but:
            row = row.replace(other, "").replace(other.encode().hex(), "")
        return row

    looked_for = (name, json.dumps(name)[1:-1], name.encode().hex())
    found = {
        table: [row for row in rows if any(x in without(row) for x in looked_for)] for table, rows in dumped.items()
    }
    return {table: rows for table, rows in found.items() if rows}


def make_table_topic(system: System, keys: list[str]) -> str:
    """An observer's table as Faust keeps it."""
    topic = f"{system.servers.topic_prefix}observer-checkouts-changelog"
    new = NewTopic(topic, num_partitions=3, replication_factor=1, config={"cleanup.policy": "compact"})
    admin = AdminClient({"bootstrap.servers": system.env["KAFKA_BOOTSTRAP_SERVERS"]})
    admin.create_topics([new])[topic].result(30)
    producer = Producer({"bootstrap.servers": system.env["KAFKA_BOOTSTRAP_SERVERS"]})
    for number, key in enumerate(keys):
        producer.produce(topic, json.dumps([key, {}]).encode(), key.encode(), partition=number % 3)
    assert producer.flush(30) == 0
    return topic


def newest(system: System, topic: str) -> dict[bytes, bytes | None]:
    found = system.messages(topic.removeprefix(system.servers.topic_prefix))
    return {bytes(m.key() or b""): None if m.value() is None else bytes(m.value() or b"") for m in found}


@dataclass(frozen=True)
class Case:
    """ada_10 is forgotten: what there was before, and what the command said. mine: her checkouts."""

    mine: list[str]
    captured: CheckoutRequested
    said: Envelope
    others: list[CheckoutRequested]
    stolen: CheckoutRequested
    observed: str
    before: dict[str, list[str]]
    planned: dict[str, Any]
    between: dict[str, list[str]]
    done: dict[str, Any]
    after: dict[str, list[str]]


@pytest.fixture(scope="module")
def case(system: System) -> Case:
    ada = customer(system, ADA)
    # another one to LIKE, one that is longer, and one that begins like her
    others = [order(system, customer(system, name)) for name in OTHERS]
    captured, declined = order(system, ada), order(system, ada, payment_method_id=f"{ada}:declines-lost_card")
    cancelled, refused = order(system, ada, payment_method_id=f"{ada}:slow"), order(system, ada, total_minor=1)
    stolen = order(system, OTHERS[0], payment_method_id=f"{ada}:ok")
    said = Envelope(captured, uuid7(), datetime.now(UTC))
    system.shop.publish_again(said)
    system.publish(declined, cancelled, refused, *others, stolen)
    system.await_status("payment", cancelled.checkout_id, "authorizing")
    system.publish(CheckoutCancelRequested(checkout_id=cancelled.checkout_id, reason=f"{ada} moved to Rome"))
    mine = [request.checkout_id for request in (captured, declined, cancelled, refused)]
    system.await_rest([*mine, *(request.checkout_id for request in (*others, stolen))])
    # letters: one of what can't be read, one of what says otherwise under the same identity
    system.shop.publish_raw("checkout.requested", captured.checkout_id.encode(), f"{ada} {uuid4()}".encode())
    other = order(system, ada, checkout_id=captured.checkout_id, sku="sku-2")
    system.shop.publish_again(Envelope(other, said.event_id, said.occurred_at))
    system.shop.flush()
    wait_for(lambda: len(system.letters("checkout")) == LETTERS, "two letters")
    system.await_rest()
    observed = make_table_topic(system, [*mine, others[0].checkout_id])
    before, planned, between = dump(system), forget(system, ada), dump(system)
    assert None not in newest(system, observed).values()
    done = forget(system, ada, "--yes", "--why", "asked for it", "--by", "ann")
    wait_for(system.at_rest, "the audit's entries to be published")
    return Case(mine, captured, said, others, stolen, observed, before, planned, between, done, dump(system))


def test_without_a_yes_it_only_says_what_it_would_do(case: Case) -> None:
    assert (case.planned["done"], case.planned["checkouts"], case.planned["under_way"]) == (False, len(case.mine), {})
    assert case.between == case.before


def test_no_table_has_the_customer_any_more(case: Case) -> None:
    assert naming(case.before, ADA, OTHERS)
    assert naming(case.after, ADA, OTHERS) == {}
    assert not any("Rome" in row for rows in case.after.values() for row in rows)
    assert (case.done["done"], case.done["rows"], case.done["still_named"]) == (True, case.planned["rows"], {})
    assert case.done["rows"]["checkout"]["checkouts"] == len(case.mine)
    assert case.done["rows"]["payment"]["payment_methods"] == len(methods_of(ADA))


def test_what_the_others_have_is_what_they_had(system: System, case: Case) -> None:
    for request in case.others:
        for table, rows in case.before.items():
            assert {row for row in rows if request.checkout_id in row} <= set(case.after[table]), table
    stored = {name: len(methods_of(name)) for name in OTHERS}
    sql = "SELECT customer_id, count(*) FROM payment_methods WHERE customer_id = ANY(:names) GROUP BY 1"
    assert dict(map(tuple, system.rows("payment", sql, names=list(OTHERS)))) == stored
    sql = "SELECT customer_id, payment_method_id FROM payments WHERE checkout_id = :id"
    [(whose, method)] = system.rows("payment", sql, id=case.stolen.checkout_id)
    # who named her card stays, and her card doesn't
    assert (whose, method.startswith("forgotten-")) == (OTHERS[0], True)


def test_one_pseudonym_holds_what_was_one_customers_together(system: System, case: Case) -> None:
    sql = "SELECT DISTINCT customer_id FROM {} WHERE checkout_id = ANY(:ids) AND customer_id <> ''"
    [(pseudonym,)] = system.rows("checkout", sql.format("checkouts"), ids=case.mine)
    [(payer,)] = system.rows("payment", sql.format("payments"), ids=case.mine)
    assert (pseudonym, pseudonym.startswith("forgotten-")) == (payer, True)


def test_the_observers_rows_end_in_a_tombstone(system: System, case: Case) -> None:
    rows = newest(system, case.observed)
    assert [rows[key.encode()] for key in case.mine] == [None] * len(case.mine)
    assert rows[case.others[0].checkout_id.encode()] is not None


def test_the_books_are_clean_and_what_is_said_again_changes_nothing(system: System, case: Case) -> None:
    system.assert_clean()
    checkout_id, events = case.captured.checkout_id, len(system.events(case.captured.checkout_id))
    system.shop.publish_again(case.said)
    system.publish(case.captured)
    system.assert_clean()
    assert system.status("checkout", checkout_id) == "captured"
    # the two requests, and no answer
    assert len(system.events(checkout_id)) == events + 2
    assert system.ledger(checkout_id) == ["authorized", "captured"]


def test_the_second_time_there_is_nothing_to_do(system: System, case: Case) -> None:
    assert case.done["done"]
    again = run(system, ADA, "--yes")
    assert (again.returncode, again.stdout.splitlines()[0]) == (0, "nothing to do: no row names this customer")


def test_the_audit_says_who_and_how_many_and_not_whom(system: System, case: Case) -> None:
    raw = [bytes(m.value() or b"") for m in system.messages("dlq.audit")]
    assert not any(ADA.encode() in entry for entry in raw)
    run_id = case.done["run"]
    lines = [line for line in system.dlq("audit") if line["key"] == f"forget/{run_id}"]
    assert {(line["action"], line["by"], line["why"]) for line in lines} == {("forgotten", "ann", "asked for it")}
    rows = {line["detail"]["service"]: {t: n for t, n in line["detail"]["rows"].items() if n} for line in lines}
    assert rows == {service: tables for service, tables in case.done["rows"].items() if tables}
    digest = lines[0]["detail"]["customer"]
    salt = bytes.fromhex(digest["salt"])
    assert hashlib.scrypt(ADA.encode(), salt=salt, n=2**14, r=8, p=1, dklen=32).hex() == digest["scrypt"]


def test_what_stays_on_topics_is_counted_and_dated(system: System) -> None:
    name = customer(system, "bob")
    request = order(system, name)
    began = datetime.now(UTC) - timedelta(seconds=1)
    system.publish(request)
    system.await_rest([request.checkout_id])
    topics = {each["topic"]: each for each in forget(system, name)["topics"]}
    assert {topic for topic, each in topics.items() if each["named"]} == {
        "checkout.requested", "checkout.accepted", "checkout.completed",
    }  # fmt: skip
    assert topics["payment.captured"]["records"] == 1
    until = datetime.fromisoformat(topics["checkout.requested"]["until"])
    assert timedelta(0) <= until - began - timedelta(days=30) < timedelta(minutes=5)
    # the tables have forgotten which checkouts were hers: the topics say it
    forget(system, name, "--yes")
    again = {each["topic"]: each for each in forget(system, name)["topics"]}
    assert {topic: each["records"] for topic, each in again.items()} == {
        topic: each["records"] for topic, each in topics.items()
    }


def test_what_is_under_way_is_left_alone_until_it_has_ended(system: System) -> None:
    name = customer(system, "cleo")
    ended, moving = order(system, name), order(system, name)
    system.publish(ended)
    system.await_rest([ended.checkout_id])
    system.faults({"fault": "error:503", "operation": "authorize", "times": 1000})
    system.publish(moving)
    waits = "SELECT 1 FROM retries WHERE lane = :id AND status = 'pending'"
    wait_for(lambda: system.rows("payment", waits, id=moving.checkout_id), "the message to wait")
    first = forget(system, name, "--yes", code=1)
    assert list(first["under_way"]) == [moving.checkout_id]
    why = "; ".join(first["under_way"][moving.checkout_id])
    assert all(part in why for part in ("checkout: accepted", "payment: authoriz", "warehouse: reserved"))
    assert "waits to be tried again" in why
    assert "payment_methods" not in first["rows"]["payment"]
    whose = "SELECT customer_id FROM checkouts WHERE checkout_id = :id"
    assert system.rows("checkout", whose, id=moving.checkout_id)[0].customer_id == name
    assert system.rows("checkout", whose, id=ended.checkout_id)[0].customer_id.startswith("forgotten-")
    system.faults()
    assert system.await_status("checkout", moving.checkout_id, "captured")
    wait_for(system.at_rest, "rest")
    second = forget(system, name, "--yes")
    assert second["rows"]["payment"]["payment_methods"] == len(methods_of(name))
    assert naming(dump(system), name) == {}
    system.assert_clean()


@pytest.mark.parametrize(
    "name", ["o'neil", "100%", 'q"uote', r"back\slash", "%", "a'; DROP TABLE payments; --", "müller"]
)
def test_odd_names_forget_exactly_that_one(system: System, name: str) -> None:
    key = uuid4().hex
    payment_methods(system.servers, [(f"{key}-1", name, "tok_ok"), (f"{key}-2", f"{name}2", "tok_ok")])
    _, done = carry_out(system.servers, make_plan(system.servers, name), AUTHOR)
    assert {table: count for table, count in done["payment"].items() if count} == {"payment_methods": 1}
    rows = system.rows(
        "payment", "SELECT customer_id FROM payment_methods WHERE payment_method_id LIKE :k", k=f"{key}%"
    )
    assert [row.customer_id for row in rows] == [f"{name}2"]


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (["", "--yes"], "not empty"),
        (["fred", "--yes", "--why", "fred asked"], "names the customer"),
    ],
)
def test_what_can_not_be_asked_for_is_refused(system: System, arguments: list[str], said: str) -> None:
    done = run(system, *arguments)
    assert (done.returncode, said in done.stderr) == (2, True), done


def test_a_database_that_is_away_is_one_line(system: System) -> None:
    away = re.sub(r":\d+/", ":9/", system.env["PAYMENT_OWNER_DATABASE_URL"])
    done = run(system, "fred", "--yes", PAYMENT_OWNER_DATABASE_URL=away)
    assert done.returncode == 2
    [line] = done.stderr.splitlines()
    assert "port 9 failed" in line
