"""A broker that asks for a password, which can be changed while it runs."""

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from confluent_kafka.admin import AdminClient
from confluent_kafka.admin._scram import ScramCredentialInfo, ScramMechanism, UserScramCredentialUpsertion

from compose.stack.kafka import Kafka
from compose.stack.ports import HOST
from compose.stack.servers import Site
from tests.brokers import running

USER: Final = "checkout"
_SECURED: Final = "kafka-scram"
_ITERATIONS: Final = 4096
_PROPERTIES: Final = """
listeners=PLAINTEXT://{host}:{plain},CONTROLLER://{host}:{controller},SCRAM://{host}:{scram}
advertised.listeners=PLAINTEXT://{host}:{plain},SCRAM://{host}:{scram}
listener.security.protocol.map=PLAINTEXT:PLAINTEXT,CONTROLLER:PLAINTEXT,SCRAM:SASL_PLAINTEXT
listener.name.scram.sasl.enabled.mechanisms=SCRAM-SHA-512
listener.name.scram.scram-sha-512.sasl.jaas.config=org.apache.kafka.common.security.scram.ScramLoginModule required;
listener.name.scram.connections.max.reauth.ms={reauthenticate_ms}
"""


class _ScramKafka(Kafka):
    """The stack's broker with one listener more. Whoever comes by that one is sent to no other."""

    def __init__(self, reauthenticate_s: int) -> None:
        self._reauthenticate_ms = reauthenticate_s * 1000

    def _write(self, site: Site, name: str, log_dir: str) -> None:
        super()._write(site, name, log_dir)
        ports = site.state.ports
        more = _PROPERTIES.format(
            host=HOST,
            plain=ports["kafka"],
            controller=ports["kafka-controller"],
            scram=ports[_SECURED],
            reauthenticate_ms=self._reauthenticate_ms,
        )
        with (site.data / name).open("a") as file:
            file.write(more)


@dataclass(frozen=True)
class Broker:
    """address: of those who log in. open_address: of those who need not. log: what the broker says."""

    address: str
    open_address: str
    log: Path

    def set_password(self, password: str) -> None:
        """From now on this is the user's; connections that are open stay, until they have to log in again."""
        admin = AdminClient({"bootstrap.servers": self.open_address})
        info = ScramCredentialInfo(ScramMechanism.SCRAM_SHA_512, _ITERATIONS)
        change = UserScramCredentialUpsertion(USER, info, password.encode())
        for future in admin.alter_user_scram_credentials([change]).values():
            future.result(timeout=30)


@contextmanager
def scram_broker(folder: Path, password: str, reauthenticate_s: int = 0) -> Iterator[Broker]:
    """One that runs within the block. password: the user's. reauthenticate_s: clients log in again so often; 0: never.

    Python's asynchronous client can't: the broker closes its connections then.
    """
    folder.mkdir(parents=True)
    with running(_ScramKafka(reauthenticate_s), folder, _SECURED) as site:
        ports = site.state.ports
        broker = Broker(f"{HOST}:{ports[_SECURED]}", f"{HOST}:{ports['kafka']}", folder / "kafka.log")
        broker.set_password(password)
        yield broker
