"""Where topics begin and end, in two requests for all of them."""

from collections.abc import Sequence
from typing import Final

import stamina
from confluent_kafka import ConsumerGroupTopicPartitions, KafkaError, KafkaException, TopicPartition
from confluent_kafka.admin import AdminClient
from confluent_kafka.admin._listoffsets import OffsetSpec

from schemas.brokers import Kafka, reaching

_TIMEOUT_S: Final = 30.0
QUIET: Final = {"log_level": 2}
"""A command tells what is wrong in one line of its own; the client's log of every reconnect is not for its user."""

# the client marks errors as retriable in its transactional producer only
_PASSING: Final = (
    KafkaError.NOT_LEADER_FOR_PARTITION,
    KafkaError.LEADER_NOT_AVAILABLE,
    KafkaError.UNKNOWN_TOPIC_OR_PART,
    KafkaError.NETWORK_EXCEPTION,
    KafkaError.REQUEST_TIMED_OUT,
)

Place = tuple[str, int]


def _passes(error: Exception) -> bool:
    """Whether it goes by itself: a partition that was just made, or whose broker was just restarted, has no leader."""
    return isinstance(error, KafkaException) and error.args[0].code() in _PASSING


@stamina.retry(on=_passes, attempts=None, timeout=_TIMEOUT_S, wait_initial=0.05, wait_max=1.0)
def bounds(kafka: Kafka, topics: Sequence[str]) -> dict[Place, tuple[int, int]]:
    """(first offset, next offset) of every partition of those `topics` that exist. Raises KafkaException."""
    admin = AdminClient({**reaching(kafka), **QUIET})
    known = admin.list_topics(timeout=_TIMEOUT_S).topics
    places = [TopicPartition(t, p) for t in topics if t in known for p in known[t].partitions]
    first = _offsets(admin, places, OffsetSpec.earliest())  # type: ignore[no-untyped-call]
    last = _offsets(admin, places, OffsetSpec.latest())  # type: ignore[no-untyped-call]
    return {place: (first[place], last[place]) for place in first}


def committed(admin: AdminClient, group: str, timeout_s: float) -> dict[Place, int]:
    """What a consumer group has committed, where it has. Raises KafkaException."""
    asked = admin.list_consumer_group_offsets([ConsumerGroupTopicPartitions(group)], request_timeout=timeout_s)
    # the request's own time-out is a KafkaException; a future's would be another error at the same time
    found: list[TopicPartition] = asked[group].result().topic_partitions or []
    return {(place.topic, place.partition): place.offset for place in found if place.offset >= 0}


def _offsets(admin: AdminClient, places: list[TopicPartition], spec: OffsetSpec) -> dict[Place, int]:
    if not places:
        return {}
    asked = admin.list_offsets(dict.fromkeys(places, spec), request_timeout=_TIMEOUT_S)
    return {(place.topic, place.partition): future.result().offset for place, future in asked.items()}
