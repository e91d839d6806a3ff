"""Settings of one service process, from environment variables. Read once, where the process starts."""

import sys
from typing import Any, TypeVar

from pydantic import Field, SecretStr, ValidationError
from pydantic_settings import BaseSettings, SettingsConfigDict

EXIT_CONFIG = 78
"""sysexits.h: configuration error."""


class Settings(BaseSettings):
    """What every service needs. A service's own class adds its database and its limits."""

    model_config = SettingsConfigDict(frozen=True, extra="ignore")

    kafka_bootstrap_servers: str = Field(description="host:port of the brokers, comma separated")
    schema_registry_url: str = Field(description="URL of the Confluent-compatible schema registry")
    database_url: SecretStr = Field(description="postgresql+psycopg2://user:password@host:port/database")
    metrics_host: str = Field("127.0.0.1", description="Where /healthz, /readyz and /metrics listen")
    metrics_port: int = Field(0, ge=0, le=65535, description="Their port; 0: any free one")
    topic_prefix: str = Field("", description="Put before every topic, subject and consumer group")
    batch_size: int = Field(500, ge=1, le=10_000, description="Messages in one transaction, about")
    in_flight_limit: int = Field(4000, ge=1, description="Messages taken and not settled, at most")
    timer_interval_s: float = Field(1.0, gt=0, description="How often timers are looked at")
    stop_timeout_s: float = Field(20.0, gt=0, description="How long a stop waits for provider calls that are out")
    log_level: str = Field("INFO", description="DEBUG, INFO, WARNING or ERROR")


S = TypeVar("S", bound=BaseSettings)


def read_settings(kind: type[S], **values: Any) -> S:
    """The settings from the environment. Ends the process with one clear line when one is missing or wrong."""
    try:
        return kind(**values)
    except ValidationError as error:
        faults = "; ".join(f"{_name(kind, e['loc'])}: {e['msg']}" for e in error.errors(include_input=False))
        sys.stderr.write(f"settings: {faults}. `checkout stack env` prints those of the local stack.\n")
        raise SystemExit(EXIT_CONFIG) from None


def _name(kind: type[BaseSettings], location: tuple[int | str, ...]) -> str:
    field = kind.model_fields.get(str(location[0]))
    alias = field.validation_alias if field else None
    return str(alias or location[0]).upper()
