"""A broker with ACLs lets everyone do what the map says, and refuses everything else."""

import asyncio
import json
import logging
import time
from collections import Counter
from collections.abc import Iterator
from functools import partial
from pathlib import Path
from typing import Any, Final, NamedTuple

import pytest
from aiokafka.client import AIOKafkaClient
from aiokafka.protocol.fetch import FetchRequest
from confluent_kafka import Consumer, KafkaError, KafkaException, Message, Producer, TopicPartition
from confluent_kafka.admin import AdminClient
from confluent_kafka.admin._acl import AclBinding, AclBindingFilter, AclOperation, AclPermissionType
from confluent_kafka.admin._resource import ResourcePatternType, ResourceType
from confluent_kafka.cimpl import NewTopic

from compose.acls import PRINCIPALS, Right, apply, differences, rights
from compose.cli import run_app
from outbox.sending import producer_config
from schemas.choreography import SERVICES, may_publish, subscriptions
from schemas.kafka.raw import properties
from schemas.registry import create_topics, topic_configs
from services.shell.intake import consumer_config
from tests.brokers import Guarded, guarded
from tests.system import wait_for

PREFIX: Final = "eu."
RIGHTS: Final = rights(PREFIX)
USERS: Final = {name: name for name in PRINCIPALS}
FOREIGN: Final = ("shop.orders", f"{PREFIX}observer-checkouts-changelog")
"""A topic of somebody else's, and one of the observer's own."""
TOPICS: Final = (*(PREFIX + topic for topic in topic_configs(1)), *FOREIGN)
REFUSED: Final = "TOPIC_AUTHORIZATION_FAILED"
LIMIT_S: Final = 30.0


class Try(NamedTuple):
    principal: str
    operation: str
    topic: str


@pytest.fixture(scope="module")
def broker(scratch: Path) -> Iterator[Guarded]:
    with guarded(scratch / "acls", PRINCIPALS) as found:
        admin: Any = AdminClient({"bootstrap.servers": found.plain})
        assert apply(admin, RIGHTS, USERS) == len(RIGHTS)
        # a broker follows its controller a moment later
        wait_for(lambda: not differences(admin, RIGHTS, USERS), "the broker to know its ACLs")
        # what setup may do is enough to make every topic
        made = create_topics(found.login("setup"), PREFIX, partitions=1)
        assert {PREFIX + topic for topic in topic_configs(1)} == set(made)
        for future in admin.create_topics([NewTopic(topic, 1) for topic in FOREIGN]).values():
            future.result(LIMIT_S)
        yield found


@pytest.fixture
def environ(broker: Guarded, monkeypatch: pytest.MonkeyPatch) -> None:
    """That of an administrator of the brokers."""
    monkeypatch.setenv("KAFKA_BOOTSTRAP_SERVERS", broker.plain)
    monkeypatch.setenv("TOPIC_PREFIX", PREFIX)


# what the broker does


def test_everyone_may_do_what_the_map_says_and_nothing_else(broker: Guarded) -> None:
    found: dict[Try, str] = {}
    for principal in PRINCIPALS:
        for operation, outcome in (("write", written(broker, principal)), ("read", heard(broker, principal))):
            found |= {Try(principal, operation, topic): result for topic, result in outcome.items()}
    expected = {attempt: "allowed" if is_right(attempt) else "refused" for attempt in found}
    assert len(found) == len(PRINCIPALS) * len(TOPICS) * 2
    assert {attempt: result for attempt, result in found.items() if result != expected[attempt]} == {}
    counts = Counter(found.values())
    print(f"{len(found)} tries: {counts['allowed']} allowed, {counts['refused']} refused")
    direct = {right[:5] for right in RIGHTS if right.resource == "topic" and right.operation in ("read", "write")}
    heartbeats = len(SERVICES)
    assert counts == {"allowed": len(direct) - heartbeats, "refused": len(found) - len(direct) + heartbeats}


def is_right(attempt: Try) -> bool:
    return any(
        right.principal == attempt.principal and right.operation == attempt.operation and covers(right, attempt.topic)
        for right in RIGHTS
    )


def covers(right: Right, topic: str) -> bool:
    if right.resource != "topic":
        return False
    return topic.startswith(right.name) if right.pattern == "prefixed" else topic == right.name


