"""How the schema registry is reached, from environment variables: shared by every process and command."""

from pydantic import Field
from pydantic_settings import SettingsConfigDict

from schemas.registry_address import RegistryAddress
from schemas.secret import SecretSettings, WebUrl


class RegistrySettings(SecretSettings):
    """The registry, and whom to trust about it. Not read by itself: settings classes inherit it."""

    model_config = SettingsConfigDict(frozen=True, extra="ignore")

    schema_registry_url: WebUrl = Field(min_length=1, description="URL of the Confluent-compatible schema registry")
    schema_registry_ca_location: str = Field(
        "", description="File with the certificates of those who may sign the registry's; empty: the system's"
    )

    @property
    def registry(self) -> RegistryAddress:
        """Where it is, login included."""
        return RegistryAddress(self.schema_registry_url, self.schema_registry_ca_location)
