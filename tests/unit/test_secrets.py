"""What must not be printed is not, wherever it comes from; and a file's content may change."""

from pathlib import Path

import pytest
from pydantic import SecretStr
from pydantic_settings import BaseSettings

from compose.settings import Servers
from dlq.kafka import KafkaSettings
from dlq.settings import DlqSettings, SettingsError
from dlq.settings import read_settings as read_dlq_settings
from schemas.brokers import PASSWORD, Properties
from schemas.secret import FileSecret, login_of, masked, without_login
from services.checkout.service import CheckoutSettings
from services.observer.settings import ObserverSettings
from services.payment.service import PaymentSettings
from services.shell.database import url_of
from services.shell.settings import read_settings
from services.warehouse.service import WarehouseSettings

KINDS: tuple[type[BaseSettings], ...] = (
    CheckoutSettings, PaymentSettings, WarehouseSettings, ObserverSettings, DlqSettings, Servers,
)  # fmt: skip
HARMLESS = {"payment_provider", "kafka_sasl_username", "observer_url", "stripe_api_base"}
"""Whom they talk to and as whom: no password, and printing them helps."""


def given(monkeypatch: pytest.MonkeyPatch, **environ: str) -> None:
    """An environment with a checkout's settings and these."""
    basis = {"KAFKA_BOOTSTRAP_SERVERS": "k:1", "SCHEMA_REGISTRY_URL": "http://r"}
    for name in [field for kind in KINDS for field in kind.model_fields]:
        monkeypatch.delenv(name.upper(), raising=False)
    for name, value in (basis | environ).items():
        monkeypatch.setenv(name, value)


@pytest.mark.parametrize("kind", KINDS)
def test_what_may_hold_a_secret_is_one(kind: type[BaseSettings]) -> None:
    words = ("url", "password", "key", "endpoint", "token", "secret", "base")
    suspects = {name for name in kind.model_fields if any(word in name.split("_") for word in words)}
    found = {name for name in suspects - HARMLESS if not name.startswith("kafka_ssl_")}
    assert {name for name, field in kind.model_fields.items() if field.annotation is SecretStr} == found


