"""A system on secured servers, where every process has a login of its own."""

from collections.abc import Sequence
from pathlib import Path
from typing import Any, Final

from compose.fleet import Fleet
from compose.stack import Stack
from schemas.choreography import SERVICES
from tests.servers import TestServers
from tests.system import System

_LOGIN: Final = ("KAFKA_SASL_USERNAME", "KAFKA_SASL_PASSWORD", "SCHEMA_REGISTRY_URL")
_TLS: Final = (
    "KAFKA_SECURITY_PROTOCOL",
    "KAFKA_SASL_MECHANISM",
    "KAFKA_SSL_CA_LOCATION",
    "SCHEMA_REGISTRY_CA_LOCATION",
)


class SecuredSystem(System):
    """The only system of a secured stack: its topics have no prefix, as the stack's rights have none.

    Commands of the tests log in as the developer, `dlq` as the drainer.
    """

    def __init__(self, stack: Stack, folder: Path, services: Sequence[str] = SERVICES, **settings: str) -> None:
        self._stack = stack
        mine = stack.env()
        servers = TestServers(
            mine["KAFKA_BOOTSTRAP_SERVERS"], mine["SCHEMA_REGISTRY_URL"], mine["POSTGRES_ADMIN_URL"], stack
        )
        login: dict[str, Any] = {name: mine[name] for name in (*_LOGIN, *_TLS)}
        super().__init__(servers, folder, services, **{"TOPIC_PREFIX": ""} | login | settings)
        self.fleet = Fleet(self.env, self.folder, services, own={name: self.environ(name) for name in services})

    def environ(self, principal: str) -> dict[str, str]:
        """The environment of a process of `principal`: its own login, and no variable that is none of its business."""
        theirs, mine = self._stack.env(principal), self._stack.env()
        known = {name: value for name, value in self.env.items() if name not in mine or name in theirs}
        return known | {name: theirs[name] for name in _LOGIN}

    def _drop(self) -> None:
        """Nothing: the servers end with the tests, and so does their folder."""