def written(broker: Guarded, principal: str) -> dict[str, str]:
    """What becomes of a record on each topic."""
    found: dict[str, str] = {}

    def report(topic: str, error: KafkaError | None, _message: Message) -> None:
        found[topic] = outcome_of(error)

    # who may write nothing may not be idempotent either, which would be another refusal
    producer = Producer({**broker.login(principal), "enable.idempotence": False, "acks": "all", "log_level": 2})
    for topic in TOPICS:
        producer.produce(topic, b"tried", b"key", on_delivery=partial(report, topic))
    assert producer.flush(LIMIT_S) == 0
    return found


def heard(broker: Guarded, principal: str) -> dict[str, str]:
    """What the broker answers to a fetch of each topic from its beginning."""
    logging.getLogger("aiokafka").setLevel(logging.CRITICAL)
    answer = asyncio.run(asyncio.wait_for(fetched(broker.login(principal)), LIMIT_S))
    codes = {topic: code for topic, partitions in answer.topics for _, code, *_ in partitions}
    return {topic: outcome_of(KafkaError(code) if code else None) for topic, code in codes.items()}


async def fetched(login: dict[str, Any]) -> Any:
    client = AIOKafkaClient(**properties(login))
    try:
        await client.bootstrap()
        asked = [(topic, [(0, 0, 1024)]) for topic in TOPICS]
        return await client.send(client.get_random_node(), FetchRequest(0, 0, 1024 * 1024, 0, asked))
    finally:
        await client.close()


def outcome_of(error: KafkaError | None) -> str:
    if error is None:
        return "allowed"
    assert error.name() == REFUSED, error
    return "refused"


@pytest.mark.parametrize("event", ["payment.captured", "warehouse.confirmed"])
def test_a_shop_that_forges_an_event_is_refused(broker: Guarded, event: str) -> None:
    assert delivery(broker, "shop", event) == REFUSED


@pytest.mark.parametrize("principal", [*SERVICES, "shop"])
def test_who_says_an_event_may_do_so_idempotently(broker: Guarded, principal: str) -> None:
    """By the settings of every service's relay; no right on the cluster is needed."""
    for event in may_publish(principal):
        assert delivery(broker, principal, event) == "delivered"


def delivery(broker: Guarded, principal: str, event: str) -> str:
    outcomes: list[str] = []

    def report(error: KafkaError | None, _message: Message) -> None:
        outcomes.append(error.name() if error else "delivered")

    producer = Producer(producer_config(broker.login(principal)) | {"log_level": 2})
    producer.produce(PREFIX + event, b"said", b"key", on_delivery=report)
    assert producer.flush(LIMIT_S) == 0
    (outcome,) = outcomes
    return outcome


@pytest.mark.parametrize("service", SERVICES)
def test_a_service_joins_its_group(broker: Guarded, service: str) -> None:
    assert joined(broker, service, service) == "joined"


def test_a_shop_may_not_join_the_group_of_a_service(broker: Guarded) -> None:
    assert joined(broker, "shop", "payment") == "GROUP_AUTHORIZATION_FAILED"


def joined(broker: Guarded, principal: str, group: str) -> str:
    consumer = Consumer(consumer_config(broker.login(principal), PREFIX + group) | {"log_level": 2})
    assigned: list[TopicPartition] = []
    consumer.subscribe(
        [PREFIX + event for event in subscriptions(group)], on_assign=lambda _, places: assigned.extend(places)
    )
    try:
        until = time.monotonic() + LIMIT_S
        while time.monotonic() < until:
            message = consumer.poll(0.5)
            if assigned:
                return "joined"
            error = message.error() if message is not None else None
            if error is not None:
                return str(error.name())
    finally:
        consumer.close()
    return "nothing"


@pytest.mark.parametrize(("principal", "may"), [("drainer", True), ("exporter", False), ("payment", False)])
def test_only_people_who_drain_take_the_one_writers_place(broker: Guarded, principal: str, may: bool) -> None:
    transactional = {"transactional.id": f"{PREFIX}dlq-replay", "log_level": 2}
    producer = Producer({**broker.login(principal), **transactional})
    if may:
        producer.init_transactions(LIMIT_S)
    else:
        with pytest.raises(KafkaException) as refused:
            producer.init_transactions(LIMIT_S)
        assert refused.value.args[0].name() == "TRANSACTIONAL_ID_AUTHORIZATION_FAILED"


# what the command says


