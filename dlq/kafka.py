"""How Kafka is reached, from environment variables: the part that the settings of every process and command share."""

from pathlib import Path
from typing import Any, Final, Literal, TypeVar

from pydantic import Field, SecretStr, ValidationInfo, field_validator
from pydantic_settings import BaseSettings, SettingsConfigDict

_T = TypeVar("_T", str, SecretStr)
_NAMES: Final = {
    "kafka_ssl_ca_location": "ssl.ca.location",
    "kafka_ssl_certificate_location": "ssl.certificate.location",
    "kafka_ssl_key_location": "ssl.key.location",
}


class KafkaSettings(BaseSettings):
    """Brokers, and what they ask of a client. Not read by itself: settings classes inherit it."""

    model_config = SettingsConfigDict(frozen=True, extra="ignore")

    kafka_bootstrap_servers: str = Field(min_length=1, description="host:port of the brokers, comma separated")
    kafka_security_protocol: Literal["PLAINTEXT", "SSL", "SASL_PLAINTEXT", "SASL_SSL"] = Field(
        "PLAINTEXT", description="PLAINTEXT, SSL, SASL_PLAINTEXT or SASL_SSL"
    )
    kafka_sasl_mechanism: Literal["PLAIN", "SCRAM-SHA-256", "SCRAM-SHA-512"] = Field(
        "SCRAM-SHA-512", description="PLAIN, SCRAM-SHA-256 or SCRAM-SHA-512; read with SASL only"
    )
    kafka_sasl_username: str = Field("", validate_default=True, description="Who this is; required with SASL")
    kafka_sasl_password: SecretStr = Field(
        SecretStr(""), validate_default=True, description="Its password; required with SASL"
    )
    kafka_ssl_ca_location: str = Field(
        "", description="File with the certificates of those who may sign the brokers'; empty: the system's"
    )
    kafka_ssl_certificate_location: str = Field("", description="File of this client's certificate, for mutual TLS")
    kafka_ssl_key_location: str = Field("", description="File of its key")
    unpack_outbox_headers: bool = Field(
        False, description="Whether a connector publishes an outbox: header outbox-headers stands for a row's headers"
    )

    @field_validator("kafka_sasl_username", "kafka_sasl_password")
    @classmethod
    def _goes_with_its_protocol(cls, value: _T, info: ValidationInfo) -> _T:
        """A password that nobody asks for is a mistake, too: it would travel or be trusted nowhere."""
        protocol = str(info.data.get("kafka_security_protocol", ""))
        given = value.get_secret_value() if isinstance(value, SecretStr) else value
        if protocol.startswith("SASL") and not given:
            raise ValueError(f"required with KAFKA_SECURITY_PROTOCOL={protocol}")
        if given and not protocol.startswith("SASL"):
            raise ValueError("is used with KAFKA_SECURITY_PROTOCOL=SASL_SSL or SASL_PLAINTEXT only")
        return value

    @property
    def login(self) -> str:
        """Who this is to the brokers: the SASL user, else the certificate's subject; "" where they ask nobody.

        Raises OSError and ValueError for a certificate that can't be read.
        """
        if self.kafka_sasl_username or self.kafka_security_protocol != "SSL" or not self.kafka_ssl_certificate_location:
            return self.kafka_sasl_username
        from cryptography.x509 import load_pem_x509_certificate  # noqa: PLC0415 - for whoever acts by certificate alone

        return load_pem_x509_certificate(
            Path(self.kafka_ssl_certificate_location).read_bytes()
        ).subject.rfc4514_string()

    @property
    def kafka(self) -> dict[str, Any]:
        """The properties that every client begins with; the password among them: never log them."""
        found: dict[str, Any] = {"bootstrap.servers": self.kafka_bootstrap_servers}
        if self.kafka_security_protocol == "PLAINTEXT":
            return found
        found["security.protocol"] = self.kafka_security_protocol
        if self.kafka_security_protocol.startswith("SASL"):
            found["sasl.mechanism"] = self.kafka_sasl_mechanism
            found["sasl.username"] = self.kafka_sasl_username
            found["sasl.password"] = self.kafka_sasl_password.get_secret_value()
        files = {name: getattr(self, field) for field, name in _NAMES.items()}
        return found | {name: file for name, file in files.items() if file}
