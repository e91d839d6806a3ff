"""The servers that commands work with, from environment variables. Read where a command starts."""

from pydantic import Field, SecretStr, field_validator

from dlq.kafka import KafkaSettings
from dlq.registry import RegistrySettings
from schemas.choreography import SERVICES
from schemas.registry import Retention
from schemas.secret import WebUrl
from services.shell.database import url_of


class Brokers(KafkaSettings):
    """Kafka alone."""


class Servers(KafkaSettings, RegistrySettings):
    """Kafka, the registry, the three databases and the provider."""

    checkout_database_url: SecretStr = Field(description="postgresql+psycopg2://user:password@host:port/database")
    payment_database_url: SecretStr = Field(description="likewise")
    warehouse_database_url: SecretStr = Field(description="likewise")
    checkout_owner_database_url: SecretStr = Field(
        SecretStr(""),
        description="The same database as CHECKOUT_DATABASE_URL, as the role that owns its tables; "
        "empty, or of another database: the service's own role does",
    )
    payment_owner_database_url: SecretStr = Field(SecretStr(""), description="likewise")
    warehouse_owner_database_url: SecretStr = Field(SecretStr(""), description="likewise")
    payment_provider_url: WebUrl = Field(description="URL of the payment provider")
    topic_prefix: str = Field("", description="Put before every topic, subject and consumer group")
    topic_partitions: int = Field(6, ge=1, le=1000, description="Partitions of topics that `checkout setup` creates")
    topic_replication: int = Field(1, ge=1, le=10, description="Replicas of those topics")
    otel_exporter_otlp_endpoint: WebUrl = Field(
        SecretStr(""), description="Where traces go: URL of an OTLP receiver; none: nowhere"
    )
    topic_events_keep_days: int = Field(
        30, ge=0, description="Days that the events' topics which `checkout setup` creates keep a record; 0: for ever"
    )
    topic_letters_keep_days: int = Field(90, ge=0, description="Likewise `<service>.dlq`")
    topic_replays_keep_days: int = Field(30, ge=0, description="Likewise `<service>.retry`")
    topic_ledger_keep_days: int = Field(
        0,
        ge=0,
        description="Likewise `dlq.ledger`, which keeps the newest entry of each letter; never less than letters",
    )
    topic_audit_keep_days: int = Field(0, ge=0, description="Likewise `dlq.audit`")
    audit_trail_keep_days: int = Field(
        0,
        ge=0,
        description="Days until `checkout prune` may delete the audit trail of a checkout at rest, and `checkout audit`"
        " asks for none; 0: never",
    )

    @field_validator(*(f"{service}_{kind}" for service in SERVICES for kind in ("database_url", "owner_database_url")))
    @classmethod
    def _is_a_url(cls, value: SecretStr) -> SecretStr:
        if value.get_secret_value():
            url_of(value)
        return value

    def database_url(self, service: str) -> SecretStr:
        """The URL of a service's database, as the service's role."""
        secret: SecretStr = getattr(self, f"{service}_database_url")
        return secret

    def owner_database_url(self, service: str) -> SecretStr:
        """The same as the role that owns the tables: for migrations, sample data, and what is removed for good.

        The service's own where no owner is named, or where the owner's URL is of another database: a shell that was
        told of one installation and then of another database must not change the first one's tables.
        """
        secret: SecretStr = getattr(self, f"{service}_owner_database_url")
        own = self.database_url(service)
        if not secret.get_secret_value() or url_of(secret).database != url_of(own).database:
            return own
        return secret

    @property
    def retention(self) -> Retention:
        """How long the topics that are created keep a record."""
        return Retention(
            events=self.topic_events_keep_days,
            letters=self.topic_letters_keep_days,
            replays=self.topic_replays_keep_days,
            ledger=self.topic_ledger_keep_days,
            audit=self.topic_audit_keep_days,
        )
