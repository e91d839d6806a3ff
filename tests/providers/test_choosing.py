"""Which provider the settings name, and what they say when something for it is missing."""

import asyncio
from typing import Any

import pytest

from services.payment.provider.sandbox import SandboxProvider
from services.payment.provider.stripe import StripeProvider
from services.payment.service import PaymentSettings, make_provider
from services.shell.settings import read_settings

BASE = {"KAFKA_BOOTSTRAP_SERVERS": "k:1", "SCHEMA_REGISTRY_URL": "http://r", "PAYMENT_DATABASE_URL": "postgresql://d"}
OPTIONAL = ("PAYMENT_PROVIDER", "PAYMENT_PROVIDER_URL", "STRIPE_API_KEY", "STRIPE_API_BASE")


def settings(monkeypatch: pytest.MonkeyPatch, **given: str) -> PaymentSettings:
    for name in OPTIONAL:
        monkeypatch.delenv(name, raising=False)
    for name, value in (BASE | given).items():
        monkeypatch.setenv(name, value)
    return read_settings(PaymentSettings)


@pytest.mark.parametrize(
    ("given", "kind"),
    [
        ({"PAYMENT_PROVIDER_URL": "http://p"}, SandboxProvider),
        ({"PAYMENT_PROVIDER": "sandbox", "PAYMENT_PROVIDER_URL": "http://p"}, SandboxProvider),
        ({"PAYMENT_PROVIDER": "stripe", "STRIPE_API_KEY": "sk_test_123"}, StripeProvider),
    ],
)
def test_the_settings_name_the_provider(
    monkeypatch: pytest.MonkeyPatch, given: dict[str, str], kind: type[Any]
) -> None:
    provider = make_provider(settings(monkeypatch, **given))
    assert type(provider) is kind
    asyncio.run(provider.close())


@pytest.mark.parametrize(
    ("given", "line"),
    [
        ({"PAYMENT_PROVIDER": "stripe"}, "STRIPE_API_KEY: Value error, required with PAYMENT_PROVIDER=stripe"),
        (
            {"PAYMENT_PROVIDER": "stripe", "STRIPE_API_KEY": ""},
            "STRIPE_API_KEY: Value error, required with PAYMENT_PROVIDER=stripe",
        ),
        ({}, "PAYMENT_PROVIDER_URL: Value error, required with PAYMENT_PROVIDER=sandbox"),
        ({"PAYMENT_PROVIDER": "paypal"}, "PAYMENT_PROVIDER: Input should be 'sandbox' or 'stripe'"),
    ],
)
def test_what_is_missing_is_one_clear_line(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], given: dict[str, str], line: str
) -> None:
    with pytest.raises(SystemExit) as ended:
        settings(monkeypatch, **given)
    assert ended.value.code == 78
    said = capsys.readouterr().err
    assert said.startswith(f"settings: {line}. ")
    assert said.count("\n") == 1


def test_the_api_key_is_never_shown(monkeypatch: pytest.MonkeyPatch) -> None:
    given = settings(monkeypatch, PAYMENT_PROVIDER="stripe", STRIPE_API_KEY="sk_test_secret")
    assert "sk_test_secret" not in repr(given)
