"""A broker of a test's own, beside the one that all tests share."""

import os
from collections.abc import Iterable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

from compose.stack.kafka import Kafka
from compose.stack.paths import cache_dir
from compose.stack.ports import HOST, free_port
from compose.stack.processes import spawn, stop, wait_for
from compose.stack.servers import Site
from compose.stack.state import State

_START_S: Final = 60
_STOP_S: Final = 30
_GUARDED: Final = "kafka-guarded"
_PASSWORD: Final = "guarded"
_PROPERTIES: Final = """
listeners=PLAINTEXT://{host}:{plain},CONTROLLER://{host}:{controller},GUARDED://{host}:{guarded}
advertised.listeners=PLAINTEXT://{host}:{plain},GUARDED://{host}:{guarded}
listener.security.protocol.map=PLAINTEXT:PLAINTEXT,CONTROLLER:PLAINTEXT,GUARDED:SASL_PLAINTEXT
listener.name.guarded.sasl.enabled.mechanisms=PLAIN
listener.name.guarded.plain.sasl.jaas.config=org.apache.kafka.common.security.plain.PlainLoginModule required {users};
authorizer.class.name=org.apache.kafka.metadata.authorizer.StandardAuthorizer
allow.everyone.if.no.acl.found=false
super.users=User:ANONYMOUS
"""


@contextmanager
def running(server: Kafka, folder: Path, *more_ports: str) -> Iterator[Site]:
    """Start a broker in `folder`, which exists; it is gone afterwards. more_ports: names of further ones it takes."""
    ports: dict[str, int] = {}
    for name in (*server.ports, *more_ports):
        ports[name] = free_port(ports.values())
    site = Site(folder, cache_dir(os.environ), State(ports=ports), os.environ, lambda _: None)
    server.install(site)
    server.prepare(site)
    process = spawn(server.launch(site), folder / "kafka.log")
    try:
        assert wait_for(lambda: server.is_ready(site), _START_S), (folder / "kafka.log").read_text()
        yield site
    finally:
        stop([(process, server.stop_signal)], _STOP_S)


@dataclass(frozen=True)
class Guarded:
    """A broker with ACLs. plain: where everyone may do everything, as its super user. address: where one logs in."""

    plain: str
    address: str

    def settings(self, user: str) -> dict[str, str]:
        """The environment of a process that logs in."""
        return {
            "KAFKA_BOOTSTRAP_SERVERS": self.address,
            "KAFKA_SECURITY_PROTOCOL": "SASL_PLAINTEXT",
            "KAFKA_SASL_MECHANISM": "PLAIN",
            "KAFKA_SASL_USERNAME": user,
            "KAFKA_SASL_PASSWORD": _PASSWORD,
        }

    def login(self, user: str) -> dict[str, Any]:
        """The same as a client's properties."""
        return {
            "bootstrap.servers": self.address,
            "security.protocol": "SASL_PLAINTEXT",
            "sasl.mechanism": "PLAIN",
            "sasl.username": user,
            "sasl.password": _PASSWORD,
        }


class _GuardedKafka(Kafka):
    """The stack's broker with an authorizer, and a listener where users log in."""

    def __init__(self, users: Mapping[str, str]) -> None:
        self._users = " ".join(f'user_{name}="{password}"' for name, password in users.items())

    def _write(self, site: Site, name: str, log_dir: str) -> None:
        super()._write(site, name, log_dir)
        ports = site.state.ports
        more = _PROPERTIES.format(
            host=HOST,
            plain=ports["kafka"],
            controller=ports["kafka-controller"],
            guarded=ports[_GUARDED],
            users=self._users,
        )
        with (site.data / name).open("a") as file:
            file.write(more)


@contextmanager
def guarded(folder: Path, users: Iterable[str]) -> Iterator[Guarded]:
    """A broker with StandardAuthorizer and these users, none of which may do anything yet."""
    folder.mkdir()
    with running(_GuardedKafka(dict.fromkeys(users, _PASSWORD)), folder, _GUARDED) as site:
        yield Guarded(f"{HOST}:{site.state.ports['kafka']}", f"{HOST}:{site.state.ports[_GUARDED]}")
