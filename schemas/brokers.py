"""How Kafka is reached: an address, or a client's properties with whatever the brokers ask for."""

from collections.abc import Mapping
from typing import Any

Kafka = str | Mapping[str, Any]
"""host:port of the brokers, comma separated; or the properties of librdkafka that reach them."""


def reaching(kafka: Kafka) -> dict[str, Any]:
    """The properties that every client begins with. They may hold a password: never log them."""
    return {"bootstrap.servers": kafka} if isinstance(kafka, str) else dict(kafka)
