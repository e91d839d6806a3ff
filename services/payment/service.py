"""The payment service, put together: owns payment methods and payments."""

from typing import Final

from pydantic import Field, SecretStr

from services.payment import store
from services.payment.decisions import handlers
from services.payment.provider.protocol import OutcomeUnknownError, PaymentProvider
from services.payment.provider.sandbox import SandboxProvider
from services.shell.service import Service
from services.shell.settings import Settings

NAME: Final = "payment"


class PaymentSettings(Settings):
    """Settings of the payment service."""

    database_url: SecretStr = Field(validation_alias="PAYMENT_DATABASE_URL", description="Its database")
    metrics_port: int = Field(0, validation_alias="PAYMENT_METRICS_PORT", ge=0, le=65535, description="Health port")
    payment_provider_url: str = Field(description="URL of the payment provider")
    payment_timeout_s: float = Field(10.0, gt=0, le=60, description="A provider call without an answer ends then")
    payment_calls_limit: int = Field(256, ge=1, le=5000, description="Provider calls in flight at the same time")


def make_provider(settings: PaymentSettings) -> PaymentProvider:
    """The provider that the settings name."""
    return SandboxProvider(settings.payment_provider_url, settings.payment_timeout_s, settings.payment_calls_limit)


def make(provider: PaymentProvider, calls_at_once: int = 256) -> Service:
    """The service as the shell runs it. calls_at_once: provider calls in flight at the same time, at most."""
    return Service(
        NAME,
        handlers(),
        store.load,
        perform=provider.perform,
        unknown=OutcomeUnknownError,
        calls_at_once=calls_at_once,
    )
