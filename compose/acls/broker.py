"""Sets rights as ACLs on brokers, and says where the two differ, with a login that may alter (describe) the cluster."""

import asyncio
import logging
from collections.abc import Collection, Iterable, Mapping
from typing import Any, Final, Literal, NamedTuple

from aiokafka.client import AIOKafkaClient
from aiokafka.errors import KafkaError as ClientError
from aiokafka.protocol.admin import DescribeAclsRequest
from confluent_kafka import KafkaError, KafkaException
from confluent_kafka.admin import AdminClient
from confluent_kafka.admin._acl import AclBinding, AclBindingFilter, AclOperation, AclPermissionType
from confluent_kafka.admin._resource import ResourcePatternType, ResourceType

from compose.acls.rights import Right, is_shared
from schemas.brokers import Kafka
from schemas.kafka.raw import properties

_TIMEOUT_S: Final = 10.0
_ONE_GROUP: Final = (3, "checkout", 3, None, None, 1, 1)
"""A literal group's name, of any principal, host, operation and permission, in the numbers of Kafka's protocol."""
_EVERYTHING: Final[tuple[Any, ...]] = (
    *(ResourceType.ANY, None, ResourcePatternType.ANY),
    *(None, None, AclOperation.ANY, AclPermissionType.ANY),
)
"""Of any kind, name and pattern, and of any principal, host, operation and permission."""
_ANY_HOST: Final = "*"
_ANY_NAME: Final = "*"
_TYPES: Final = {
    "topic": ResourceType.TOPIC,
    "group": ResourceType.GROUP,
    "transactional-id": ResourceType.TRANSACTIONAL_ID,
}
_NAMES: Final = {kind: name for name, kind in _TYPES.items()} | {ResourceType.BROKER: "cluster"}
_REASONS: Final = {
    KafkaError.SECURITY_DISABLED: "the brokers have no authorizer: whoever reaches them may do everything."
    " authorizer.class.name=org.apache.kafka.metadata.authorizer.StandardAuthorizer is theirs",
    KafkaError.CLUSTER_AUTHORIZATION_FAILED: "this login may not: it takes ALTER on the cluster to set ACLs, and"
    " DESCRIBE to read them",
}


class AclsError(Exception):
    """ACLs can't be set or read, or not as asked; the text says why."""


class Difference(NamedTuple):
    """An ACL that is missing, or one that no right of the map explains. principal: as brokers name it.

    why: of the right, where one is missing. A finding that denies something is `too much` as well.
    """

    what: Literal["missing", "too much"]
    principal: str
    permission: str
    operation: str
    resource: str
    pattern: str
    name: str
    host: str
    why: str


def apply(admin: AdminClient, rights: Iterable[Right], users: Mapping[str, str]) -> int:
    """Set the rights of those principals that have a user; how many ACLs are new. What is there already stays.

    users: principal -> Kafka user, without `User:`. Raises AclsError, KafkaException.
    """
    there = set(_found(admin))
    new = [acl for acl in bindings(rights, users) if acl not in there]
    for future in (admin.create_acls(new, request_timeout=_TIMEOUT_S) if new else {}).values():
        _result(future)
    return len(new)


def check_readable(kafka: Kafka) -> None:
    """Be sure that ACLs can be read: confluent-kafka takes a refusal for an answer without any.

    Raises AclsError, KafkaException.
    """
    # it warns of passwords in the clear, and logs what is raised here
    logging.getLogger("aiokafka").setLevel(logging.CRITICAL)
    try:
        code = asyncio.run(asyncio.wait_for(_answer_of(kafka), _TIMEOUT_S))
    except (ClientError, OSError, TimeoutError) as error:
        why = f"no answer about ACLs: {type(error).__name__}: {error}"
        raise KafkaException(KafkaError(KafkaError._TRANSPORT, why)) from error  # noqa: SLF001
    if code:
        raise AclsError(_REASONS.get(code, f"the brokers don't tell their ACLs: error {code}"))


async def _answer_of(kafka: Kafka) -> int:
    """The error code of a look at one group's ACLs; 0 where they may be looked at."""
    client = AIOKafkaClient(**properties(kafka))
    try:
        await client.bootstrap()
        answer = await client.send(client.get_random_node(), DescribeAclsRequest(*_ONE_GROUP))
        return int(answer.error_code)
    finally:
        await client.close()


def differences(
    admin: AdminClient, rights: Iterable[Right], users: Mapping[str, str], allowed: Collection[str] = ()
) -> list[Difference]:
    """Where ACLs and rights differ: ACLs of these users on anything, and of anybody else on what the rights are about.

    users: as of `apply`. allowed: Kafka users whose ACLs on these resources are known otherwise; those of another
    installation on names that both share are none. Raises KafkaException; see `check_readable`.
    """
    wanted = bindings(rights, users)
    own = [acl for acl, right in wanted.items() if not is_shared(right)]
    there = set(_found(admin))
    ours = {_principal(user) for user in users.values()}
    known = {_principal(user) for user in allowed} - ours
    missing = [_difference("missing", acl, right.why) for acl, right in wanted.items() if acl not in there]
    extra = [
        _difference("too much", acl)
        for acl in sorted(there - set(wanted))
        if acl.principal in ours or (acl.principal not in known and any(_meets(acl, one) for one in own))
    ]
    return [*missing, *extra]


def bindings(rights: Iterable[Right], users: Mapping[str, str]) -> dict[AclBinding, Right]:
    """The ACL of each right whose principal has a user."""
    return {_binding(right, users[right.principal]): right for right in rights if right.principal in users}


def _binding(right: Right, user: str) -> AclBinding:
    return AclBinding(
        _TYPES[right.resource],
        right.name,
        ResourcePatternType[right.pattern.upper()],
        _principal(user),
        _ANY_HOST,
        AclOperation[right.operation.upper()],
        AclPermissionType.ALLOW,
    )


def _principal(user: str) -> str:
    return f"User:{user}"


def _found(admin: AdminClient) -> list[AclBinding]:
    found: list[AclBinding] = _result(admin.describe_acls(AclBindingFilter(*_EVERYTHING), request_timeout=_TIMEOUT_S))
    return found


def _result(future: Any) -> Any:
    try:
        return future.result(2 * _TIMEOUT_S)
    except KafkaException as error:
        reason = _REASONS.get(error.args[0].code())
        if reason is None:
            raise
        raise AclsError(reason) from error


def _meets(acl: AclBinding, wanted: AclBinding) -> bool:
    """Whether there is a resource that both are about."""
    if acl.restype != wanted.restype:
        return False
    if acl.name == _ANY_NAME and acl.resource_pattern_type == ResourcePatternType.LITERAL:
        return True
    return (
        acl.name == wanted.name
        or (acl.resource_pattern_type == ResourcePatternType.PREFIXED and wanted.name.startswith(acl.name))
        or (wanted.resource_pattern_type == ResourcePatternType.PREFIXED and acl.name.startswith(wanted.name))
    )


def _difference(what: Literal["missing", "too much"], acl: AclBinding, why: str = "") -> Difference:
    kind, pattern, operation, permission = _enums(acl)
    return Difference(
        what=what,
        principal=acl.principal,
        permission=permission.name.lower(),
        operation=operation.name.lower(),
        resource=_NAMES.get(kind, kind.name.lower()),
        pattern=pattern.name.lower(),
        name=acl.name,
        host=acl.host,
        why=why,
    )


def _enums(acl: AclBinding) -> tuple[Any, Any, Any, Any]:
    """Typed by the client as what its constructor takes."""
    return acl.restype, acl.resource_pattern_type, acl.operation, acl.permission_type
