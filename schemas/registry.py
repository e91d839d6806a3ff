"""Registers the schemas, refuses incompatible ones, and creates the topics.

`schemas/published/<event>.<n>.avsc` are the versions that were ever released. Every subject is FULL_TRANSITIVE:
any reader reads any writer's events, because services are deployed one by one, in any order.
"""

from collections.abc import Iterable
from dataclasses import dataclass
from importlib import resources
from typing import Final

from confluent_kafka import KafkaException
from confluent_kafka.admin import AdminClient
from confluent_kafka.cimpl import NewTopic
from confluent_kafka.schema_registry import Schema, SchemaRegistryClient, SchemaRegistryError

from schemas.brokers import Kafka, reaching
from schemas.choreography import (
    DEAD_LETTER_MAX_BYTES,
    DLQ_AUDIT_TOPIC,
    EVENT_MAX_BYTES,
    LEDGER_TOPIC,
    SERVICES,
    dead_letter_topic,
    retry_topic,
    topics,
)
from schemas.codec import avsc, compact

COMPATIBILITY: Final = "FULL_TRANSITIVE"
_DAY_MS: Final = 24 * 3600 * 1000
_CONFLICT: Final = (409, 422)
_TIMEOUT_S: Final = 30.0


@dataclass(frozen=True, slots=True, kw_only=True)
class Retention:
    """Days that the topics keep a record; 0: for ever. ledger: of a letter's newest entry, older ones are compacted."""

    events: int = 30
    letters: int = 90
    replays: int = 30
    ledger: int = 0
    audit: int = 0


_DEFAULT: Final = Retention()


class IncompatibleSchemaError(Exception):
    """A schema differs from a published one in a way that would break a reader. The text says where and why."""


def published(event_type: str) -> list[str]:
    """The released versions of an event's schema, oldest first."""
    folder = resources.files("schemas").joinpath("published")
    versions = sorted(
        (int(file.name.removeprefix(f"{event_type}.").removesuffix(".avsc")), file)
        for file in folder.iterdir()
        if file.name.startswith(f"{event_type}.") and file.name.endswith(".avsc")
    )
    return [file.read_text(encoding="utf-8") for _, file in versions]


def register(client: SchemaRegistryClient, topic_prefix: str = "") -> dict[str, int]:
    """Register every event's published versions and the present one under `<topic>-value`.

    Returns subject -> schema id. Idempotent. Raises IncompatibleSchemaError before anything of that subject changes.
    """
    return {
        f"{topic_prefix}{event}-value": register_versions(
            client, f"{topic_prefix}{event}-value", [*published(event), avsc(event)]
        )
        for event in topics()
    }


def register_versions(client: SchemaRegistryClient, subject: str, versions: Iterable[str]) -> int:
    """Register `versions`, oldest first, under one FULL_TRANSITIVE subject; the id of the last one."""
    schema_id = 0
    for number, text in enumerate(versions, start=1):
        try:
            schema_id = client.register_schema(subject, Schema(compact(text), "AVRO"))
        except SchemaRegistryError as error:
            if error.http_status_code not in _CONFLICT:
                raise
            raise IncompatibleSchemaError(
                f"{subject}: version {number} is not {COMPATIBILITY} with what is registered: "
                f"{error.error_message}. Add fields with a default, remove only fields that have one."
            ) from error
        if number == 1:
            client.set_compatibility(subject, COMPATIBILITY)
    return schema_id


def unreleased() -> list[str]:
    """Events whose schema differs from the newest published version (it is released by `checkout schemas release`)."""
    return [event for event in topics() if not (old := published(event)) or compact(old[-1]) != compact(avsc(event))]


def create_topics(
    kafka: Kafka,
    topic_prefix: str = "",
    *,
    partitions: int = 6,
    replication: int = 1,
    retention: Retention = _DEFAULT,
) -> list[str]:
    """Create the event topics and those of the dead letters that are missing; the names of those created.

    Those that exist stay as they are, their retention too.

    Raises KafkaException when the broker refuses one.
    """
    admin = AdminClient({**reaching(kafka), "log_level": 2})
    have = set(admin.list_topics(timeout=_TIMEOUT_S).topics)
    configs = topic_configs(max(1, replication - 1), retention)
    wanted = [
        NewTopic(topic_prefix + name, num_partitions=partitions, replication_factor=replication, config=config)
        for name, config in configs.items()
    ]
    missing = [topic for topic in wanted if topic.topic not in have]
    if not missing:
        return []
    for future in admin.create_topics(missing, operation_timeout=_TIMEOUT_S).values():
        try:
            future.result(timeout=_TIMEOUT_S)
        except KafkaException as error:
            if error.args[0].name() != "TOPIC_ALREADY_EXISTS":
                raise
    return [topic.topic for topic in missing]


def topic_configs(in_sync: int, retention: Retention = _DEFAULT) -> dict[str, dict[str, str]]:
    """Topic -> its configuration. in_sync: with fewer replicas in sync a write is refused, not half kept."""
    events = _config(in_sync, retention.events, EVENT_MAX_BYTES)
    letters = _config(in_sync, retention.letters, DEAD_LETTER_MAX_BYTES)
    replays = _config(in_sync, retention.replays, DEAD_LETTER_MAX_BYTES)
    compacted = {"cleanup.policy": "compact,delete" if retention.ledger else "compact"}
    return {
        **dict.fromkeys(topics(), events),
        **{dead_letter_topic(service): letters for service in SERVICES},
        **{retry_topic(service): replays for service in SERVICES},
        LEDGER_TOPIC: _config(in_sync, retention.ledger, EVENT_MAX_BYTES) | compacted,
        DLQ_AUDIT_TOPIC: _config(in_sync, retention.audit, EVENT_MAX_BYTES),
    }


def _config(in_sync: int, keep_days: int, max_bytes: int) -> dict[str, str]:
    return {
        "cleanup.policy": "delete",
        # the limit on a batch counts bytes as they are stored: stored unpacked, a few KiB can't unpack to any size
        "compression.type": "uncompressed",
        "retention.ms": str(keep_days * _DAY_MS or -1),
        "max.message.bytes": str(max_bytes),
        "min.insync.replicas": str(in_sync),
    }
