"""Who logs in to a secured stack: a user of Kafka for every process and person, two of the registry."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any, Final

from confluent_kafka.admin import AdminClient
from confluent_kafka.admin._scram import (
    ScramCredentialInfo,
    ScramMechanism,
    UserScramCredentialAlteration,
    UserScramCredentialUpsertion,
)

from compose.acls import PRINCIPALS, Right, apply
from compose.acls import rights as derived_rights
from compose.acls.rights import AUDITOR, DRAINER, EXPORTER, PRIVACY, SETUP
from compose.stack.errors import StackError
from compose.stack.processes import wait_for
from compose.stack.state import State
from schemas.choreography import SHOP

DEVELOPER: Final = "developer"
"""Who sits at this machine: may what the commands need, and nothing that is a service's."""
_COMMANDS: Final = (SETUP, SHOP, AUDITOR, DRAINER, EXPORTER, PRIVACY)
KAFKA: Final = (*PRINCIPALS, DEVELOPER)

READER: Final = "reader"
WRITER: Final = "writer"
REGISTRY: Final = (READER, WRITER)
_REGISTERS: Final = (SETUP, DEVELOPER)

# RFC 7677's least: a password that is random needs no slow hash, and every connection pays for it
_ITERATIONS: Final = 4096
_ANSWER_S: Final = 30.0
_SEEN_S: Final = 10.0


def names() -> Iterator[str]:
    """What the passwords of a secured stack are kept by."""
    yield from (f"kafka/{user}" for user in KAFKA)
    yield from (f"registry/{user}" for user in REGISTRY)


def kafka_password(state: State, user: str) -> str:
    """The password of a user of Kafka."""
    return state.passwords[f"kafka/{user}"]


def registry_login(state: State, principal: str) -> tuple[str, str]:
    """(user, password) that a principal has at the registry: only set-up and the developer write."""
    user = WRITER if principal in _REGISTERS else READER
    return user, state.passwords[f"registry/{user}"]


def make(admin: AdminClient, state: State, topic_prefix: str) -> None:
    """Make the users that Kafka doesn't know yet, and set everybody's rights. Raises KafkaException, StackError."""
    missing = set(KAFKA) - _known(admin)
    _add(admin, {user: kafka_password(state, user) for user in missing})
    apply(admin, rights(topic_prefix), {user: user for user in KAFKA})


def rights(topic_prefix: str) -> list[Right]:
    """What everybody may, the developer included."""
    derived = derived_rights(topic_prefix)
    developer = {right._replace(principal=DEVELOPER) for right in derived if right.principal in _COMMANDS}
    return [*derived, *sorted(developer)]


def _known(admin: AdminClient) -> set[str]:
    asked: Any = admin.describe_user_scram_credentials()  # of all users: one future, whatever its type says
    return set(asked.result(_ANSWER_S))


def _add(admin: AdminClient, passwords: Mapping[str, str]) -> None:
    how = ScramCredentialInfo(ScramMechanism.SCRAM_SHA_512, _ITERATIONS)
    wanted: list[UserScramCredentialAlteration] = [
        UserScramCredentialUpsertion(user, how, secret.encode()) for user, secret in passwords.items()
    ]
    if not wanted:
        return
    for made in admin.alter_user_scram_credentials(wanted).values():
        made.result(_ANSWER_S)
    # the controller has them by now; the broker, which checks logins, hears of them a moment later
    if not wait_for(lambda: set(KAFKA) <= _known(admin), _SEEN_S):
        raise StackError(f"Kafka hasn't taken its users within {_SEEN_S:.0f} s")
