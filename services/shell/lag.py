"""How far a process is behind its topics, as Prometheus metrics: asked of the broker when somebody asks."""

import threading
import time
from collections.abc import Callable, Collection, Iterable, Iterator
from functools import cached_property
from typing import Any, Final

import structlog
from confluent_kafka import OFFSET_BEGINNING, OFFSET_END, OFFSET_INVALID, Consumer, KafkaException, TopicPartition
from prometheus_client.core import GaugeMetricFamily
from prometheus_client.registry import Collector

from dlq.offsets import QUIET, Place
from schemas.brokers import Kafka, reaching

_TIMEOUT_S: Final = 3.0
_FRESH_S: Final = 0.5
"""How old an answer may be."""

log = structlog.get_logger("shell.lag")


class Lag(Collector):
    """Messages of each assigned partition that aren't settled yet: its end less what the group has committed.

    assigned: the partitions that are this process's, so that those of all processes of a service may be summed. make:
    makes the client that asks.
    """

    def __init__(
        self, service: str, kafka: Kafka, group: str, topic_prefix: str,
        assigned: Callable[[], Collection[Place]],
        make: Callable[[dict[str, Any]], Consumer] = Consumer,
    ) -> None:  # fmt: skip
        self._service = service
        self._kafka, self._make = kafka, make
        self._group = group
        self._prefix = topic_prefix
        self._assigned = assigned
        self._lock = threading.Lock()
        self._found: dict[Place, int] | None = None
        self._asked_at = -_FRESH_S

    def collect(self) -> Iterator[GaugeMetricFamily]:
        """The gauges; of a broker that is away only that it is away."""
        behind = self._newest()
        up = GaugeMetricFamily("checkout_broker_up", "Whether the broker answers", labels=("service",))
        up.add_metric([self._service], int(behind is not None))
        yield up
        lag = GaugeMetricFamily(
            "checkout_consumer_lag", "Messages not settled yet", labels=("service", "topic", "partition")
        )
        for (topic, partition), count in (behind or {}).items():
            lag.add_metric([self._service, topic.removeprefix(self._prefix), str(partition)], count)
        yield lag

    def _newest(self) -> dict[Place, int] | None:
        """One asks at a time: whoever comes while a broker is silent waits for the same answer, not in a queue."""
        with self._lock:
            if time.monotonic() - self._asked_at >= _FRESH_S:
                try:
                    self._found = self._behind()
                except KafkaException as away:
                    log.debug("the broker can't be asked", reason=str(away))
                    self._found = None
                self._asked_at = time.monotonic()
            return self._found

    def _behind(self) -> dict[Place, int]:
        places = sorted(self._assigned())
        done = _known(self._reader.committed(_asking(places), timeout=_TIMEOUT_S))
        last = self._ends(places, OFFSET_END)
        # a partition of which nothing was ever settled begins where the topic does
        fresh = self._ends([place for place in places if place not in done], OFFSET_BEGINNING)
        return {place: max(0, last[place] - done.get(place, fresh.get(place, 0))) for place in places}

    def _ends(self, places: list[Place], which: int) -> dict[Place, int]:
        """Where partitions end or begin, in one request of each leader. Raises KafkaException."""
        return _known(self._reader.offsets_for_times(_asking(places, which), timeout=_TIMEOUT_S)) if places else {}

    @cached_property
    def _reader(self) -> Consumer:
        """A consumer that consumes nothing, and joins no group.

        Not an admin client: one whose requests time out while the broker is away can abort the process, and it goes on
        with the leader epochs from before a broker's restart.
        """
        config = {**reaching(self._kafka), **QUIET, "group.id": self._group, "enable.auto.commit": False}
        return self._make(config)


def _asking(places: Iterable[Place], which: int = OFFSET_INVALID) -> list[TopicPartition]:
    return [TopicPartition(topic, partition, which) for topic, partition in places]


def _known(found: Iterable[TopicPartition]) -> dict[Place, int]:
    """Offsets, where there are any. Raises KafkaException."""
    answers = list(found)
    for answer in answers:
        if answer.error is not None:
            raise KafkaException(answer.error)
    return {(answer.topic, answer.partition): answer.offset for answer in answers if answer.offset >= 0}
