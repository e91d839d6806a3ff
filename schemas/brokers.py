"""How Kafka is reached: an address, or a client's properties with whatever the brokers ask for."""

from collections.abc import Iterator, Mapping
from typing import Any, Final

from pydantic import SecretStr

from schemas.secret import HIDDEN

PASSWORD: Final = "sasl.password"  # noqa: S105 - the property's name
CLIENT_SECRET: Final = "sasl.oauthbearer.client.secret"  # noqa: S105 - likewise


class Properties(Mapping[str, Any]):
    """Properties of librdkafka, with the password as it is at that moment. Printed, they don't show it.

    name: of the property that the password is.
    """

    def __init__(self, properties: Mapping[str, Any], password: SecretStr | None = None, name: str = PASSWORD) -> None:
        self._properties, self._password, self._name = dict(properties), password, name

    def __getitem__(self, name: str) -> Any:
        if name == self._name and self._password is not None:
            return self._password.get_secret_value()
        return self._properties[name]

    def __iter__(self) -> Iterator[str]:
        yield from self._properties
        if self._password is not None:
            yield self._name

    def __len__(self) -> int:
        return len(self._properties) + (self._password is not None)

    def __repr__(self) -> str:
        return repr({name: HIDDEN if name == self._name else self[name] for name in self})


Kafka = str | Mapping[str, Any]
"""host:port of the brokers, comma separated; or the properties of librdkafka that reach them."""


def reaching(kafka: Kafka) -> dict[str, Any]:
    """The properties that a client begins with. They may hold a password: never log them, nor keep them."""
    return {"bootstrap.servers": kafka} if isinstance(kafka, str) else dict(kafka)
