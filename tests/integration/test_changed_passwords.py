"""A password that is replaced in its file while a process runs is the next connection's."""

import time
from collections.abc import Iterator
from contextlib import closing
from pathlib import Path
from typing import Any, Final
from uuid import uuid4

import pytest
from confluent_kafka import Consumer, KafkaException
from sqlalchemy import create_engine, make_url, text
from sqlalchemy.exc import OperationalError

from schemas.brokers import Properties
from schemas.codec import Codec, RegistryUnavailableError
from schemas.schema_source import SchemaSource
from schemas.secret import FileSecret
from services.shell import kafka_login
from services.shell.engine import make_engine
from services.shell.kafka_login import KafkaLogin
from tests.registry_proxy import registry_proxy
from tests.scram import USER, scram_broker
from tests.servers import TestServers
from tests.system import System, wait_for

REAUTHENTICATE_S: Final = 3


@pytest.fixture
def role(servers: TestServers) -> Iterator[str]:
    """A role of the database server without a password."""
    name = f"role_{uuid4().hex[:8]}"
    admin(servers, f"CREATE ROLE {name} LOGIN")
    yield name
    admin(servers, f"DROP ROLE {name}")


def admin(servers: TestServers, sql: str) -> None:
    engine = create_engine(servers.postgres_admin, isolation_level="AUTOCOMMIT")
    with engine.connect() as db:
        db.execute(text(sql))
    engine.dispose()


def replace(path: Path, content: str) -> None:
    """As a secret's file is replaced: whole or not at all."""
    new = path.with_suffix(".new")
    new.write_text(content)
    new.rename(path)


def test_the_next_session_logs_in_with_the_password_of_the_moment(
    servers: TestServers, role: str, tmp_path: Path
) -> None:
    def give(password: str) -> None:
        url = make_url(servers.postgres_admin).set(username=role, password=password)
        replace(tmp_path / "url", url.render_as_string(hide_password=False))

    admin(servers, f"ALTER ROLE {role} PASSWORD 'one-canary'")
    give("one-canary")
    engine = make_engine(FileSecret(tmp_path / "url"), "test")
    with engine.connect() as first:
        admin(servers, f"ALTER ROLE {role} PASSWORD 'two+/=canary'")
        assert first.execute(text("SELECT 1")).scalar_one() == 1
        with pytest.raises(OperationalError, match="password authentication failed") as refused:
            engine.connect()
        assert "canary" not in str(refused.value)
        give("two+/=canary")
        with engine.connect() as second:
            assert second.execute(text("SELECT current_user")).scalar_one() == role
            assert second.execute(text("SHOW application_name")).scalar_one() == "test"
        replace(tmp_path / "url", "nonsense-canary")
        with pytest.raises(OperationalError, match="the database's URL is no URL of a database") as unreadable:
            [engine.connect() for _ in range(4)]
        assert "canary" not in str(unreadable.value)
    engine.dispose()


def test_the_registrys_login_is_asked_for_with_every_request(system: System, tmp_path: Path) -> None:
    with registry_proxy(system.servers.schema_registry_url.get_secret_value()) as proxy:
        proxy.login = "me:one-canary"

        def give(login: str) -> None:
            replace(tmp_path / "url", proxy.url.replace("//", f"//{login}@"))

        give("me:guessed")
        secret = FileSecret(tmp_path / "url")
        with closing(Codec(secret, system.servers.topic_prefix)) as codec, closing(SchemaSource(secret)) as source:
            with pytest.raises(RegistryUnavailableError) as refused:
                codec.warm_up(["checkout.requested"])
            assert "guessed" not in str(refused.value)
            with pytest.raises(RegistryUnavailableError):
                source.get(1)
            give("me:one-canary")
            codec.warm_up(["checkout.requested"])
            proxy.login = "me:two-canary"
            with pytest.raises(RegistryUnavailableError):
                source.get(1)
            give("me:two-canary")
            codec.warm_up(["checkout.accepted"])
            assert source.get(1).text


def test_a_client_of_kafka_logs_in_again_with_the_new_password(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(kafka_login, "_EVERY_S", 0.1)
    password = tmp_path / "password"
    password.write_text("one-canary")
    with scram_broker(tmp_path / "kafka", "one-canary", REAUTHENTICATE_S) as broker:
        properties = {
            "bootstrap.servers": broker.address,
            "security.protocol": "SASL_PLAINTEXT",
            "sasl.mechanism": "SCRAM-SHA-512",
            "sasl.username": USER,
        }
        kafka = Properties(properties, FileSecret(password))
        login = KafkaLogin(kafka)
        consumer, other = made(login, kafka), made(KafkaLogin(kafka), kafka)
        assert topics(consumer) is not None
        broker.set_password("two-canary")
        replace(password, "two-canary")
        wait_for(login.renew, "the new password to be given to the client")
        # whoever was not told is out when the broker wants to know again
        wait_for(lambda: topics(other) is None, "the old password to be refused", pause_s=0.2)
        until = time.monotonic() + 2 * REAUTHENTICATE_S
        while time.monotonic() < until:
            assert topics(consumer) is not None
            time.sleep(0.2)
        consumer.close()
        other.close()
        assert "canary" not in broker.log.read_text()


def made(login: KafkaLogin, kafka: Properties) -> Consumer:
    return login.maker("a consumer", Consumer)({**kafka, "group.id": "g", "log_level": 0})


def topics(consumer: Consumer) -> Any:
    """What there is; None where the broker does not say it."""
    try:
        return consumer.list_topics(timeout=2).topics
    except KafkaException:
        return None
