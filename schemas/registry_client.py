"""The client of the schema registry, with limits: without one it waits for an answer for ever."""

from typing import Final

from confluent_kafka.schema_registry import SchemaRegistryClient

TIMEOUT_S: Final = 5


def registry_client(url: str) -> SchemaRegistryClient:
    """A client for the Confluent-compatible API at `url`; a request without an answer is repeated twice."""
    return SchemaRegistryClient({"url": url, "timeout": TIMEOUT_S, "max.retries": 2, "retries.wait.ms": 100})
