"""Rights as KafkaUser manifests for Strimzi's User Operator, which makes users and passwords and sets their ACLs.

Source: https://strimzi.io/docs/operators/latest/configuring (KafkaUser, AclRule; API v1: Strimzi 0.49 and newer).
"""

import re
from collections.abc import Iterable, Mapping
from itertools import groupby
from operator import attrgetter
from typing import Any, Final

import yaml

from compose.acls.broker import AclsError
from compose.acls.rights import Right
from compose.acls.writing import camel

_NAME: Final = re.compile(r"[a-z0-9]([-.a-z0-9]*[a-z0-9])?")
_TYPES: Final = {"topic": "topic", "group": "group", "transactional-id": "transactionalId"}
_PATTERNS: Final = {"literal": "literal", "prefixed": "prefix"}


def manifests(rights: Iterable[Right], users: Mapping[str, str], cluster: str) -> str:
    """YAML, one KafkaUser for each user. cluster: the name of the Kafka resource. Raises AclsError for a bad name."""
    by_user: dict[str, list[Right]] = {}
    for right in rights:
        by_user.setdefault(users[right.principal], []).append(right)
    for name in (*by_user, cluster):
        if not _NAME.fullmatch(name):
            raise AclsError(f"{name!r} can't be a name in Kubernetes: it takes a-z, 0-9, - and . only")
    made = [_user(name, own, cluster) for name, own in by_user.items()]
    text: str = yaml.safe_dump_all(made, sort_keys=False, explicit_start=True, width=120)
    return text


def _user(name: str, rights: list[Right], cluster: str) -> dict[str, Any]:
    return {
        "apiVersion": "kafka.strimzi.io/v1",
        "kind": "KafkaUser",
        "metadata": {"name": name, "labels": {"strimzi.io/cluster": cluster}},
        "spec": {
            "authentication": {"type": "scram-sha-512"},
            "authorization": {"type": "simple", "acls": _acls(rights)},
        },
    }


def _acls(rights: list[Right]) -> list[dict[str, Any]]:
    by_resource = attrgetter("resource", "pattern", "name")
    return [
        {
            "resource": {"type": _TYPES[resource], "name": name, "patternType": _PATTERNS[pattern]},
            "operations": list(dict.fromkeys(camel(right.operation) for right in same)),
        }
        for (resource, pattern, name), same in groupby(sorted(rights, key=by_resource), by_resource)
    ]
