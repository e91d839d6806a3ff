"""How Kafka is reached, from environment variables: the part that the settings of every process and command share."""

from pathlib import Path
from typing import Any, Final, Literal, TypeVar

from pydantic import Field, SecretStr, ValidationInfo, field_validator
from pydantic_settings import SettingsConfigDict

from schemas.brokers import CLIENT_SECRET, PASSWORD, Properties
from schemas.secret import SecretSettings, WebUrl

_T = TypeVar("_T", str, SecretStr)
_NAMES: Final = {
    "kafka_ssl_ca_location": "ssl.ca.location",
    "kafka_ssl_certificate_location": "ssl.certificate.location",
    "kafka_ssl_key_location": "ssl.key.location",
}


class KafkaSettings(SecretSettings):
    """Brokers, and what they ask of a client. Not read by itself: settings classes inherit it."""

    model_config = SettingsConfigDict(frozen=True, extra="ignore")

    kafka_bootstrap_servers: str = Field(min_length=1, description="host:port of the brokers, comma separated")
    kafka_security_protocol: Literal["PLAINTEXT", "SSL", "SASL_PLAINTEXT", "SASL_SSL"] = Field(
        "PLAINTEXT", description="PLAINTEXT, SSL, SASL_PLAINTEXT or SASL_SSL"
    )
    kafka_sasl_mechanism: Literal["PLAIN", "SCRAM-SHA-256", "SCRAM-SHA-512", "OAUTHBEARER"] = Field(
        "SCRAM-SHA-512", description="PLAIN, SCRAM-SHA-256, SCRAM-SHA-512 or OAUTHBEARER; read with SASL only"
    )
    kafka_sasl_username: str = Field(
        "", validate_default=True, description="Who this is; required with SASL. With OAUTHBEARER: the client's id"
    )
    kafka_sasl_password: SecretStr = Field(
        SecretStr(""), validate_default=True, description="Its password; required with SASL. Or the client's secret"
    )
    kafka_oauth_token_url: WebUrl = Field(
        SecretStr(""),
        validate_default=True,
        description="Where OAUTHBEARER gets tokens (client credentials); required with it",
    )
    kafka_oauth_scope: str = Field("", description="The scope to ask for there")
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

    @field_validator("kafka_oauth_token_url")
    @classmethod
    def _goes_with_its_mechanism(cls, value: SecretStr, info: ValidationInfo) -> SecretStr:
        is_oauth = info.data.get("kafka_sasl_mechanism") == "OAUTHBEARER"
        given = value.get_secret_value()
        if is_oauth and not given:
            raise ValueError("required with KAFKA_SASL_MECHANISM=OAUTHBEARER")
        if given and not is_oauth:
            raise ValueError("is used with KAFKA_SASL_MECHANISM=OAUTHBEARER only")
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
    def kafka(self) -> Properties:
        """The properties that every client begins with."""
        found: dict[str, Any] = {"bootstrap.servers": self.kafka_bootstrap_servers}
        if self.kafka_security_protocol == "PLAINTEXT":
            return Properties(found)
        found["security.protocol"] = self.kafka_security_protocol
        if self.kafka_security_protocol.startswith("SASL"):
            found |= self._login()
        files = {name: getattr(self, field) for field, name in _NAMES.items()}
        found |= {name: file for name, file in files.items() if file}
        secret = self.kafka_sasl_password if self.kafka_security_protocol.startswith("SASL") else None
        return Properties(found, secret, CLIENT_SECRET if self._is_oauth else PASSWORD)

    @property
    def _is_oauth(self) -> bool:
        return self.kafka_sasl_mechanism == "OAUTHBEARER"

    def _login(self) -> dict[str, Any]:
        mechanism = {"sasl.mechanism": self.kafka_sasl_mechanism}
        if not self._is_oauth:
            return {**mechanism, "sasl.username": self.kafka_sasl_username}
        scope = {"sasl.oauthbearer.scope": self.kafka_oauth_scope} if self.kafka_oauth_scope else {}
        return {
            **mechanism,
            # the client library asks for tokens itself, and again before they run out
            "sasl.oauthbearer.method": "oidc",
            "sasl.oauthbearer.token.endpoint.url": self.kafka_oauth_token_url.get_secret_value(),
            "sasl.oauthbearer.client.id": self.kafka_sasl_username,
            **scope,
        }
