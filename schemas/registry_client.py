"""The client of the schema registry, with limits: without one it waits for an answer for ever."""

from typing import Any, Final

from confluent_kafka.schema_registry import SchemaRegistryClient

from schemas.registry_address import Registry, address_of

TIMEOUT_S: Final = 5


def registry_client(registry: Registry) -> SchemaRegistryClient:
    """A client of the registry; a request without an answer is repeated twice."""
    address = address_of(registry)
    config: dict[str, Any] = {"url": address.url, "timeout": TIMEOUT_S, "max.retries": 2, "retries.wait.ms": 100}
    return SchemaRegistryClient(config | ({"ssl.ca.location": address.ca_location} if address.ca_location else {}))
