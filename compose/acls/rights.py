"""What each process and person needs on Kafka, from the map. Pure: a map in, rights out.

A right that implies others stands alone: who may read, write or alter something may describe it, who may alter
configurations may read them. No right on the cluster is among them: since Kafka 3.0 (KIP-679) whoever may write a topic
may do so idempotently. Source: https://kafka.apache.org/documentation/#operations_resources_and_protocols
"""

from collections.abc import Iterable, Iterator, Sequence
from typing import Final, Literal, NamedTuple, cast

from dlq.desk import TRANSACTIONAL_ID
from dlq.outcomes import WATCH_GROUP
from dlq.topics import READER_GROUP
from schemas.choreography import (
    DLQ_AUDIT_TOPIC,
    LEDGER_TOPIC,
    MAP,
    SHOP,
    Entry,
    dead_letter_topic,
    may_publish,
    retry_topic,
    subscriptions,
)
from services.observer.settings import APP

Resource = Literal["topic", "group", "transactional-id"]
Pattern = Literal["literal", "prefixed"]
Operation = Literal["read", "write", "create", "alter", "describe", "alter_configs", "describe_configs"]

DRAINER: Final = "drainer"
EXPORTER: Final = "exporter"
OBSERVER: Final = "observer"
SETUP: Final = "setup"
AUDITOR: Final = "auditor"
PRIVACY: Final = "privacy"
SCALER: Final = "scaler"

HEARTBEAT: Final = "__debezium-heartbeat."
"""Debezium's topic for a slot is this and the slot's name."""


class Right(NamedTuple):
    """What `principal` may do. name: of the resource, or what it begins with; with the topic prefix. why: a phrase."""

    principal: str
    resource: Resource
    pattern: Pattern
    name: str
    operation: Operation
    why: str


def is_shared(right: Right) -> bool:
    """Whether two installations on one cluster share the name, because nothing of an installation lies there."""
    return right.name in (READER_GROUP, WATCH_GROUP) or right.name.startswith(HEARTBEAT)


def services_of(choreography: Sequence[Entry] = MAP) -> tuple[str, ...]:
    """Every service of a map, in the order of their names."""
    said = {entry.said_by for entry in choreography}
    heard = {reaction.service for entry in choreography for reaction in entry.heard_by}
    return tuple(sorted((said | heard) - {SHOP}))


def connector_of(service: str) -> str:
    """The principal of a Debezium connector that publishes the outbox of `service`."""
    return f"connect-{service}"


def principals(choreography: Sequence[Entry] = MAP) -> tuple[str, ...]:
    """Everyone who has rights, each with a login of its own."""
    services = services_of(choreography)
    people = (SHOP, DRAINER, EXPORTER, OBSERVER, SETUP, AUDITOR, PRIVACY, SCALER)
    return (*services, *people, *map(connector_of, services))


PRINCIPALS: Final = principals()


def rights(topic_prefix: str, choreography: Sequence[Entry] = MAP) -> tuple[Right, ...]:
    """Every right, by principal; each once. topic_prefix: as TOPIC_PREFIX."""
    services = services_of(choreography)
    named = [
        *(right for service in services for right in _service(service, choreography)),
        *_shop(choreography),
        *_drainer(choreography),
        *_exporter(services),
        *_observer(choreography),
        *_setup(choreography),
        *_auditor(choreography),
        *_privacy(choreography),
        *_scaler(choreography),
        *(right for service in services for right in _connector(service, choreography)),
    ]
    found = [right._replace(name=topic_prefix + right.name) for right in named]
    order = principals(choreography)
    return tuple(sorted((*found, *_unprefixed(services)), key=lambda right: order.index(right.principal)))


def _service(service: str, choreography: Sequence[Entry]) -> Iterator[Right]:
    yield from _topics(service, subscriptions(service, choreography), "read", "hears it")
    yield from _topics(service, [retry_topic(service)], "read", "hears replayed dead letters")
    yield from _topics(service, sorted(may_publish(service, choreography)), "write", "says it")
    yield from _topics(service, [dead_letter_topic(service)], "write", "its dead letters")
    yield from _topics(service, [LEDGER_TOPIC], "write", "what became of its dead letters")
    yield from _topics(service, [DLQ_AUDIT_TOPIC], "write", "its relay publishes `checkout outbox set-aside`")
    yield Right(service, "group", "literal", service, "read", "its consumer group")


def _shop(choreography: Sequence[Entry]) -> Iterator[Right]:
    yield from _topics(SHOP, sorted(may_publish(SHOP, choreography)), "write", "says it")
    yield from _topics(SHOP, [entry.event for entry in choreography if entry.ends], "read", "an end, awaited by shops")
    yield Right(SHOP, "group", "prefixed", SHOP, "read", "its consumer groups")


