"""What the brokers ask of a client, in Faust's terms."""

from typing import Any

import faust

from dlq.kafka import KafkaSettings
from schemas.kafka.raw import tls
from schemas.kafka.tokens import OAUTH, ClientCredentials


def credentials(settings: KafkaSettings) -> Any | None:
    """Faust's `broker_credentials`; None where the brokers ask for nothing. Raises OSError for a missing file."""
    protocol = settings.kafka_security_protocol
    if protocol == "SSL":
        return faust.SSLCredentials(tls(settings.kafka))
    if protocol == "PLAINTEXT":
        return None
    context = tls(settings.kafka) if protocol == "SASL_SSL" else None
    if settings.kafka_sasl_mechanism == OAUTH:
        return faust.OAuthCredentials(oauth_cb=ClientCredentials(settings.kafka), ssl_context=context)
    return faust.SASLCredentials(
        username=settings.kafka_sasl_username,
        password=settings.kafka_sasl_password.get_secret_value(),
        mechanism=settings.kafka_sasl_mechanism,
        ssl_context=context,
    )
