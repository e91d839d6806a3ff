"""On servers that ask everybody for a login: every ending, dead letters, the observer, and what is refused."""

import json
import os
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any
from urllib.error import HTTPError
from urllib.request import urlopen

import psycopg2
import pytest
from confluent_kafka import Consumer, KafkaError, KafkaException, Producer
from confluent_kafka.admin import AdminClient
from confluent_kafka.schema_registry import Schema, SchemaRegistryError
from pydantic import SecretStr
from sqlalchemy import make_url

from compose.acls.rights import AUDITOR, DRAINER, OBSERVER
from compose.settings import Servers
from compose.stack import Stack, running_stack
from compose.stack.state import StateFile
from schemas.brokers import reaching
from schemas.choreography import SERVICES
from schemas.codec import avsc
from schemas.registry_client import registry_client
from tests.integration.test_endings import (
    test_a_cancelled_checkout_gives_the_money_back_that_comes_late,
    test_a_checkout_that_is_not_authorized_in_time_expires,
    test_a_refusal_ends_compensated_with_a_code_and_nothing_held,
    test_a_rule_breaker_fails_without_having_been_accepted,
    test_a_sound_checkout_is_captured,
    test_a_wish_to_cancel_after_the_capture_changes_nothing,
    test_a_wish_to_cancel_that_comes_first_waits_for_its_checkout,
    test_every_ending_leaves_the_books_clean,
    test_other_content_under_a_known_id_is_a_dead_letter_and_leaves_the_honest_one_alone,
    test_the_same_request_twice_is_one_checkout,
)
from tests.jam import jammed
from tests.observing import worker
from tests.secured import SecuredSystem

__all__ = [
    "test_a_cancelled_checkout_gives_the_money_back_that_comes_late",
    "test_a_checkout_that_is_not_authorized_in_time_expires",
    "test_a_refusal_ends_compensated_with_a_code_and_nothing_held",
    "test_a_rule_breaker_fails_without_having_been_accepted",
    "test_a_sound_checkout_is_captured",
    "test_a_wish_to_cancel_after_the_capture_changes_nothing",
    "test_a_wish_to_cancel_that_comes_first_waits_for_its_checkout",
    "test_every_ending_leaves_the_books_clean",
    "test_other_content_under_a_known_id_is_a_dead_letter_and_leaves_the_honest_one_alone",
    "test_the_same_request_twice_is_one_checkout",
]

pytestmark = pytest.mark.slow
_ANSWER_S = 20.0


@pytest.fixture(scope="module")
def stack(scratch: Path) -> Iterator[Stack]:
    """Servers of this module, secured."""
    with running_stack(scratch / "secured", environ=os.environ, secure=True) as found:
        yield found


@pytest.fixture(scope="module")
def system(stack: Stack, scratch: Path) -> Iterator[SecuredSystem]:
    """The whole system on them."""
    with SecuredSystem(stack, scratch, RETRY_BUG_ATTEMPTS="2", FLOOD_AT_LEAST="0") as running:
        yield running


def kafka_of(system: SecuredSystem, principal: str) -> dict[str, Any]:
    """The properties that a principal's clients begin with."""
    return reaching(servers_of(system, principal).kafka) | {"log_level": 2}


def servers_of(system: SecuredSystem, principal: str) -> Servers:
    """How a principal reaches the servers; databases that are none of its business are the developer's."""
    environ = system.env | system.environ(principal)
    values: dict[str, Any] = {name: environ[name.upper()] for name in Servers.model_fields if name.upper() in environ}
    return Servers(**values)


def checkout(environ: dict[str, str], *arguments: str) -> subprocess.CompletedProcess[str]:
    """Run a command of `checkout`."""
    command = [str(Path(sys.executable).with_name("checkout")), *arguments]
    return subprocess.run(command, env=environ, capture_output=True, text=True, check=False, timeout=60, input="")


# --- dead letters -------------------------------------------------------------------------------------------------


