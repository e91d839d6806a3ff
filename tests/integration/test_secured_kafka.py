"""The whole system on a broker that wants TLS and a password, as a managed Kafka does."""

import shutil
import subprocess
import sys
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

import pytest

from compose.stack.kafka import Kafka
from compose.stack.ports import HOST
from compose.stack.servers import Site
from schemas.choreography import SERVICES
from tests.brokers import running
from tests.servers import TestServers
from tests.system import System

pytestmark = pytest.mark.slow

USER: Final = "checkout"
PASSWORD: Final = "correct-horse"
SECURED: Final = "kafka-secured"

_PROPERTIES: Final = """
listeners=PLAINTEXT://{host}:{plain},CONTROLLER://{host}:{controller},SECURED://{host}:{secured}
advertised.listeners=PLAINTEXT://{host}:{plain},SECURED://{host}:{secured}
listener.security.protocol.map=PLAINTEXT:PLAINTEXT,CONTROLLER:PLAINTEXT,SECURED:SASL_SSL
listener.name.secured.sasl.enabled.mechanisms=PLAIN
listener.name.secured.plain.sasl.jaas.config=org.apache.kafka.common.security.plain.PlainLoginModule required \
user_{user}="{password}";
listener.name.secured.ssl.keystore.type=PEM
listener.name.secured.ssl.keystore.location=broker.pem
"""


class SecuredKafka(Kafka):
    """The stack's broker with one listener more. Whoever comes by that one is sent to no other."""

    def _write(self, site: Site, name: str, log_dir: str) -> None:
        super()._write(site, name, log_dir)
        ports = site.state.ports
        more = _PROPERTIES.format(
            host=HOST,
            plain=ports["kafka"],
            controller=ports["kafka-controller"],
            secured=ports[SECURED],
            user=USER,
            password=PASSWORD,
        )
        with (site.data / name).open("a") as file:
            file.write(more)


@dataclass(frozen=True)
class Broker:
    """Where it listens, and the certificate that signs itself."""

    address: str
    certificate: Path


def certify(folder: Path) -> Path:
    """Write the broker's key and certificate; the certificate alone is what clients trust."""
    key, certificate = folder / "key.pem", folder / "certificate.pem"
    subprocess.run(
        [
            *("openssl", "req", "-x509", "-newkey", "rsa:2048", "-nodes", "-days", "2", "-subj", f"/CN={HOST}"),
            *("-addext", f"subjectAltName=IP:{HOST}", "-keyout", key, "-out", certificate),
        ],
        check=True,
        capture_output=True,
        timeout=60,
    )
    (folder / "broker.pem").write_text(key.read_text() + certificate.read_text())
    return certificate


@pytest.fixture(scope="module")
def broker(scratch: Path) -> Iterator[Broker]:
    if shutil.which("openssl") is None:
        pytest.skip("no openssl here")
    folder = scratch / "secured"
    folder.mkdir()
    certificate = certify(folder)
    with running(SecuredKafka(), folder, SECURED) as site:
        yield Broker(f"{HOST}:{site.state.ports[SECURED]}", certificate)


@pytest.fixture(scope="module")
def secured(broker: Broker, servers: TestServers, scratch: Path) -> Iterator[System]:
    elsewhere = TestServers(broker.address, servers.registry, servers.postgres_admin, None)
    login: dict[str, Any] = {
        "KAFKA_SECURITY_PROTOCOL": "SASL_SSL",
        "KAFKA_SASL_MECHANISM": "PLAIN",
        "KAFKA_SASL_USERNAME": USER,
        "KAFKA_SASL_PASSWORD": PASSWORD,
        "KAFKA_SSL_CA_LOCATION": str(broker.certificate),
    }
    with System(elsewhere, scratch, **login) as system:
        yield system


def checkout(system: System, *arguments: str, **other: str) -> subprocess.CompletedProcess[str]:
    """Run a command of `checkout`, with these settings in place of the system's."""
    command = [str(Path(sys.executable).with_name("checkout")), *arguments]
    environ = system.env | other
    return subprocess.run(command, env=environ, capture_output=True, text=True, check=False, timeout=60, input="")


def test_a_checkout_goes_its_whole_way_over_tls(secured: System) -> None:
    request = secured.request()
    secured.publish(request)
    secured.await_status("checkout", request.checkout_id, "captured")
    secured.await_rest([request.checkout_id])
    secured.assert_clean()


def test_a_dead_letter_is_found_and_set_aside_over_tls(secured: System) -> None:
    secured.shop.publish_raw("checkout.requested", b"c-broken", b"not Avro")
    secured.shop.flush()
    (letter,) = secured.await_letters("checkout", "c-broken", 1)
    secured.dlq("discard", letter.headers["dlq-id"].decode(), "--why", "a test", "--yes")
    (group,) = secured.dlq("groups", "--all")
    assert group["states"] == {"discarded": 1}


@pytest.mark.parametrize(
    "wrong", [{"KAFKA_SASL_PASSWORD": "guessed"}, {"KAFKA_SECURITY_PROTOCOL": "SASL_PLAINTEXT"}], ids=str
)
def test_who_does_not_log_in_is_told_in_one_line(secured: System, wrong: dict[str, str]) -> None:
    done = checkout(secured, "publish", "-", **wrong)
    assert done.returncode == 1, done
    assert done.stderr.startswith("checkout publish: Kafka: ")
    assert done.stderr.count("\n") == 1


def test_the_password_is_in_no_log(secured: System) -> None:
    for service in SERVICES:
        assert PASSWORD not in secured.fleet.log(service).read_text(encoding="utf-8")
