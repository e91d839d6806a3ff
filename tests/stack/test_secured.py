"""What a secured stack hands out, before any server runs: certificates, rights, environments."""

import os
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest
from cryptography import x509

from compose.stack import Stack, StackError, certificates, users
from compose.stack.environment import SERVICE_PORTS, outside, service_environment
from compose.stack.postgres import ADMIN, ROLES
from compose.stack.processes import identify
from compose.stack.state import State, StateFile
from schemas.choreography import SERVICES


def secured() -> State:
    """A stack that has been up."""
    names = ("kafka", "registry", "provider", "postgres", *SERVICE_PORTS)
    state = State(ports={name: 20_000 + number for number, name in enumerate(names)}, secure=True)
    state.ensure_passwords((ADMIN, *ROLES, *users.names()))
    return state


def test_certificates_are_made_once_and_again_when_they_soon_end(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(certificates, "_VALID", timedelta(days=20))
    certificates.ensure(tmp_path)
    short = certificates.authority(tmp_path).read_bytes()
    monkeypatch.undo()
    certificates.ensure(tmp_path)
    lasting = certificates.authority(tmp_path).read_bytes()
    certificates.ensure(tmp_path)
    assert certificates.authority(tmp_path).read_bytes() == lasting != short
    assert x509.load_pem_x509_certificate(lasting).not_valid_after_utc > datetime.now(UTC) + timedelta(days=300)


def test_each_server_has_a_key_of_its_own_and_nobody_has_the_authoritys(tmp_path: Path) -> None:
    certificates.ensure(tmp_path)
    files = {path.name: path.read_text() for path in (tmp_path / certificates.FOLDER).iterdir()}
    assert set(files) == {"ca.pem", *(f"{server}.pem" for server in certificates.SERVERS)}
    assert "PRIVATE KEY" not in files["ca.pem"]
    assert len(set(files.values())) == len(files)
    assert all(certificates.of(tmp_path, server).stat().st_mode & 0o077 == 0 for server in certificates.SERVERS)


def test_the_developer_may_what_commands_need_and_nothing_of_a_services() -> None:
    mine = [right for right in users.rights("eu.") if right.principal == users.DEVELOPER]
    assert {(right.name, right.operation) for right in mine} >= {
        ("eu.checkout.requested", "write"),
        ("eu.checkout.requested", "create"),
        ("eu.payment.captured", "read"),
        ("eu.payment.retry", "write"),
    }
    assert not [right for right in mine if right.name == "eu.payment.captured" and right.operation == "write"]
    assert {right.name for right in mine if right.resource == "group" and right.operation == "read"} == {"eu.shop"}


def test_a_process_is_told_its_own_login_and_no_database_but_its_own(tmp_path: Path) -> None:
    state = secured()
    found = service_environment(state, tmp_path, {}, "payment")
    assert found["KAFKA_SASL_USERNAME"] == "payment"
    assert found["KAFKA_SASL_PASSWORD"] == users.kafka_password(state, "payment")
    assert found["SCHEMA_REGISTRY_URL"].startswith("https://reader:")
    assert {name for name in found if "DATABASE" in name or "ADMIN" in name} == {"PAYMENT_DATABASE_URL"}
    drainer = service_environment(state, tmp_path, {}, "drainer")
    assert not [name for name in drainer if "DATABASE" in name or "ADMIN" in name]
    setup = service_environment(state, tmp_path, {}, "setup")
    assert setup["SCHEMA_REGISTRY_URL"].startswith("https://writer:")
    assert "CHECKOUT_OWNER_DATABASE_URL" in setup
    passwords = {service_environment(state, tmp_path, {}, name)["KAFKA_SASL_PASSWORD"] for name in users.KAFKA}
    assert len(passwords) == len(users.KAFKA)


def test_who_has_no_login_is_told_who_has(tmp_path: Path) -> None:
    with pytest.raises(StackError, match="'paymnet' has no login here: there are checkout, payment"):
        service_environment(secured(), tmp_path, {}, "paymnet")


def test_a_secured_stack_takes_no_server_from_the_environment() -> None:
    environ = {"KAFKA_BOOTSTRAP_SERVERS": "a:1", "KAFKA_SASL_PASSWORD_FILE": "/secret", "TOPIC_PREFIX": "eu."}
    assert outside(secured(), environ) == {"TOPIC_PREFIX": "eu."}
    assert outside(State(), environ) == environ


def test_open_servers_that_run_are_not_taken_for_secured_ones(tmp_path: Path) -> None:
    StateFile(tmp_path).save(State(servers={service: identify(os.getpid()) for service in SERVICES[:1]}))
    with pytest.raises(StackError, match="the servers of this folder run, and they are open"):
        Stack(tmp_path, environ={}).up(secure=True)
