"""Brokers that want TLS and a password are asked about open transactions as the client library's properties say."""

import asyncio
from typing import Any

import pytest
from aiokafka.errors import KafkaError
from confluent_kafka import Producer
from confluent_kafka.admin import AdminClient
from confluent_kafka.cimpl import NewTopic

from schemas.kafka.raw import Ends, opened
from tests.integration.test_secured_kafka import LISTENERS, Broker, broker

__all__ = ["broker"]

pytestmark = pytest.mark.slow


async def ends(kafka: dict[str, Any], topic: str) -> dict[tuple[str, int], Ends]:
    leaders = await opened(kafka)
    try:
        return await leaders.ends([(topic, 0)])
    finally:
        await leaders.close()


@pytest.mark.parametrize("listener", LISTENERS)
def test_where_partitions_end_is_asked_over_tls(broker: Broker, listener: str) -> None:
    kafka, topic = broker.kafka(listener), f"open-{listener}"
    admin: Any = AdminClient(kafka)
    admin.create_topics([NewTopic(topic, 1)])[topic].result(30)
    hanging = Producer({**kafka, "transactional.id": "hanging", "transaction.timeout.ms": 300_000})
    hanging.init_transactions(30)
    hanging.begin_transaction()
    hanging.produce(topic, b"never said")
    assert hanging.flush(30) == 0
    assert asyncio.run(ends(kafka, topic)) == {(topic, 0): Ends(0, 1)}
    with pytest.raises((KafkaError, OSError)):
        asyncio.run(ends(broker.stranger(listener), topic))
    hanging.abort_transaction(30)
