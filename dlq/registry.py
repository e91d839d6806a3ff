"""How the schema registry is reached, from environment variables: shared by every process and command."""

from pydantic import Field
from pydantic_settings import BaseSettings

from schemas.registry_address import RegistryAddress


class RegistrySettings(BaseSettings):
    """The registry, and whom to trust about it. Not read by itself: settings classes inherit it."""

    schema_registry_url: str = Field(
        min_length=1,
        repr=False,
        description="URL of the Confluent-compatible schema registry; `https://user:password@host/...` where it asks",
    )
    schema_registry_ca_location: str = Field(
        "", description="File with the certificates of those who may sign the registry's; empty: the system's"
    )

    @property
    def registry(self) -> RegistryAddress:
        """Where it is, login included: never log it."""
        return RegistryAddress(self.schema_registry_url, self.schema_registry_ca_location)
