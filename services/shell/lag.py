"""How far a process is behind its topics, as Prometheus metrics: asked of the broker when somebody asks."""

from collections.abc import Callable, Collection, Iterator
from functools import cached_property
from typing import Any, Final

import structlog
from confluent_kafka import KafkaException, TopicPartition
from confluent_kafka.admin import AdminClient
from prometheus_client.core import GaugeMetricFamily
from prometheus_client.registry import Collector

from dlq.offsets import QUIET, Place, begins, committed, ends
from schemas.brokers import Kafka, reaching

_TIMEOUT_S: Final = 3.0

log = structlog.get_logger("shell.lag")


class Lag(Collector):
    """Messages of each assigned partition that aren't settled yet: its end less what the group has committed.

    assigned: the partitions that are this process's, so that those of all processes of a service may be summed.
    """

    def __init__(
        self, service: str, kafka: Kafka, group: str, topic_prefix: str,
        assigned: Callable[[], Collection[Place]],
    ) -> None:  # fmt: skip
        self._service = service
        self._config: dict[str, Any] = {**reaching(kafka), **QUIET}
        self._group = group
        self._prefix = topic_prefix
        self._assigned = assigned

    def collect(self) -> Iterator[GaugeMetricFamily]:
        """The gauges; of a broker that is away only that it is away."""
        try:
            behind = self._behind()
        except KafkaException as away:
            log.debug("the broker can't be asked", reason=str(away))
            behind = None
        up = GaugeMetricFamily("checkout_broker_up", "Whether the broker answers", labels=("service",))
        up.add_metric([self._service], int(behind is not None))
        yield up
        lag = GaugeMetricFamily(
            "checkout_consumer_lag", "Messages not settled yet", labels=("service", "topic", "partition")
        )
        for (topic, partition), count in (behind or {}).items():
            lag.add_metric([self._service, topic.removeprefix(self._prefix), str(partition)], count)
        yield lag

    def _behind(self) -> dict[Place, int]:
        places = sorted(self._assigned())
        done = committed(self._admin, self._group, _TIMEOUT_S)
        last = ends(self._admin, _positions(places), _TIMEOUT_S)
        # a partition of which nothing was ever settled begins where the topic does
        fresh = begins(self._admin, _positions(place for place in places if place not in done), _TIMEOUT_S)
        return {place: max(0, last[place] - done.get(place, fresh.get(place, 0))) for place in places}

    @cached_property
    def _admin(self) -> AdminClient:
        return AdminClient(self._config)


def _positions(places: Any) -> list[TopicPartition]:
    return [TopicPartition(topic, partition) for topic, partition in places]
