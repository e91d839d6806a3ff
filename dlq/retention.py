"""When a topic lets go of its messages."""

from collections.abc import Collection
from datetime import datetime, timedelta
from typing import Final

from confluent_kafka.admin import AdminClient
from confluent_kafka.admin._config import ConfigResource
from confluent_kafka.admin._resource import ResourceType

from dlq.letters import DeadLetter
from dlq.offsets import QUIET
from schemas.brokers import Kafka, reaching

_TIMEOUT_S: Final = 30.0


def retentions(kafka: Kafka, topics: Collection[str]) -> dict[str, timedelta | None]:
    """`retention.ms` of each topic; None: for ever, also where its policy is another one. Raises KafkaException."""
    if not topics:
        return {}
    admin = AdminClient({**reaching(kafka), **QUIET})
    asked = admin.describe_configs(
        [ConfigResource(ResourceType.TOPIC, topic) for topic in topics], request_timeout=_TIMEOUT_S
    )
    found = {}
    for resource, future in asked.items():
        config = {name: entry.value for name, entry in future.result(timeout=_TIMEOUT_S).items()}
        found[resource.name] = _retention(str(config["cleanup.policy"]), int(str(config["retention.ms"])))
    return found


def _retention(policy: str, retention_ms: int) -> timedelta | None:
    return timedelta(milliseconds=retention_ms) if retention_ms >= 0 and "delete" in policy else None


def leaves_at(letter: DeadLetter, kept: timedelta | None) -> datetime | None:
    """When a letter may be deleted, at the earliest: a segment goes when its newest message is too old."""
    try:
        return None if kept is None else letter.at + kept
    except OverflowError:
        return None
