"""What the `dlq` command needs: Kafka and the registry, no service and no database. Read where a command starts."""

from pydantic import Field, ValidationError

from dlq.kafka import KafkaSettings
from dlq.registry import RegistrySettings


class SettingsError(Exception):
    """A setting is missing or wrong; the text names its variable."""


class DlqSettings(KafkaSettings, RegistrySettings):
    """Where the dead letters are, from environment variables."""

    topic_prefix: str = Field("", description="Put before every topic")


def read_settings() -> DlqSettings:
    """The settings from the environment. Raises SettingsError."""
    try:
        return DlqSettings()  # type: ignore[call-arg]  # the environment has them
    except ValidationError as error:
        faults = "; ".join(f"{str(e['loc'][0]).upper()}: {e['msg']}" for e in error.errors(include_input=False))
        raise SettingsError(f"{faults}. `checkout stack env` prints those of the local stack.") from None
