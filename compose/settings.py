"""The servers that commands work with, from environment variables. Read where a command starts."""

from pydantic import Field, SecretStr

from dlq.kafka import KafkaSettings
from schemas.registry import Retention


class Servers(KafkaSettings):
    """Kafka, the registry, the three databases and the provider."""

    schema_registry_url: str = Field(description="URL of the Confluent-compatible schema registry")
    checkout_database_url: SecretStr = Field(description="postgresql+psycopg2://user:password@host:port/database")
    payment_database_url: SecretStr = Field(description="likewise")
    warehouse_database_url: SecretStr = Field(description="likewise")
    checkout_owner_database_url: SecretStr = Field(
        SecretStr(""), description="The same database as the owner of its tables; empty: as CHECKOUT_DATABASE_URL"
    )
    payment_owner_database_url: SecretStr = Field(SecretStr(""), description="likewise")
    warehouse_owner_database_url: SecretStr = Field(SecretStr(""), description="likewise")
    payment_provider_url: str = Field(description="URL of the payment provider")
    topic_prefix: str = Field("", description="Put before every topic, subject and consumer group")
    topic_partitions: int = Field(6, ge=1, le=1000, description="Partitions of topics that `checkout setup` creates")
    topic_replication: int = Field(1, ge=1, le=10, description="Replicas of those topics")
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
    otel_exporter_otlp_endpoint: str = Field("", description="Where traces go: URL of an OTLP receiver; none: nowhere")

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

    def database_url(self, service: str) -> str:
        """The URL of a service's database, password included."""
        secret: SecretStr = getattr(self, f"{service}_database_url")
        return secret.get_secret_value()

    def owner_database_url(self, service: str) -> str:
        """The URL for whoever may change and delete what a service may only add to; the service's own without one."""
        secret: SecretStr = getattr(self, f"{service}_owner_database_url")
        return secret.get_secret_value() or self.database_url(service)
