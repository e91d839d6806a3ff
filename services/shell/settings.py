"""Settings of one service process, from environment variables. Read once, where the process starts."""

import sys
from typing import Any, TypeVar

from pydantic import Field, SecretStr, ValidationError, field_validator
from pydantic_settings import BaseSettings

from dlq.kafka import KafkaSettings
from dlq.policy import FaultClass, Policy
from dlq.registry import RegistrySettings
from schemas.secret import WebUrl
from services.shell.database import url_of

EXIT_CONFIG = 78
"""sysexits.h: configuration error."""


class Settings(KafkaSettings, RegistrySettings):
    """What every service needs. A service's own class adds its database and its limits."""

    database_url: SecretStr = Field(description="postgresql+psycopg2://user:password@host:port/database")
    metrics_host: str = Field("127.0.0.1", description="Where /healthz, /readyz and /metrics listen")
    metrics_port: int = Field(0, ge=0, le=65535, description="Their port; 0: any free one")
    topic_prefix: str = Field("", description="Put before every topic, subject and consumer group")
    batch_size: int = Field(1000, ge=1, le=10_000, description="Messages in one transaction, about")
    in_flight_limit: int = Field(1500, ge=1, description="Messages taken and not settled, at most")
    outbox_slot: str = Field(
        "", description="Replication slot of the Debezium connector that publishes; empty: the process's own relay does"
    )
    timer_interval_s: float = Field(1.0, gt=0, description="How often timers are looked at")
    retry_first_s: float = Field(30.0, gt=0, description="Seconds until a message that failed is tried again")
    retry_step_s: float = Field(30.0, ge=0, description="How much longer each further wait is")
    retry_most_s: float = Field(300.0, gt=0, description="The longest wait")
    retry_jitter: float = Field(0.1, ge=0, le=1, description="A wait is up to this share longer, by chance")
    retry_attempts: int = Field(10, ge=1, description="Tries of a step whose provider does not answer")
    retry_compensation_attempts: int = Field(20, ge=1, description="Tries of a void, refund or release")
    retry_bug_attempts: int = Field(5, ge=1, description="Tries of a message whose handling breaks")
    retry_early_attempts: int = Field(8, ge=1, description="Tries of an event that came before the one it needs")
    retry_early_first_s: float = Field(1.0, gt=0, description="Seconds until it is tried again; doubles up to 15")
    retry_schema_s: float = Field(
        0.0,
        ge=0,
        description="Seconds until a message is given up whose schema the registry does not give; "
        "0: twice RETRY_FIRST_S, a minute",
    )
    retry_max_age_s: float = Field(86_400.0, gt=0, description="A message that failed first so long ago is given up")
    retry_keep_days: int = Field(
        90,
        ge=1,
        description="Days that a row of the retry table is kept once it is over; not less than dead letters are kept: a"
        " letter without its row is not taken for a replay",
    )
    inbox_keep_days: int = Field(
        30, ge=1, description="Days that the inbox knows what was handled; not less than the events' topics keep them"
    )
    fatal_keep_days: int = Field(90, ge=1, description="Days that a message which ended a process is remembered")
    retry_poll_s: float = Field(0.2, gt=0, description="How often the retry table is looked at")
    retry_lease_s: float = Field(60.0, gt=1, description="A killed worker's messages are free again after so long")
    flood_at_least: int = Field(50, ge=0, description="Failures in a partition before it can be a flood; 0: never")
    flood_window: int = Field(100, ge=1, description="A partition stops when most of so many messages failed")
    flood_probe_s: float = Field(30.0, gt=0, description="Seconds until a stopped partition is tried with one message")
    open_transaction_after_s: float = Field(
        5.0,
        ge=0,
        description="Seconds after which what lies behind another producer's open transaction is read; 0: never",
    )
    baggage_names: str = Field(
        "", description="Names in the W3C header baggage that are handed on, comma separated; all others are dropped"
    )
    keep_card_numbers: bool = Field(
        False, description="Whether dead letters keep what looks like a card number; otherwise it is masked in them"
    )
    reading_folder: str = Field(
        "",
        description="Where a process notes which message it has in hand, for the start after one that ended it; "
        "empty: `checkout-reading` in the system's temporary folder",
    )
    stop_timeout_s: float = Field(20.0, gt=0, description="How long a stop waits for provider calls that are out")
    otel_exporter_otlp_endpoint: WebUrl = Field(
        SecretStr(""), description="Where traces go: URL of an OTLP receiver; none: nowhere"
    )
    otel_traces_sampler_arg: float = Field(1.0, ge=0, le=1, description="Share of the traces that begin here, to keep")
    log_level: str = Field("INFO", description="DEBUG, INFO, WARNING or ERROR")

    @field_validator("database_url")
    @classmethod
    def _is_a_url(cls, value: SecretStr) -> SecretStr:
        url_of(value)
        return value


def policy(settings: Settings) -> Policy:
    """When messages are tried again, and when they are given up."""
    return Policy(
        first_s=settings.retry_first_s,
        step_s=settings.retry_step_s,
        most_s=settings.retry_most_s,
        early_first_s=settings.retry_early_first_s,
        jitter=settings.retry_jitter,
        max_age_s=settings.retry_max_age_s,
        schema_s=settings.retry_schema_s or 2 * settings.retry_first_s,
        attempts={
            FaultClass.EARLY: settings.retry_early_attempts,
            FaultClass.PROVIDER: settings.retry_attempts,
            FaultClass.COMPENSATION: settings.retry_compensation_attempts,
            FaultClass.BUG: settings.retry_bug_attempts,
            FaultClass.NOT_STORABLE: settings.retry_bug_attempts,
        },
    )


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
