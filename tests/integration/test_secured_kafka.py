"""The whole system on a broker that wants a certificate of every client, a token, or a plain password over TLS."""

import asyncio
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

import pytest
from aiokafka.errors import KafkaError
from confluent_kafka import KafkaException, Producer
from confluent_kafka.admin import AdminClient
from confluent_kafka.cimpl import NewTopic

from compose.stack.certificates import Authority, write_key
from compose.stack.kafka import Kafka
from compose.stack.ports import HOST
from compose.stack.servers import Site
from dlq.kafka import KafkaSettings
from schemas.brokers import reaching
from schemas.kafka.raw import Ends, opened
from tests.brokers import running
from tests.oauth import CLIENT, SCOPE, SECRET, Endpoint, endpoint
from tests.observing import worker
from tests.servers import TestServers
from tests.system import System

pytestmark = pytest.mark.slow

USER: Final = "checkout"
PASSWORD: Final = "correct-horse"
LISTENERS: Final = ("plain", "mutual", "oauth")

_PROPERTIES: Final = """
listeners=PLAINTEXT://{host}:{kafka},CONTROLLER://{host}:{controller},PLAIN://{host}:{plain},\
MUTUAL://{host}:{mutual},OAUTH://{host}:{oauth}
advertised.listeners=PLAINTEXT://{host}:{kafka},PLAIN://{host}:{plain},MUTUAL://{host}:{mutual},OAUTH://{host}:{oauth}
listener.security.protocol.map=PLAINTEXT:PLAINTEXT,CONTROLLER:PLAINTEXT,PLAIN:SASL_SSL,MUTUAL:SSL,OAUTH:SASL_SSL
ssl.keystore.type=PEM
ssl.keystore.location=broker.pem
ssl.truststore.type=PEM
ssl.truststore.location=ca.pem
listener.name.plain.sasl.enabled.mechanisms=PLAIN
listener.name.plain.plain.sasl.jaas.config=org.apache.kafka.common.security.plain.PlainLoginModule required \
user_{user}="{password}";
listener.name.mutual.ssl.client.auth=required
listener.name.oauth.sasl.enabled.mechanisms=OAUTHBEARER
listener.name.oauth.oauthbearer.sasl.jaas.config=\
org.apache.kafka.common.security.oauthbearer.OAuthBearerLoginModule required;
listener.name.oauth.oauthbearer.sasl.server.callback.handler.class=org.apache.kafka.common.security.oauthbearer.\
internals.unsecured.OAuthBearerUnsecuredValidatorCallbackHandler
"""


class SecuredKafka(Kafka):
    """The stack's open broker with three listeners more. Whoever comes by one of them is sent to no other."""

    def _write(self, site: Site, name: str, log_dir: str) -> None:
        super()._write(site, name, log_dir)
        ports = site.state.ports
        names = {listener: ports[listener] for listener in LISTENERS}
        more = _PROPERTIES.format(
            host=HOST,
            kafka=ports["kafka"],
            controller=ports["kafka-controller"],
            user=USER,
            password=PASSWORD,
            **names,
        )
        with (site.data / name).open("a") as file:
            file.write(more)


@dataclass(frozen=True)
class Broker:
    """Where it listens, by listener; the authority of its certificates, and what a client is let in with."""

    addresses: dict[str, str]
    tokens: Endpoint
    authority: Path
    client: Path

    def login(self, listener: str) -> dict[str, str]:
        """The settings of a client that is let in."""
        by: dict[str, dict[str, str]] = {
            "plain": {
                "KAFKA_SECURITY_PROTOCOL": "SASL_SSL",
                "KAFKA_SASL_MECHANISM": "PLAIN",
                "KAFKA_SASL_USERNAME": USER,
                "KAFKA_SASL_PASSWORD": PASSWORD,
            },
            "mutual": {
                "KAFKA_SECURITY_PROTOCOL": "SSL",
                "KAFKA_SSL_CERTIFICATE_LOCATION": str(self.client),
                "KAFKA_SSL_KEY_LOCATION": str(self.client),
            },
            "oauth": {
                "KAFKA_SECURITY_PROTOCOL": "SASL_SSL",
                "KAFKA_SASL_MECHANISM": "OAUTHBEARER",
                "KAFKA_SASL_USERNAME": CLIENT,
                "KAFKA_SASL_PASSWORD": SECRET,
                "KAFKA_OAUTH_TOKEN_URL": self.tokens.url,
                "KAFKA_OAUTH_SCOPE": SCOPE,
            },
        }
        return by[listener] | {"KAFKA_SSL_CA_LOCATION": str(self.authority)}

    def kafka(self, listener: str) -> dict[str, Any]:
        """The properties of a client that is let in."""
        values: dict[str, Any] = {name.lower(): value for name, value in self.login(listener).items()}
        return reaching(KafkaSettings(kafka_bootstrap_servers=self.addresses[listener], **values).kafka)

    def stranger(self, listener: str) -> dict[str, Any]:
        """The properties of one that has no password, no certificate, or no secret for a token."""
        own = ("ssl.certificate.location", "ssl.key.location")
        wrong = dict.fromkeys(("sasl.password", "sasl.oauthbearer.client.secret"), "guessed")
        given = self.kafka(listener)
        return {name: wrong.get(name, value) for name, value in given.items() if name not in own}


