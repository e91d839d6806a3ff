"""How Kafka is reached: an address, or a client's properties with whatever the brokers ask for."""

from collections.abc import Iterator, Mapping
from typing import Any, Final

from pydantic import SecretStr

from schemas.secret import HIDDEN

PASSWORD: Final = "sasl.password"  # noqa: S105 - the property's name


class Properties(Mapping[str, Any]):
    """Properties of librdkafka, with the password as it is at that moment. Printed, they don't show it."""

    def __init__(self, properties: Mapping[str, Any], password: SecretStr | None = None) -> None:
        self._properties, self._password = dict(properties), password

    def __getitem__(self, name: str) -> Any:
        if name == PASSWORD and self._password is not None:
            return self._password.get_secret_value()
        return self._properties[name]

    def __iter__(self) -> Iterator[str]:
        yield from self._properties
        if self._password is not None:
            yield PASSWORD

    def __len__(self) -> int:
        return len(self._properties) + (self._password is not None)

    def __repr__(self) -> str:
        return repr({name: HIDDEN if name == PASSWORD else self[name] for name in self})


Kafka = str | Mapping[str, Any]
"""host:port of the brokers, comma separated; or the properties of librdkafka that reach them."""


def reaching(kafka: Kafka) -> dict[str, Any]:
    """The properties that a client begins with. They may hold a password: never log them, nor keep them."""
    return {"bootstrap.servers": kafka} if isinstance(kafka, str) else dict(kafka)
