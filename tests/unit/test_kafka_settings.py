"""How Kafka is reached is said once, in the environment, and every client gets the same of it."""

from typing import Any

import pytest

from compose.settings import Servers
from dlq.kafka import KafkaSettings
from dlq.settings import DlqSettings
from outbox.relay import producer_config
from schemas.brokers import reaching
from services.shell.intake import consumer_config
from services.shell.settings import Settings, read_settings

SASL = {
    "KAFKA_BOOTSTRAP_SERVERS": "broker:9093",
    "KAFKA_SECURITY_PROTOCOL": "SASL_SSL",
    "KAFKA_SASL_USERNAME": "checkout",
    "KAFKA_SASL_PASSWORD": "s3cret",
    "KAFKA_SSL_CA_LOCATION": "/etc/kafka/ca.pem",
}


def given(monkeypatch: pytest.MonkeyPatch, **environ: str) -> KafkaSettings:
    """The settings in an environment that has nothing else of Kafka."""
    for name in KafkaSettings.model_fields:
        monkeypatch.delenv(name.upper(), raising=False)
    for name, value in environ.items():
        monkeypatch.setenv(name, value)
    return read_settings(KafkaSettings)


def test_without_security_a_client_is_told_the_address_and_no_more(monkeypatch: pytest.MonkeyPatch) -> None:
    assert given(monkeypatch, KAFKA_BOOTSTRAP_SERVERS="a:1,b:2").kafka == {"bootstrap.servers": "a:1,b:2"}


def test_a_client_is_told_how_to_log_in_and_whom_to_trust(monkeypatch: pytest.MonkeyPatch) -> None:
    assert given(monkeypatch, **SASL).kafka == {
        "bootstrap.servers": "broker:9093",
        "security.protocol": "SASL_SSL",
        "sasl.mechanism": "SCRAM-SHA-512",
        "sasl.username": "checkout",
        "sasl.password": "s3cret",
        "ssl.ca.location": "/etc/kafka/ca.pem",
    }


def test_mutual_tls_needs_no_password(monkeypatch: pytest.MonkeyPatch) -> None:
    files = {"KAFKA_SSL_CERTIFICATE_LOCATION": "/c.pem", "KAFKA_SSL_KEY_LOCATION": "/k.pem"}
    found = given(monkeypatch, KAFKA_BOOTSTRAP_SERVERS="a:1", KAFKA_SECURITY_PROTOCOL="SSL", **files).kafka
    assert found == {
        "bootstrap.servers": "a:1",
        "security.protocol": "SSL",
        "ssl.certificate.location": "/c.pem",
        "ssl.key.location": "/k.pem",
    }


TOKEN = SASL | {"KAFKA_SASL_MECHANISM": "OAUTHBEARER", "KAFKA_OAUTH_TOKEN_URL": "https://login.example/token"}


def test_with_tokens_a_client_is_told_where_they_come_from(monkeypatch: pytest.MonkeyPatch) -> None:
    assert given(monkeypatch, **TOKEN, KAFKA_OAUTH_SCOPE="kafka").kafka == {
        "bootstrap.servers": "broker:9093",
        "security.protocol": "SASL_SSL",
        "sasl.mechanism": "OAUTHBEARER",
        "sasl.oauthbearer.method": "oidc",
        "sasl.oauthbearer.token.endpoint.url": "https://login.example/token",
        "sasl.oauthbearer.client.id": "checkout",
        "sasl.oauthbearer.client.secret": "s3cret",
        "sasl.oauthbearer.scope": "kafka",
        "ssl.ca.location": "/etc/kafka/ca.pem",
    }


@pytest.mark.parametrize(
    "wrong",
    [
        {"KAFKA_OAUTH_TOKEN_URL": ""},
        {"KAFKA_OAUTH_TOKEN_URL": "login.example/token"},
        {"KAFKA_SASL_MECHANISM": "PLAIN"},
    ],
    ids=str,
)
def test_tokens_and_where_they_come_from_go_together(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], wrong: dict[str, str]
) -> None:
    with pytest.raises(SystemExit):
        given(monkeypatch, **TOKEN | wrong)
    assert "KAFKA_OAUTH_TOKEN_URL: " in capsys.readouterr().err


@pytest.mark.parametrize("missing", ["KAFKA_SASL_USERNAME", "KAFKA_SASL_PASSWORD"])
def test_half_a_login_is_refused_by_name(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], missing: str
) -> None:
    with pytest.raises(SystemExit):
        given(monkeypatch, **{name: value for name, value in SASL.items() if name != missing})
    said = capsys.readouterr().err
    assert f"{missing}: " in said
    assert "s3cret" not in said


def test_a_password_that_would_not_be_sent_is_refused(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    with pytest.raises(SystemExit):
        given(monkeypatch, **SASL | {"KAFKA_SECURITY_PROTOCOL": "SSL"})
    assert "KAFKA_SASL_PASSWORD: " in capsys.readouterr().err


def test_the_password_is_not_shown_with_the_settings(monkeypatch: pytest.MonkeyPatch) -> None:
    assert "s3cret" not in repr(given(monkeypatch, **SASL))


def test_every_process_and_command_reads_the_same() -> None:
    kinds: tuple[type[KafkaSettings], ...] = (Settings, DlqSettings, Servers)
    for kind in kinds:
        assert KafkaSettings.model_fields.keys() <= kind.model_fields.keys()


def test_clients_keep_what_reaches_the_brokers_and_add_their_own() -> None:
    login: dict[str, Any] = {"bootstrap.servers": "a:1", "security.protocol": "SSL"}
    for made in (producer_config(login), consumer_config(login, "group")):
        assert login.items() <= made.items()
        assert len(made) > len(login)
    assert reaching("a:1") == {"bootstrap.servers": "a:1"}
    assert producer_config("a:1")["bootstrap.servers"] == "a:1"
