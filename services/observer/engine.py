"""The Faust app and its table: every setting that matters, with its reason."""

from collections.abc import Callable
from pathlib import Path
from typing import Any, Final

import faust

from schemas.choreography import topics
from services.observer.batches import read_safely
from services.observer.placing import partitioner
from services.observer.security import credentials
from services.observer.settings import APP, ObserverSettings
from services.observer.tables import Checkouts

TABLE: Final = "checkouts"
_MAX_REQUEST: Final = 4 * 1024 * 1024
_MOST_AT_ONCE: Final = 64
_MOST_WAITING: Final = 128
"""Records of up to 1 MiB each: what is fetched and not yet read fits into a container of 512 MiB."""


def make_app(settings: ObserverSettings, partitions: int, folder: Path) -> Any:
    """The app; nothing is started. folder: Faust wants one to write to, and writes nothing there."""
    read_safely()
    brokers = [f"kafka://{server.strip()}" for server in settings.kafka_bootstrap_servers.split(",")]
    return faust.App(
        f"{settings.topic_prefix}{APP}",
        # another version is another consumer group and another table: a rebuild
        version=settings.observer_version,
        broker=brokers,
        broker_credentials=credentials(settings),
        store="memory://",
        Table=Checkouts,
        datadir=folder,
        autodiscover=False,
        topic_partitions=partitions,
        topic_replication_factor=settings.observer_replication,
        topic_disable_leader=True,
        # a copy on another worker would be counted there too; the table's topic is the copy
        table_standby_replicas=0,
        # the router must look for a checkout where its events are
        producer_partitioner=partitioner,
        # topics of its own that the broker doesn't list yet when it joins its group are left out until it asks again
        consumer_metadata_max_age_ms=5_000,
        producer_max_request_size=_MAX_REQUEST,
        consumer_max_fetch_size=_MAX_REQUEST,
        producer_compression_type="lz4",
        broker_max_poll_records=_MOST_AT_ONCE,
        stream_buffer_maxsize=_MOST_WAITING,
        processing_guarantee="at_least_once",
        # an event is acknowledged by hand, when it is in the table: a stop must not wait for a registry that is away
        stream_wait_empty=False,
        # a killed worker's partitions are with the others after so long
        broker_session_timeout=10.0,
        broker_heartbeat_interval=2.0,
        broker_request_timeout=30.0,
        web_bind=settings.observer_web_host,
        web_port=settings.observer_web_port,
        web_host=settings.observer_web_host,
        canonical_url=settings.url,
        # only the pages of this project
        web_stats_enabled=False,
        web_router_enabled=False,
        web_tables_enabled=False,
        web_graph_enabled=False,
        web_metrics_enabled=False,
    )


def make_table(app: Any, partitions: int) -> Any:
    """checkout_id -> timeline, both as bytes; its topic is compacted, so that a restart reads one record a checkout."""
    return app.Table(TABLE, key_type=bytes, value_type=bytes, partitions=partitions, help="timelines by checkout_id")


def event_topics(app: Any, prefix: str) -> Any:
    """Every event of the map, as bytes: what can't be decoded must not kill the agent."""
    names = [prefix + topic for topic in topics()]
    return app.topic(*names, **_raw())


def elsewhere_topic(app: Any, partitions: int, replicas: int, keep_s: float) -> Any:
    """Where events are passed on that don't lie in the partition where their checkout is at home."""
    return app.topic(
        f"{app.conf.id}-elsewhere",
        internal=True,
        partitions=partitions,
        replicas=replicas,
        retention=keep_s,
        deleting=True,
        **_raw(),
    )


def _raw() -> dict[str, Any]:
    kinds: dict[str, Any] = {"key_type": bytes, "value_type": bytes}
    return kinds | {"key_serializer": "raw", "value_serializer": "raw", "allow_empty": True}


def listen(app: Any, topic: Any, name: str, hear: Callable[[Any], Any]) -> None:
    """Let `hear(stream)` hear a topic."""

    async def agent(stream: Any) -> None:
        await hear(stream)

    app.agent(topic, name=name)(agent)