def _drainer(choreography: Sequence[Entry]) -> Iterator[Right]:
    services = services_of(choreography)
    letters, retries = [*map(dead_letter_topic, services)], [*map(retry_topic, services)]
    yield from _topics(DRAINER, letters, "read", "`dlq list`, `show`, `export`")
    yield from _topics(DRAINER, letters, "write", "`dlq edit`, `import`")
    yield from _topics(DRAINER, letters, "describe_configs", "`dlq watch`: when letters leave")
    yield from _topics(DRAINER, retries, "write", "`dlq replay`")
    for name in (LEDGER_TOPIC, DLQ_AUDIT_TOPIC):
        yield from _topics(DRAINER, [name], "read", "states of letters, and who did what to them")
        yield from _topics(DRAINER, [name], "write", "every command that changes a letter")
    yield from _topics(DRAINER, _events(choreography), "read", "`dlq show`: the events of a letter's checkout")
    for service in services:
        yield Right(DRAINER, "group", "literal", service, "describe", "`dlq replay`: how far the service is behind")
    yield Right(DRAINER, "transactional-id", "literal", TRANSACTIONAL_ID, "write", "one writer at a time")


def _exporter(services: Sequence[str]) -> Iterator[Right]:
    letters = [*map(dead_letter_topic, services)]
    yield from _topics(EXPORTER, letters, "read", "`dlq metrics` counts them")
    yield from _topics(EXPORTER, letters, "describe_configs", "`dlq metrics`: when letters leave")
    yield from _topics(EXPORTER, [LEDGER_TOPIC], "read", "states of letters")


def _observer(choreography: Sequence[Entry]) -> Iterator[Right]:
    yield from _topics(OBSERVER, _events(choreography), "read", "timelines are made of it")
    own = f"{APP}-"
    yield Right(OBSERVER, "topic", "prefixed", own, "create", "its own topics; others with another OBSERVER_VERSION")
    yield Right(OBSERVER, "topic", "prefixed", own, "read", "its table, and what other workers pass on")
    yield Right(OBSERVER, "topic", "prefixed", own, "write", "its table, and what it passes on")
    yield Right(OBSERVER, "group", "literal", APP, "read", "its consumer group")
    yield Right(OBSERVER, "group", "prefixed", f"{APP}-v", "read", "its consumer group with another OBSERVER_VERSION")


def _setup(choreography: Sequence[Entry]) -> Iterator[Right]:
    names = _all_topics(choreography)
    yield from _topics(SETUP, names, "create", "`checkout setup`")
    yield from _topics(SETUP, names, "alter", "more partitions, by kafka-topics")
    yield from _topics(SETUP, names, "alter_configs", "retention and sizes, by kafka-configs")


def _auditor(choreography: Sequence[Entry]) -> Iterator[Right]:
    yield from _topics(AUDITOR, _events(choreography), "read", "`checkout audit`, `show`")
    yield from _topics(AUDITOR, map(dead_letter_topic, services_of(choreography)), "read", "`checkout audit`")


def _privacy(choreography: Sequence[Entry]) -> Iterator[Right]:
    names = _all_topics(choreography)
    yield from _topics(PRIVACY, names, "read", "`checkout forget`: what a topic keeps of a customer")
    yield from _topics(PRIVACY, names, "describe_configs", "`checkout forget`: until when")
    yield from _topics(PRIVACY, [DLQ_AUDIT_TOPIC], "write", "that somebody was forgotten")
    own = f"{APP}-"
    for operation, why in (("read", "what it keeps"), ("write", "it drops them"), ("describe_configs", "until when")):
        yield Right(PRIVACY, "topic", "prefixed", own, cast("Operation", operation), f"the observer's table: {why}")


def _scaler(choreography: Sequence[Entry]) -> Iterator[Right]:
    for service in services_of(choreography):
        yield Right(SCALER, "group", "literal", service, "describe", "KEDA: how far a service is behind")
    heard = {topic for service in services_of(choreography) for topic in subscriptions(service, choreography)}
    retries = map(retry_topic, services_of(choreography))
    yield from _topics(SCALER, [*sorted(heard), *retries], "describe", "KEDA: where topics end")


def _connector(service: str, choreography: Sequence[Entry]) -> Iterator[Right]:
    yield from _topics(connector_of(service), sorted(may_publish(service, choreography)), "write", f"{service} says it")


def _unprefixed(services: Sequence[str]) -> Iterator[Right]:
    """Those on names without the topic prefix: see `is_shared`."""
    for principal in (DRAINER, EXPORTER, AUDITOR, PRIVACY):
        yield Right(principal, "group", "literal", READER_GROUP, "describe", "its client asks; nothing is committed")
    yield Right(DRAINER, "group", "literal", WATCH_GROUP, "describe", "its client asks; nothing is committed")
    for service in services:
        topic, why = f"{HEARTBEAT}{service}_outbox", f"heartbeat of the slot {service}_outbox"
        yield Right(connector_of(service), "topic", "literal", topic, "write", why)


def _topics(principal: str, names: Iterable[str], operation: Operation, why: str) -> Iterator[Right]:
    return (Right(principal, "topic", "literal", name, operation, why) for name in names)


def _events(choreography: Sequence[Entry]) -> list[str]:
    return [entry.event for entry in choreography]


def _all_topics(choreography: Sequence[Entry]) -> list[str]:
    own = [name(service) for service in services_of(choreography) for name in (dead_letter_topic, retry_topic)]
    return [*_events(choreography), *own, LEDGER_TOPIC, DLQ_AUDIT_TOPIC]
