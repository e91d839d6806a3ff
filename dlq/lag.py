"""How far a service is behind its live messages: what its consumer group committed, against the ends of its topics."""

from collections.abc import Iterable
from typing import Final

from confluent_kafka import KafkaException
from confluent_kafka.admin import AdminClient

from dlq.offsets import QUIET, bounds, committed
from dlq.settings import DlqSettings
from schemas.choreography import subscriptions

_TIMEOUT_S: Final = 5.0


def live_lag(settings: DlqSettings, services: Iterable[str]) -> int | None:
    """Messages that these services have not handled yet; None where it can't be told."""
    lags = [lag for service in services if (lag := _lag(settings, service)) is not None]
    return sum(lags) if lags else None


def _lag(settings: DlqSettings, service: str) -> int | None:
    topics = [settings.topic_prefix + event for event in subscriptions(service)]
    admin = AdminClient({**settings.kafka, **QUIET})
    try:
        done = committed(admin, settings.topic_prefix + service, _TIMEOUT_S)
        ends = bounds(settings.kafka, topics)
    except KafkaException:
        return None
    known = [place for place in ends if place in done]
    return sum(ends[place][1] - done[place] for place in known) if known else None