def test_a_dead_letter_is_listed_and_discarded_by_the_drainer(system: SecuredSystem) -> None:
    system.shop.publish_raw("checkout.requested", b"c-broken", b"not Avro")
    system.shop.flush()
    [letter] = system.await_letters("checkout", "c-broken", 1)
    known = letter.headers["dlq-id"].decode()
    assert known in {found["id"] for found in system.dlq("list", "--checkout", "c-broken")}
    system.dlq("discard", known, "--why", "a test", "--yes")
    assert [found["state"] for found in system.dlq("list", "--all", "--checkout", "c-broken")] == ["discarded"]


def test_a_dead_letter_is_replayed_by_the_drainer(system: SecuredSystem) -> None:
    request = system.request()
    with jammed(system, "checkout", "audit_trail", "INSERT", f"NEW.checkout_id = '{request.checkout_id}'"):
        system.publish(request)
        [letter] = system.await_letters("checkout", request.checkout_id, 1)
    told = system.dlq("replay", letter.headers["dlq-id"].decode(), "--yes", "--wait")
    assert told["outcomes"]["handled"] == 1
    system.await_status("checkout", request.checkout_id, "captured")


def test_the_observer_sees_a_checkout_to_its_end(system: SecuredSystem) -> None:
    with worker(system) as observer:
        request = system.request()
        system.publish(request)
        observer.await_state(request.checkout_id, "captured")


# --- what is refused ----------------------------------------------------------------------------------------------


def refused(system: SecuredSystem, principal: str, topic: str) -> int | None:
    """The error code of an attempt to write to a topic; None where it is allowed."""
    told: list[KafkaError | None] = []
    producer = Producer(kafka_of(system, principal) | {"message.timeout.ms": 10_000})
    producer.produce(topic, b"never said", on_delivery=lambda error, _: told.append(error))
    producer.flush(_ANSWER_S)
    [error] = told
    return None if error is None else error.code()


def test_a_service_says_what_is_its_own_and_nothing_else(system: SecuredSystem) -> None:
    assert refused(system, "payment", "payment.dlq") is None
    for principal, topic in (
        ("payment", "checkout.completed"),
        ("warehouse", "payment.dlq"),
        (AUDITOR, "checkout.dlq"),
    ):
        assert refused(system, principal, topic) == KafkaError.TOPIC_AUTHORIZATION_FAILED, (principal, topic)


def test_a_service_reads_what_it_hears_and_joins_its_own_group_only(system: SecuredSystem) -> None:
    for group, topic, code in (
        ("warehouse", "checkout.requested", KafkaError.GROUP_AUTHORIZATION_FAILED),
        ("payment", "checkout.dlq", KafkaError.TOPIC_AUTHORIZATION_FAILED),
    ):
        consumer = Consumer(kafka_of(system, "payment") | {"group.id": group, "auto.offset.reset": "earliest"})
        consumer.subscribe([topic])
        message = consumer.poll(_ANSWER_S)
        consumer.close()
        assert message is not None
        error = message.error()
        assert error is not None
        assert error.code() == code, error


def test_who_does_not_log_in_is_let_in_nowhere(system: SecuredSystem) -> None:
    address = system.env["KAFKA_BOOTSTRAP_SERVERS"]
    with pytest.raises(KafkaException):
        AdminClient({"bootstrap.servers": address, "log_level": 0}).list_topics(timeout=3)
    with pytest.raises(KafkaException):
        AdminClient(kafka_of(system, DRAINER) | {"sasl.password": "guessed", "log_level": 0}).list_topics(timeout=3)


@pytest.mark.parametrize("wrong", [{"KAFKA_SASL_PASSWORD": "guessed"}, {"KAFKA_SECURITY_PROTOCOL": "SASL_PLAINTEXT"}])
def test_a_command_with_a_wrong_login_says_so_in_one_line(system: SecuredSystem, wrong: dict[str, str]) -> None:
    done = checkout(system.env | wrong, "publish", "-")
    assert done.returncode == 1, done
    assert done.stderr.startswith("checkout publish: Kafka: ")
    assert done.stderr.count("\n") == 1


