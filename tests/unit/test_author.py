"""Who acts, as the audit has it: the login that the brokers know, beside the name that a person gives."""

import getpass
import socket
import subprocess
from pathlib import Path
from typing import Any

import pytest

from dlq.acting_options import author
from dlq.kafka import KafkaSettings
from dlq.settings import SettingsError

SYSTEM = f"{getpass.getuser()}@{socket.gethostname()}"


def settings(**more: Any) -> KafkaSettings:
    return KafkaSettings(kafka_bootstrap_servers="localhost:9092", **more)


def certificate(folder: Path) -> Path:
    path = folder / "client.pem"
    subprocess.run(
        [
            *(
                "openssl",
                "req",
                "-x509",
                "-newkey",
                "ec",
                "-pkeyopt",
                "ec_paramgen_curve:P-256",
                "-nodes",
                "-days",
                "2",
            ),
            *("-subj", "/O=Shop/CN=ann", "-keyout", folder / "key.pem", "-out", path),
        ],
        check=True,
        capture_output=True,
        timeout=60,
    )
    return path


def test_without_a_login_it_is_the_systems_user() -> None:
    assert author("", "why", settings()).by == SYSTEM
    assert author("ann", "why", settings()).by == "ann"


@pytest.mark.parametrize("protocol", ["SASL_SSL", "SASL_PLAINTEXT"])
def test_a_sasl_user_is_named_whatever_a_person_says(protocol: str) -> None:
    login = settings(kafka_security_protocol=protocol, kafka_sasl_username="ops-7", kafka_sasl_password="x")
    assert author("", "why", login).by == f"ops-7 ({SYSTEM})"
    assert author("ann", "why", login).by == "ops-7 (ann)"


def test_a_client_certificate_is_named_by_its_subject(tmp_path: Path) -> None:
    login = settings(kafka_security_protocol="SSL", kafka_ssl_certificate_location=str(certificate(tmp_path)))
    assert author("ann", "why", login).by == "CN=ann,O=Shop (ann)"


@pytest.mark.parametrize("content", [None, b"", b"no certificate"])
def test_a_certificate_that_can_not_be_read_is_said(tmp_path: Path, content: bytes | None) -> None:
    path = tmp_path / "client.pem"
    if content is not None:
        path.write_bytes(content)
    with pytest.raises(SettingsError, match="KAFKA_SSL_CERTIFICATE_LOCATION"):
        author("ann", "why", settings(kafka_security_protocol="SSL", kafka_ssl_certificate_location=str(path)))
