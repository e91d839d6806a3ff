"""Brokers that want TLS and a password are asked about open transactions as the client library's properties say."""

import asyncio
from typing import Any

import pytest
from aiokafka.errors import KafkaError
from confluent_kafka import Producer
from confluent_kafka.admin import AdminClient
from confluent_kafka.cimpl import NewTopic

from schemas.kafka.raw import Ends, opened
from tests.integration.test_secured_kafka import PASSWORD, USER, Broker, broker

__all__ = ["broker"]

pytestmark = pytest.mark.slow
TOPIC = "open-secured"


async def ends(kafka: dict[str, Any]) -> dict[tuple[str, int], Ends]:
    leaders = await opened(kafka)
    try:
        return await leaders.ends([(TOPIC, 0)])
    finally:
        await leaders.close()


def test_where_partitions_end_is_asked_over_tls(broker: Broker) -> None:
    kafka: dict[str, Any] = {
        "bootstrap.servers": broker.address,
        "security.protocol": "SASL_SSL",
        "sasl.mechanism": "PLAIN",
        "sasl.username": USER,
        "sasl.password": PASSWORD,
        "ssl.ca.location": str(broker.certificate),
    }
    admin: Any = AdminClient(kafka)
    admin.create_topics([NewTopic(TOPIC, 1)])[TOPIC].result(30)
    hanging = Producer({**kafka, "transactional.id": "hanging", "transaction.timeout.ms": 300_000})
    hanging.init_transactions(30)
    hanging.begin_transaction()
    hanging.produce(TOPIC, b"never said")
    assert hanging.flush(30) == 0
    assert asyncio.run(ends(kafka)) == {(TOPIC, 0): Ends(0, 1)}
    with pytest.raises((KafkaError, OSError)):
        asyncio.run(ends(kafka | {"sasl.password": "guessed"}))
    hanging.abort_transaction(30)
