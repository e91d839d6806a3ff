"""What may be done on Kafka follows from the map, and is written down without loss."""

import json
import shlex
from collections.abc import Iterator

import pytest
import yaml

from compose.acls import PRINCIPALS, Right, principals, rights
from compose.acls.rights import is_shared
from compose.acls.strimzi import manifests
from compose.acls.writing import camel, kafka_acls
from compose.cli import run_app
from schemas.choreography import ENDS, MAP, SERVICES, SHOP, Entry, Reaction, topics
from schemas.registry import topic_configs

PREFIX = "eu."
ALL = rights(PREFIX)
USERS = {name: f"svc-{name}" for name in PRINCIPALS}


def who(operation: str, topic: str) -> set[str]:
    """The principals that may do this with a topic; without prefix."""
    wanted = ("topic", topic, operation)
    return {right.principal for right in rights("") if (right.resource, right.name, right.operation) == wanted}


def test_no_right_stands_twice() -> None:
    assert len({right[:5] for right in ALL}) == len(ALL)


@pytest.mark.parametrize("entry", MAP, ids=lambda entry: entry.event)
def test_only_who_says_an_event_may_write_it(entry: Entry) -> None:
    connector = set() if entry.said_by == SHOP else {f"connect-{entry.said_by}"}
    assert who("write", entry.event) == {entry.said_by} | connector


@pytest.mark.parametrize("entry", MAP, ids=lambda entry: entry.event)
def test_who_hears_an_event_may_read_it_and_so_may_those_who_look(entry: Entry) -> None:
    looks = {"drainer", "observer", "auditor"} | ({SHOP} if entry.event in ENDS else set())
    assert who("read", entry.event) == {each.service for each in entry.heard_by} | looks


def test_a_shop_may_say_its_events_and_hear_the_ends_and_nothing_else() -> None:
    own = {
        (right.operation, right.name) for right in rights("") if right.principal == SHOP and right.resource == "topic"
    }
    said = {("write", "checkout.requested"), ("write", "checkout.cancel_requested")}
    assert own == said | {("read", event) for event in ENDS}


@pytest.mark.parametrize("service", SERVICES)
def test_only_people_put_letters_on_a_retry_topic_and_only_its_service_hears_it(service: str) -> None:
    assert who("write", f"{service}.retry") == {"drainer"}
    assert who("read", f"{service}.retry") == {service}
    assert who("write", f"{service}.dlq") == {"drainer", service}


def test_setup_may_make_every_topic_that_it_makes_and_no_other() -> None:
    assert {right.name for right in rights("") if right.principal == "setup" and right.operation == "create"} == set(
        topic_configs(1)
    )


def test_nobody_has_a_right_on_everything() -> None:
    assert not [right for right in ALL if right.name == "*" or not right.name]


def test_names_have_the_prefix_but_for_those_under_which_nothing_lies() -> None:
    shared = {right.name for right in ALL if not right.name.startswith(PREFIX)}
    assert shared == {right.name for right in ALL if is_shared(right)}
    assert shared == {"dlq-reader", "dlq-watch", *(f"__debezium-heartbeat.{name}_outbox" for name in SERVICES)}


def test_a_new_service_has_its_rights_from_the_map_alone() -> None:
    fraud = Entry("fraud.suspected", "fraud", (Reaction("checkout", "fail it", ("checkout.failed",)),))
    hears = Entry("shop.asked", SHOP, (Reaction("fraud", "look", ("fraud.suspected",)),))
    more = (*MAP, hears, fraud)
    new = [right for right in rights("", more) if right.principal == "fraud"]
    assert {(right.resource, right.operation, right.name) for right in new} == {
        ("topic", "read", "shop.asked"),
        ("topic", "read", "fraud.retry"),
        ("topic", "write", "fraud.suspected"),
        ("topic", "write", "fraud.dlq"),
        ("topic", "write", "dlq.ledger"),
        ("topic", "write", "dlq.audit"),
        ("group", "read", "fraud"),
    }
    assert set(principals(more)) - set(PRINCIPALS) == {"fraud", "connect-fraud"}
    known = {right[:5] for right in rights("")}
    others = {right[:5] for right in rights("", more) if right.principal in PRINCIPALS} - known
    assert ("checkout", "topic", "literal", "fraud.suspected", "read") in others
    assert ("shop", "topic", "literal", "shop.asked", "write") in others
    assert ("drainer", "topic", "literal", "fraud.retry", "write") in others