def test_only_set_up_registers_schemas(system: SecuredSystem) -> None:
    schema = Schema(avsc("checkout.requested"), "AVRO")
    reading = servers_of(system, "payment").registry
    with registry_client(reading) as client:
        assert client.get_latest_version("checkout.requested-value").schema is not None
        with pytest.raises(SchemaRegistryError) as error:
            client.register_schema("anything-value", schema)
        assert error.value.http_status_code == 403
    wrong = reading._replace(url=SecretStr(reading.url.get_secret_value().replace("reader:", "reader:x")))
    with registry_client(wrong) as client, pytest.raises(SchemaRegistryError) as error:
        client.get_latest_version("checkout.requested-value")
    assert error.value.http_status_code == 401


def test_a_refused_registry_login_is_told_without_its_password(system: SecuredSystem) -> None:
    url = system.env["SCHEMA_REGISTRY_URL"].replace("writer:", "writer:guessed-")
    done = checkout(system.env | {"SCHEMA_REGISTRY_URL": url}, "schemas", "check")
    assert done.returncode == 1, done
    assert done.stderr.startswith("checkout schemas check: schema registry: ")
    assert "guessed-" not in done.stderr + done.stdout


def test_the_registry_speaks_tls_only(stack: Stack) -> None:
    address = stack.env()["SCHEMA_REGISTRY_URL"].rpartition("@")[2]
    with pytest.raises((HTTPError, OSError)):
        urlopen(f"http://{address}/subjects", timeout=5)


def test_a_service_opens_its_own_database_with_its_own_password_only(stack: Stack) -> None:
    url = make_url(stack.env("payment")["PAYMENT_DATABASE_URL"])
    login: dict[str, Any] = {"host": url.host, "port": url.port, "user": url.username}
    psycopg2.connect(dbname="payment", password=url.password, **login).close()
    with pytest.raises(psycopg2.OperationalError, match="permission denied"):
        psycopg2.connect(dbname="warehouse", password=url.password, **login)
    with pytest.raises(psycopg2.OperationalError, match="password authentication failed"):
        psycopg2.connect(dbname="payment", password="guessed", **login)


def test_each_process_is_told_its_own_secrets_only(stack: Stack) -> None:
    found = {principal: stack.env(principal) for principal in (*SERVICES, OBSERVER, DRAINER)}
    assert len({environ["KAFKA_SASL_PASSWORD"] for environ in found.values()}) == len(found)
    for principal, environ in found.items():
        databases = {name for name in environ if name.endswith("_DATABASE_URL")}
        assert databases == ({f"{principal.upper()}_DATABASE_URL"} if principal in SERVICES else set())
        assert "POSTGRES_ADMIN_URL" not in environ


def test_keys_and_passwords_are_their_owners_only_and_in_no_log(stack: Stack, system: SecuredSystem) -> None:
    for secret in (stack.data_dir / "tls").iterdir():
        assert secret.name == "ca.pem" or secret.stat().st_mode & 0o077 == 0, secret
    passwords = StateFile(stack.data_dir).load().passwords
    logs = [*stack.data_dir.glob("*.log"), *system.folder.glob("*.log")]
    assert len(logs) > len(SERVICES)
    for log in logs:
        text = log.read_text(encoding="utf-8", errors="replace")
        assert [name for name, secret in passwords.items() if secret in text] == [], log


def test_servers_come_back_as_they_were(stack: Stack, system: SecuredSystem) -> None:
    """The broker's users and rights outlive it, and so do its certificates."""
    stack.stop_server("kafka")
    stack.start_server("kafka")
    request = system.request()
    system.publish(request)
    system.await_status("checkout", request.checkout_id, "captured")
    assert json.loads(checkout(system.env, "audit", "--json").stdout)["clean"] is True
