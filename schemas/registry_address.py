"""Where the schema registry is, with a login and an authority of its own where it has them."""

import ssl
from typing import NamedTuple

from pydantic import SecretStr

from schemas.secret import secret


class RegistryAddress(NamedTuple):
    """url: of the Confluent-compatible API; it may hold a login, `https://user:password@host/path`.

    ca_location: file of the authorities that may sign the registry's certificate; empty: the system's.
    """

    url: SecretStr
    ca_location: str = ""

    def tls(self) -> ssl.SSLContext | bool:
        """Whom to trust, in httpx's terms. Raises OSError where the file can't be read."""
        return ssl.create_default_context(cafile=self.ca_location) if self.ca_location else True


Registry = RegistryAddress | SecretStr | str


def address_of(registry: Registry) -> RegistryAddress:
    """The address of a registry that is given as it, or by its URL alone."""
    return registry if isinstance(registry, RegistryAddress) else RegistryAddress(secret(registry))