def test_a_secret_stands_in_its_variable_or_in_the_file_that_another_names(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    (tmp_path / "url").write_text("postgresql+psycopg2://u:canary@h/d\n")
    given(monkeypatch, CHECKOUT_DATABASE_URL_FILE=str(tmp_path / "url"), CHECKOUT_DATABASE_URL="")
    settings = read_settings(CheckoutSettings)
    assert settings.database_url.get_secret_value() == "postgresql+psycopg2://u:canary@h/d"
    assert "canary" not in f"{settings!r} {settings} {settings.model_dump()} {settings.model_dump_json()}"


def test_a_secret_that_is_given_twice_is_one_line_that_names_both(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    (tmp_path / "url").write_text("postgresql://u:canary@h/d")
    given(
        monkeypatch,
        CHECKOUT_DATABASE_URL_FILE=str(tmp_path / "url"),
        CHECKOUT_DATABASE_URL="postgresql://u:canary@h/d",
    )
    with pytest.raises(SystemExit):
        read_settings(CheckoutSettings)
    said = capsys.readouterr().err
    assert said.startswith("settings: CHECKOUT_DATABASE_URL_FILE: CHECKOUT_DATABASE_URL is given too")
    assert len(said.splitlines()) == 1
    assert "canary" not in said


def test_a_file_that_cannot_be_read_is_one_line_without_what_may_be_the_secret_itself(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    given(monkeypatch, CHECKOUT_DATABASE_URL_FILE="canary")
    with pytest.raises(SystemExit):
        read_settings(CheckoutSettings)
    said = capsys.readouterr().err
    assert said.startswith("settings: CHECKOUT_DATABASE_URL_FILE: the file can't be read: No such file")
    assert "canary" not in said


def test_the_commands_read_files_too(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    (tmp_path / "registry").write_text("http://u:canary@r")
    given(monkeypatch, SCHEMA_REGISTRY_URL="", SCHEMA_REGISTRY_URL_FILE=str(tmp_path / "registry"))
    assert read_dlq_settings().schema_registry_url.get_secret_value() == "http://u:canary@r"
    monkeypatch.setenv("SCHEMA_REGISTRY_URL_FILE", "canary")
    with pytest.raises(SettingsError, match="SCHEMA_REGISTRY_URL_FILE: the file can't be read"):
        read_dlq_settings()


def test_a_file_is_read_again_and_what_is_being_replaced_counts_as_it_was(tmp_path: Path) -> None:
    path = tmp_path / "password"
    path.write_text("one\r\n")
    secret = FileSecret(path)
    assert secret.get_secret_value() == "one"
    path.write_text("")
    assert secret.get_secret_value() == "one"
    path.unlink()
    assert secret.get_secret_value() == "one"
    path.write_text("two")
    assert secret.get_secret_value() == "two"
    assert "two" not in f"{secret!r} {secret}"


@pytest.mark.parametrize(
    "url",
    ["canary", "postgresql://u:canary@h:port/d", "mysql://u:canary@h/d", "postgresql://h:canary"],
)
def test_what_is_no_url_of_a_database_is_said_without_it(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], url: str
) -> None:
    given(monkeypatch, CHECKOUT_DATABASE_URL=url)
    with pytest.raises(SystemExit):
        read_settings(CheckoutSettings)
    said = capsys.readouterr().err
    assert "CHECKOUT_DATABASE_URL: Value error, is no URL of a database" in said
    assert "canary" not in said
    with pytest.raises(ValueError, match="is no URL") as refused:
        url_of(SecretStr(url))
    # nor would a traceback tell it
    assert refused.value.__suppress_context__ or refused.value.__context__ is None


def test_the_properties_of_a_client_show_no_password_and_have_the_newest(tmp_path: Path) -> None:
    path = tmp_path / "password"
    path.write_text("one")
    found = Properties({"bootstrap.servers": "k:1", "sasl.username": "me"}, FileSecret(path))
    path.write_text("two")
    assert {**found}[PASSWORD] == "two"
    assert len(found) == 3
    assert "two" not in repr(found)
    assert "two" not in str(found)


def test_brokers_are_told_a_password_from_a_file(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    (tmp_path / "password").write_text("canary\n")
    given(
        monkeypatch,
        KAFKA_SECURITY_PROTOCOL="SASL_PLAINTEXT",
        KAFKA_SASL_USERNAME="me",
        KAFKA_SASL_PASSWORD_FILE=str(tmp_path / "password"),
    )
    assert read_settings(KafkaSettings).kafka[PASSWORD] == "canary"


@pytest.mark.parametrize(
    ("text", "shown"),
    [
        ("GET http://u:p@h:1/x failed", "GET http://***@h:1/x failed"),
        ("postgresql+psycopg2://u:p%40@h/d and http://u:p/q@h", "postgresql+psycopg2://***@h/d and http://***@h"),
        ("http://h/x a@b", "http://h/x a@b"),
    ],
)
def test_a_text_is_shown_without_the_logins_of_its_urls(text: str, shown: str) -> None:
    assert masked(text) == shown


def test_a_url_is_shown_without_its_login() -> None:
    assert without_login("https://u:p@h:8/x?key=1") == "https://h:8/x"
    assert without_login("http://[broken") == "***"
    assert login_of("http://u:p%40@h:1/x") == ("http://h:1/x", {"Authorization": "Basic dTpwQA=="})
    assert login_of("http://h:1/x") == ("http://h:1/x", {})


@pytest.mark.parametrize(
    ("owner", "wanted"),
    [
        ("", "postgresql://checkout:p@db/here"),
        ("postgresql://owner:q@db/here", "postgresql://owner:q@db/here"),
        ("postgresql://owner:q@db:6432/here", "postgresql://owner:q@db:6432/here"),
        ("postgresql://owner:q@db/elsewhere", "postgresql://checkout:p@db/here"),
    ],
    ids=["none", "the same database", "past a pooler", "another database"],
)
def test_the_owner_of_another_database_owns_nothing_here(
    monkeypatch: pytest.MonkeyPatch, owner: str, wanted: str
) -> None:
    own = "postgresql://checkout:p@db/here"
    others = {f"{name}_DATABASE_URL": own for name in ("CHECKOUT", "PAYMENT", "WAREHOUSE")}
    given(monkeypatch, PAYMENT_PROVIDER_URL="http://p", CHECKOUT_OWNER_DATABASE_URL=owner, **others)
    assert read_settings(Servers).owner_database_url("checkout").get_secret_value() == wanted
