"""The client of the schema registry, with limits: without one it waits for an answer for ever."""

from typing import Final

from confluent_kafka.schema_registry import SchemaRegistryClient
from pydantic import SecretStr

from schemas.secret import secret

TIMEOUT_S: Final = 5


def registry_client(url: SecretStr | str) -> SchemaRegistryClient:
    """A client for the Confluent-compatible API at `url`; a request without an answer is repeated twice."""
    where = secret(url).get_secret_value()
    return SchemaRegistryClient({"url": where, "timeout": TIMEOUT_S, "max.retries": 2, "retries.wait.ms": 100})


class RegistryClient:
    """The client for a process that lives long: a login that has changed in its file is the next request's."""

    def __init__(self, url: SecretStr | str) -> None:
        self._url = secret(url)
        self._made_with = self._url.get_secret_value()
        self._client = registry_client(self._made_with)

    def now(self) -> SchemaRegistryClient:
        """The client to ask with."""
        url = self._url.get_secret_value()
        if url != self._made_with:
            self._client.close()
            self._made_with, self._client = url, registry_client(url)
        return self._client

    def close(self) -> None:
        """Give the connections back."""
        self._client.close()
