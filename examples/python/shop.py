# /// script
# requires-python = ">=3.11"
# dependencies = ["confluent-kafka[avro,schemaregistry]==2.16.0"]
# ///
"""A shop in Python: asks for a checkout and waits for its end. It knows Kafka and the registry, no code of ours.

    python shop.py [CHECKOUT_ID] [PAYMENT_METHOD]

Reads KAFKA_BOOTSTRAP_SERVERS, SCHEMA_REGISTRY_URL and, where topics have one, TOPIC_PREFIX.
Exit code: 0 completed, 1 failed, 2 no end within a minute.
"""

import os
import secrets
import sys
import time
from datetime import UTC, datetime
from typing import Any
from uuid import UUID

from confluent_kafka import Consumer, KafkaException, Producer, TopicPartition
from confluent_kafka.schema_registry import SchemaRegistryClient
from confluent_kafka.schema_registry.avro import AvroDeserializer, AvroSerializer
from confluent_kafka.serialization import MessageField, SerializationContext

PREFIX = os.environ.get("TOPIC_PREFIX", "")
REQUESTED = f"{PREFIX}checkout.requested"
COMPLETED = f"{PREFIX}checkout.completed"
FAILED = f"{PREFIX}checkout.failed"
PATIENCE_S = 60.0
NO_END = 2
# the subject is <topic>-value; without this the client asks the registry for something else first
SUBJECTS = {"subject.name.strategy.type": "TOPIC"}


def uuid7() -> UUID:
    """A UUID that begins with its time (RFC 9562, section 5.7)."""
    time_bits = (time.time_ns() // 1_000_000) << 80
    return UUID(int=time_bits | 7 << 76 | secrets.randbits(12) << 64 | 2 << 62 | secrets.randbits(62))


def request(checkout_id: str, payment_method: str) -> dict[str, Any]:
    """A basket of two cups; the total is the sum of the lines, in cents."""
    return {
        "event_id": uuid7(),
        "checkout_id": checkout_id,
        "occurred_at": datetime.now(UTC),
        "customer_id": "customer-1",
        "payment_method_id": payment_method,
        "currency": "EUR",
        "total_minor": 2500,
        "lines": [{"sku": "sku-1", "quantity": 2, "unit_price_minor": 1250}],
        "expires_at": None,
    }


def publish(brokers: str, registry: SchemaRegistryClient, event: dict[str, Any]) -> None:
    """Publish one event; returns when the broker has it. Raises KafkaException.

    The registry has the schema already: a shop never registers one.
    """
    encode = AvroSerializer(registry, conf={"auto.register.schemas": False, "use.latest.version": True, **SUBJECTS})
    value = encode(event, SerializationContext(REQUESTED, MessageField.VALUE))
    refused = []
    # murmur2, as everybody else's: one partition number holds all that is said of a checkout
    producer = Producer({"bootstrap.servers": brokers, "enable.idempotence": True, "partitioner": "murmur2_random"})
    # the key is the checkout_id: all that is said of it stays in order
    producer.produce(
        REQUESTED, value, event["checkout_id"].encode(), on_delivery=lambda error, _: refused.append(error)
    )
    producer.flush(PATIENCE_S)
    if refused != [None]:
        raise KafkaException(refused[0] if refused else "no answer from the broker")


def ears(brokers: str) -> Consumer:
    """A consumer of both ends, from what they hold now: opened before anything is published."""
    # a group id is required by the client; no group is joined and nothing is committed
    consumer = Consumer({"bootstrap.servers": brokers, "group.id": "shop-example", "enable.auto.commit": False})
    topics = consumer.list_topics(timeout=10).topics
    places = [TopicPartition(topic, n) for topic in (COMPLETED, FAILED) for n in topics[topic].partitions]
    for place in places:
        place.offset = consumer.get_watermark_offsets(place, timeout=10)[1]
    consumer.assign(places)
    return consumer


def end_of(checkout_id: str, consumer: Consumer, registry: SchemaRegistryClient) -> tuple[str, Any]:
    """(topic, event) of the checkout's end; ("", None) when none came in time."""
    decode = AvroDeserializer(registry, conf=SUBJECTS)
    until = time.monotonic() + PATIENCE_S
    while time.monotonic() < until:
        message = consumer.poll(0.5)
        if message is not None and message.error() is None and message.key() == checkout_id.encode():
            topic = str(message.topic())
            return topic, decode(message.value(), SerializationContext(topic, MessageField.VALUE))
    return "", None


def main(checkout_id: str = "", payment_method: str = "customer-1:ok") -> int:
    """Ask once, wait for the end."""
    brokers = os.environ["KAFKA_BOOTSTRAP_SERVERS"]
    checkout_id = checkout_id or f"python-{secrets.token_hex(6)}"
    with SchemaRegistryClient({"url": os.environ["SCHEMA_REGISTRY_URL"]}) as registry:
        consumer = ears(brokers)
        publish(brokers, registry, request(checkout_id, payment_method))
        print(f"{checkout_id}: asked for")
        topic, event = end_of(checkout_id, consumer, registry)
        consumer.close()
    if topic == COMPLETED:
        print(f"{checkout_id}: completed, order {event['order_id']}")
        return 0
    if topic == FAILED:
        print(f"{checkout_id}: failed, {event['code']}: {event['message']}")
        return 1
    print(f"{checkout_id}: no end within {PATIENCE_S:.0f} s; do the services run?", file=sys.stderr)
    return NO_END


if __name__ == "__main__":
    raise SystemExit(main(*sys.argv[1:]))