def test_the_lines_for_kafka_acls_say_every_right() -> None:
    said = {right for line in kafka_acls(ALL, USERS) for right in parsed(line)}
    assert said == {
        (f"User:{USERS[right.principal]}", right.resource, right.pattern, right.name, camel(right.operation))
        for right in ALL
    }


def parsed(line: str) -> Iterator[tuple[str, ...]]:
    """(principal, resource, pattern, name, operation) of each right in a line."""
    words = shlex.split(line)
    words = words[words.index("--add") + 1 :]
    pairs = list(zip(words[::2], words[1::2], strict=True))
    given = dict(pairs)
    for option, name in pairs:
        if option in ("--topic", "--group", "--transactional-id"):
            pattern = given.get("--resource-pattern-type", "literal")
            yield given["--allow-principal"], option[2:], pattern, name, given["--operation"]


def test_the_manifests_say_every_right() -> None:
    made = list(yaml.safe_load_all(manifests(ALL, USERS, "kafka")))
    assert [one["metadata"]["name"] for one in made] == list(USERS.values())
    said = {
        (one["metadata"]["name"], *rule["resource"].values(), operation)
        for one in made
        for rule in one["spec"]["authorization"]["acls"]
        for operation in rule["operations"]
    }
    assert said == {(USERS[right.principal], *resource(right), camel(right.operation)) for right in ALL}


def resource(right: Right) -> tuple[str, str, str]:
    """As Strimzi names it."""
    kind = {"transactional-id": "transactionalId"}.get(right.resource, right.resource)
    return kind, right.name, {"prefixed": "prefix"}.get(right.pattern, right.pattern)


def test_principals_that_share_a_user_are_one_manifest() -> None:
    made = list(yaml.safe_load_all(manifests(ALL, dict.fromkeys(PRINCIPALS, "app"), "kafka")))
    assert [one["metadata"]["name"] for one in made] == ["app"]
    rules = [json.dumps(rule["resource"]) for rule in made[0]["spec"]["authorization"]["acls"]]
    assert len(rules) == len(set(rules))


def test_the_command_prints_the_rights_without_a_broker(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setenv("TOPIC_PREFIX", PREFIX)
    assert run_app(["acls", "--json", "--user-prefix", "svc-", "--principal", "shop=User:CN=shop"]) == 0
    told = json.loads(capsys.readouterr().out)
    users = USERS | {"shop": "CN=shop"}
    assert told == [{"user": f"User:{users[right.principal]}", **right._asdict()} for right in ALL]
    assert run_app(["acls"]) == 0
    table = capsys.readouterr().out
    assert all(PREFIX + topic in table for topic in topics())
    assert all(name in table for name in PRINCIPALS)


@pytest.mark.parametrize(
    ("arguments", "prefix", "says"),
    [
        (["--only", "cashier"], "", "--only 'cashier': there is no such principal; they are checkout, payment"),
        (["--principal", "shop"], "", "--principal 'shop' is not NAME=User:X"),
        (["--principal", "shop=User:"], "", "--principal 'shop=User:' is not NAME=User:X"),
        (["--principal", "cashier=User:x"], "", "--principal 'cashier': there is no such principal"),
        (["--json", "--strimzi"], "", "--json and --strimzi: one of them at a time"),
        (["--strimzi", "--user-prefix", "Shop_"], "", "'Shop_checkout' can't be a name in Kubernetes"),
        ([], "*", "TOPIC_PREFIX='*': a topic's name has letters"),
        ([], "a\nb", "TOPIC_PREFIX='a\\nb': a topic's name has letters"),
    ],
)
def test_a_wrong_call_is_told_in_one_line(
    arguments: list[str], prefix: str, says: str, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setenv("TOPIC_PREFIX", prefix)
    assert run_app(["acls", *arguments]) == 2
    told = capsys.readouterr()
    assert told.out == ""
    assert told.err.startswith(f"checkout acls: {says}")
    assert told.err.count("\n") == 1
