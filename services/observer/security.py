"""What the brokers ask of a client, in Faust's terms."""

import ssl
from typing import Any

import faust

from dlq.kafka import KafkaSettings


def credentials(settings: KafkaSettings) -> Any | None:
    """Faust's `broker_credentials`; None where the brokers ask for nothing. Raises OSError for a missing file."""
    protocol = settings.kafka_security_protocol
    if protocol == "SSL":
        return faust.SSLCredentials(_context(settings))
    if protocol == "PLAINTEXT":
        return None
    return faust.SASLCredentials(
        username=settings.kafka_sasl_username,
        password=settings.kafka_sasl_password.get_secret_value(),
        mechanism=settings.kafka_sasl_mechanism,
        ssl_context=_context(settings) if protocol == "SASL_SSL" else None,
    )


def _context(settings: KafkaSettings) -> ssl.SSLContext:
    """Brokers are verified by name, by the authorities that are named or the system's."""
    context = ssl.create_default_context(cafile=settings.kafka_ssl_ca_location or None)
    if settings.kafka_ssl_certificate_location:
        context.load_cert_chain(settings.kafka_ssl_certificate_location, settings.kafka_ssl_key_location or None)
    return context
