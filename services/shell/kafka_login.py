"""Clients that live as long as the process, and log in with the password of the moment whenever they connect again."""

import time
from collections.abc import Callable
from typing import Any, Final, TypeVar

import structlog
from confluent_kafka import Consumer, Producer

from schemas.brokers import PASSWORD, Kafka, reaching

_EVERY_S: Final = 5.0
_Client = TypeVar("_Client", Consumer, Producer)

log = structlog.get_logger("shell.kafka")


class KafkaLogin:
    """Gives a password that was replaced in its file to the clients that are there; connections that are open stay."""

    def __init__(self, kafka: Kafka) -> None:
        self._kafka = kafka
        self._known = _password(kafka)
        self._clients: dict[str, Consumer | Producer] = {}
        self._looked_at = time.monotonic()

    def maker(self, name: str, kind: Callable[[dict[str, Any]], _Client]) -> Callable[[dict[str, Any]], _Client]:
        """What makes a client of this kind. name: another one of that name takes its place."""

        def make(config: dict[str, Any]) -> _Client:
            client = self._clients[name] = kind(config)
            return client

        return make

    def renew(self) -> bool:
        """Look, at most every few seconds, whether the password is another one; whether it was."""
        if not self._known or time.monotonic() - self._looked_at < _EVERY_S:
            return False
        self._looked_at = time.monotonic()
        given = reaching(self._kafka)
        if given[PASSWORD] == self._known:
            return False
        for client in list(self._clients.values()):
            client.set_sasl_credentials(given["sasl.username"], given[PASSWORD])
        self._known = given[PASSWORD]
        log.info("the broker's password is another one", clients=len(self._clients))
        return True


def _password(kafka: Kafka) -> str:
    return str(reaching(kafka).get(PASSWORD, ""))
