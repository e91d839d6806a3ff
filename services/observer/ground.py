"""What has to be there before Faust starts: a broker that answers and every event's topic, alike in partitions."""

import threading
from typing import Final

import structlog
from confluent_kafka import KafkaException
from confluent_kafka.admin import AdminClient

from schemas.brokers import Kafka, reaching
from schemas.choreography import topics

_AGAIN_S: Final = 1.0
_TIMEOUT_S: Final = 3.0

log = structlog.get_logger("observer.ground")


class NotAlikeError(Exception):
    """Topics differ in their number of partitions: one table can't hold what they say of a checkout."""


def await_topics(kafka: Kafka, prefix: str, stop: threading.Event) -> int | None:
    """The number of partitions of every event's topic; waits for broker and topics. None when stopped meanwhile.

    Raises NotAlikeError.
    """
    # log_level 0: a refused connection is no news while one waits for it
    admin = AdminClient({**reaching(kafka), "log_level": 0})
    while not stop.is_set():
        try:
            found = admin.list_topics(timeout=_TIMEOUT_S).topics
        except KafkaException as error:
            log.warning("waiting for the broker", reason=str(error.args[0]))
        else:
            missing = [topic for topic in topics() if prefix + topic not in found]
            if not missing:
                return _alike({topic: len(found[prefix + topic].partitions) for topic in topics()})
            log.warning("waiting for topics", missing=missing)
        stop.wait(_AGAIN_S)
    return None


def _alike(partitions: dict[str, int]) -> int:
    counts = set(partitions.values())
    if len(counts) != 1:
        raise NotAlikeError(f"the events' topics must have the same number of partitions: {partitions}")
    return counts.pop()
