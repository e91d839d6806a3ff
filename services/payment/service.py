"""The payment service, put together: owns payment methods and payments."""

from typing import Final, Literal

from pydantic import Field, SecretStr, ValidationInfo, field_validator

from schemas.events import CheckoutAccepted, CheckoutFailed, WarehouseConfirmed, WarehouseReserved
from schemas.secret import WebUrl
from services.payment import store
from services.payment.decisions import giving_up, handlers
from services.payment.provider.declines import OnUnmapped, nobody
from services.payment.provider.protocol import Authorize, Capture, OutcomeUnknownError, PaymentProvider, Refund, Void
from services.payment.provider.sandbox import SandboxProvider
from services.payment.state import LET_GO, Payment
from services.shell.service import Breaking, Service
from services.shell.settings import Settings

NAME: Final = "payment"


class PaymentSettings(Settings):
    """Settings of the payment service."""

    database_url: SecretStr = Field(validation_alias="PAYMENT_DATABASE_URL", description="Its database")
    metrics_port: int = Field(0, validation_alias="PAYMENT_METRICS_PORT", ge=0, le=65535, description="Health port")
    payment_provider: Literal["sandbox", "stripe"] = Field("sandbox", description="Who takes the money")
    payment_provider_url: WebUrl = Field(
        SecretStr(""), validate_default=True, description="URL of the sandbox provider; required with `sandbox`"
    )
    stripe_api_key: SecretStr = Field(
        SecretStr(""), validate_default=True, description="Stripe's secret key; required with `stripe`"
    )
    stripe_api_base: str = Field("https://api.stripe.com", description="URL of Stripe's API")
    payment_timeout_s: float = Field(10.0, gt=0, le=60, description="A provider call without an answer ends then")
    payment_breaker_failures: int = Field(
        5, ge=1, description="Calls of one kind without an answer, in a row, that open its circuit breaker"
    )
    payment_breaker_open_s: float = Field(30.0, gt=0, description="Seconds until a few calls try whether it is back")
    payment_calls_limit: int = Field(256, ge=1, le=5000, description="Provider calls in flight at the same time")

    @field_validator("payment_provider_url", "stripe_api_key")
    @classmethod
    def _given_for_its_provider(cls, value: SecretStr, info: ValidationInfo) -> SecretStr:
        needed_by = {"payment_provider_url": "sandbox", "stripe_api_key": "stripe"}[info.field_name or ""]
        if not value.get_secret_value() and info.data.get("payment_provider") == needed_by:
            raise ValueError(f"required with PAYMENT_PROVIDER={needed_by}")
        return value


def make_provider(settings: PaymentSettings, on_unmapped: OnUnmapped = nobody) -> PaymentProvider:
    """The provider that the settings name. on_unmapped: hears of reasons to decline that our codes don't cover."""
    timeout_s, connections = settings.payment_timeout_s, settings.payment_calls_limit
    if settings.payment_provider == "stripe":
        # its library is large: who doesn't use it shouldn't wait for it at every start
        from services.payment.provider.stripe import StripeProvider  # noqa: PLC0415

        key, base = settings.stripe_api_key, settings.stripe_api_base
        return StripeProvider(key, timeout_s, connections, api_base=base, on_unmapped=on_unmapped)
    return SandboxProvider(settings.payment_provider_url, timeout_s, connections, on_unmapped)


def make(provider: PaymentProvider, settings: PaymentSettings) -> Service:
    """The service as the shell runs it."""
    return Service(
        NAME,
        handlers(),
        store.load,
        giving_up=giving_up(),
        let_go=_let_go,
        duties={
            CheckoutAccepted.TYPE: "authorize",
            WarehouseReserved.TYPE: "authorize",
            WarehouseConfirmed.TYPE: "capture",
            CheckoutFailed.TYPE: "void",
        },
        provider=provider,
        unknown=OutcomeUnknownError,
        operations=tuple(call.operation for call in (Authorize, Capture, Void, Refund)),
        breaking=Breaking(settings.payment_breaker_failures, settings.payment_breaker_open_s),
        calls_at_once=settings.payment_calls_limit,
    )


def _let_go(known: Payment) -> bool:
    return known.status in LET_GO
