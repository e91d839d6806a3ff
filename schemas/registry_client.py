"""The client of the schema registry, with limits: without one it waits for an answer for ever."""

from typing import Any, Final

from confluent_kafka.schema_registry import SchemaRegistryClient

from schemas.registry_address import Registry, address_of

TIMEOUT_S: Final = 5


def registry_client(registry: Registry) -> SchemaRegistryClient:
    """A client of the Confluent-compatible API; a request without an answer is repeated twice."""
    url, ca_location = address_of(registry)
    config: dict[str, Any] = {"timeout": TIMEOUT_S, "max.retries": 2, "retries.wait.ms": 100}
    authority = {"ssl.ca.location": ca_location} if ca_location else {}
    return SchemaRegistryClient({"url": url.get_secret_value(), **config, **authority})


class RegistryClient:
    """The client for a process that lives long: a login that has changed in its file is the next request's."""

    def __init__(self, registry: Registry) -> None:
        self._address = address_of(registry)
        self._made_with = self._address.url.get_secret_value()
        self._client = registry_client(self._address)

    def now(self) -> SchemaRegistryClient:
        """The client to ask with."""
        url = self._address.url.get_secret_value()
        if url != self._made_with:
            self._client.close()
            self._made_with, self._client = url, registry_client(self._address)
        return self._client

    def close(self) -> None:
        """Give the connections back."""
        self._client.close()
