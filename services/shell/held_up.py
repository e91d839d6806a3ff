"""Which partitions another producer's open transaction holds up, and since when: for /metrics and /readyz."""

import time
from collections.abc import Callable, Iterator, Mapping
from datetime import UTC, datetime

from prometheus_client.core import GaugeMetricFamily
from prometheus_client.registry import Collector

from schemas.kafka.raw import Partition
from services.shell.open_transactions import Held


class HeldUp(Collector):
    """Seconds since when messages of a partition wait behind an open transaction; no line for one that is not held."""

    def __init__(self, service: str, topic_prefix: str, held: Callable[[], Mapping[Partition, Held]]) -> None:
        self._service, self._prefix, self._held = service, topic_prefix, held

    def collect(self) -> Iterator[GaugeMetricFamily]:
        """One gauge; its labels are those of the partitions that are this process's."""
        gauge = GaugeMetricFamily(
            "checkout_open_transaction_seconds",
            "How long messages have waited behind another producer's open transaction",
            labels=("service", "topic", "partition"),
        )
        now = time.time()
        for (topic, partition), held in sorted(self._held().items()):
            gauge.add_metric(
                [self._service, topic.removeprefix(self._prefix), str(partition)], max(0.0, now - held.since)
            )
        yield gauge


def described(held: Mapping[Partition, Held]) -> list[dict[str, object]]:
    """For /readyz: what an operator needs to find the producer, and to abort its transaction."""
    return [
        {
            "topic": topic,
            "partition": partition,
            "offset": it.offset,
            "producer_id": it.producer_id,
            "since": datetime.fromtimestamp(it.since, UTC).isoformat(timespec="seconds"),
        }
        for (topic, partition), it in sorted(held.items())
    ]
