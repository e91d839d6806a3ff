"""Where the schema registry is, with a login and an authority of its own where it has them."""

from typing import NamedTuple
from urllib.parse import unquote, urlsplit, urlunsplit


class RegistryAddress(NamedTuple):
    """url: of the Confluent-compatible API; it may hold a login, `https://user:password@host/path`: never log it.

    ca_location: file of the authorities that may sign the registry's certificate; empty: the system's.
    """

    url: str
    ca_location: str = ""


Registry = str | RegistryAddress


def address_of(registry: Registry) -> RegistryAddress:
    """The address of a registry that is given as it, or by its URL alone."""
    return RegistryAddress(registry) if isinstance(registry, str) else registry


def without_login(url: str) -> str:
    """A URL that may be shown."""
    parts = urlsplit(url)
    return urlunsplit(parts._replace(netloc=parts.netloc.rpartition("@")[2]))


def login_in(url: str) -> tuple[str, str] | None:
    """(user, password) that stand in a URL."""
    parts = urlsplit(url)
    return None if parts.username is None else (unquote(parts.username), unquote(parts.password or ""))