@pytest.fixture(scope="module")
def broker(scratch: Path) -> Iterator[Broker]:
    folder = scratch / "broker"
    folder.mkdir()
    authority = Authority()
    (folder / "ca.pem").write_bytes(authority.certificate())
    write_key(folder / "broker.pem", authority.issue("broker"))
    write_key(folder / "client.pem", authority.issue("client"))
    with running(SecuredKafka(), folder, *LISTENERS) as site, endpoint() as tokens:
        addresses = {listener: f"{HOST}:{site.state.ports[listener]}" for listener in LISTENERS}
        yield Broker(addresses, tokens, folder / "ca.pem", folder / "client.pem")


@pytest.fixture(scope="module", params=LISTENERS)
def secured(request: pytest.FixtureRequest, broker: Broker, servers: TestServers, scratch: Path) -> Iterator[System]:
    """The system on one of the listeners."""
    elsewhere = TestServers(broker.addresses[request.param], servers.registry, servers.postgres_admin, None)
    login: dict[str, Any] = broker.login(request.param)
    with System(elsewhere, scratch, **login) as system:
        yield system


def test_a_checkout_goes_its_whole_way(secured: System) -> None:
    request = secured.request()
    secured.publish(request)
    secured.await_status("checkout", request.checkout_id, "captured")
    secured.await_rest([request.checkout_id])
    secured.assert_clean()


def test_a_dead_letter_is_found_and_set_aside(secured: System) -> None:
    secured.shop.publish_raw("checkout.requested", b"c-broken", b"not Avro")
    secured.shop.flush()
    (letter,) = secured.await_letters("checkout", "c-broken", 1)
    secured.dlq("discard", letter.headers["dlq-id"].decode(), "--why", "a test", "--yes")
    (group,) = secured.dlq("groups", "--all")
    assert group["states"] == {"discarded": 1}


def test_the_observer_follows(secured: System) -> None:
    with worker(secured) as observer:
        request = secured.request()
        secured.publish(request)
        observer.await_state(request.checkout_id, "captured")


@pytest.mark.parametrize("listener", LISTENERS)
def test_who_has_no_key_no_token_or_no_password_is_not_let_in(broker: Broker, listener: str) -> None:
    AdminClient(broker.kafka(listener)).list_topics(timeout=20)
    with pytest.raises(KafkaException):
        AdminClient(broker.stranger(listener) | {"log_level": 0}).list_topics(timeout=3)


def test_a_certificate_of_another_authority_is_none(broker: Broker, tmp_path: Path) -> None:
    foreign = tmp_path / "foreign.pem"
    write_key(foreign, Authority().issue("client"))
    files = {"ssl.certificate.location": str(foreign), "ssl.key.location": str(foreign)}
    with pytest.raises(KafkaException):
        AdminClient(broker.kafka("mutual") | files | {"log_level": 0}).list_topics(timeout=3)


def test_tokens_are_asked_for_with_their_scope(broker: Broker) -> None:
    AdminClient(broker.kafka("oauth")).list_topics(timeout=20)
    assert broker.tokens.asked[-1] == {"grant_type": ["client_credentials"], "scope": [SCOPE]}


async def ends(kafka: dict[str, Any], topic: str) -> dict[tuple[str, int], Ends]:
    leaders = await opened(kafka)
    try:
        return await leaders.ends([(topic, 0)])
    finally:
        await leaders.close()


@pytest.mark.parametrize("listener", LISTENERS)
def test_where_partitions_end_is_asked_over_tls(broker: Broker, listener: str) -> None:
    kafka, topic = broker.kafka(listener), f"open-{listener}"
    admin: Any = AdminClient(kafka)
    admin.create_topics([NewTopic(topic, 1)])[topic].result(30)
    hanging = Producer({**kafka, "log_level": 2, "transactional.id": "hanging", "transaction.timeout.ms": 300_000})
    hanging.init_transactions(30)
    hanging.begin_transaction()
    hanging.produce(topic, b"never said")
    assert hanging.flush(30) == 0
    assert asyncio.run(ends(kafka, topic)) == {(topic, 0): Ends(0, 1)}
    with pytest.raises((KafkaError, OSError)):
        asyncio.run(ends(broker.stranger(listener), topic))
    hanging.abort_transaction(30)