def test_the_brokers_have_the_maps_rights_and_no_others(environ: None, capsys: pytest.CaptureFixture[str]) -> None:
    assert check(capsys) == []
    assert run_app(["acls", "--apply"]) == 0
    assert capsys.readouterr().out.startswith("0 ACLs set")


def test_what_was_added_and_removed_by_hand_is_found(
    broker: Guarded, environ: None, capsys: pytest.CaptureFixture[str]
) -> None:
    admin: Any = AdminClient({"bootstrap.servers": broker.plain})
    removed = binding("payment", "checkout.accepted", AclOperation.READ)
    added = [
        binding("shop", "payment.captured", AclOperation.WRITE),
        AclBinding(
            ResourceType.TOPIC, PREFIX, ResourcePatternType.PREFIXED, "User:visitor", "*", AclOperation.READ,
            AclPermissionType.ALLOW,
        ),
        binding("checkout", "dlq.ledger", AclOperation.WRITE, AclPermissionType.DENY),
        AclBinding(
            ResourceType.BROKER, "kafka-cluster", ResourcePatternType.LITERAL, "User:setup", "*", AclOperation.ALTER,
            AclPermissionType.ALLOW,
        ),
    ]  # fmt: skip
    # of somebody else, on what is somebody else's, and on what installations share
    unrelated = [
        AclBinding(kind, name, ResourcePatternType.LITERAL, "User:visitor", "*", operation, AclPermissionType.ALLOW)
        for kind, name, operation in (
            (ResourceType.TOPIC, "invoices", AclOperation.READ),
            (ResourceType.GROUP, "dlq-reader", AclOperation.DESCRIBE),
        )
    ]
    delete(admin, removed)
    settle(admin.create_acls([*added, *unrelated]))
    wait_for(lambda: len(differences(admin, RIGHTS, USERS)) == 1 + len(added), "the broker to know what was done")
    missing, *extra = check(capsys)
    assert (missing["what"], missing["principal"], missing["operation"], missing["name"], missing["why"]) == (
        "missing", "User:payment", "read", f"{PREFIX}checkout.accepted", "hears it",
    )  # fmt: skip
    assert {(one["what"], one["principal"], one["permission"], one["operation"], one["name"]) for one in extra} == {
        ("too much", "User:shop", "allow", "write", f"{PREFIX}payment.captured"),
        ("too much", "User:visitor", "allow", "read", PREFIX),
        ("too much", "User:checkout", "deny", "write", f"{PREFIX}dlq.ledger"),
        ("too much", "User:setup", "allow", "alter", "kafka-cluster"),
    }
    told = check(capsys, "--allow", "User:visitor", "--only", "shop")
    assert [one["principal"] for one in told] == ["User:shop"]
    assert run_app(["acls", "--apply"]) == 0
    assert capsys.readouterr().out.startswith("1 ACLs set")
    delete(admin, *added, *unrelated)
    wait_for(lambda: not differences(admin, RIGHTS, USERS), "the broker to know what was undone")
    assert check(capsys) == []


def check(capsys: pytest.CaptureFixture[str], *options: str) -> list[dict[str, Any]]:
    code = run_app(["acls", "--check", "--json", *options])
    found: list[dict[str, Any]] = json.loads(capsys.readouterr().out)
    assert code == (1 if found else 0)
    return found


def binding(
    user: str, topic: str, operation: AclOperation, permission: AclPermissionType = AclPermissionType.ALLOW
) -> AclBinding:
    return AclBinding(
        ResourceType.TOPIC, PREFIX + topic, ResourcePatternType.LITERAL, f"User:{user}", "*", operation, permission
    )


def delete(admin: Any, *those: AclBinding) -> None:
    fields = ("restype", "name", "resource_pattern_type", "principal", "host", "operation", "permission_type")
    filters = [AclBindingFilter(*(getattr(one, field) for field in fields)) for one in those]
    settle(admin.delete_acls(filters))


def settle(futures: Any) -> None:
    for future in futures.values():
        future.result(LIMIT_S)


def test_a_login_that_may_not_read_acls_is_told_so(
    broker: Guarded, environ: None, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    for name, value in broker.settings("shop").items():
        monkeypatch.setenv(name, value)
    for option in ("--check", "--apply"):
        assert run_app(["acls", option]) == 2
        told = capsys.readouterr()
        assert told.out == ""
        assert told.err.startswith("checkout acls: this login may not: it takes ALTER on the cluster"), option
        assert told.err.count("\n") == 1
