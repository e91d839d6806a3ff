"""`checkout acls`: who may do what on Kafka, written down, set on the brokers, or held against them."""

import os
import re
from collections.abc import Mapping, Sequence
from typing import Annotated, Final

import typer
from confluent_kafka.admin import AdminClient

from compose.acls import writing
from compose.acls.broker import AclsError, Difference, apply, check_readable, differences
from compose.acls.rights import PRINCIPALS, Right, rights
from compose.console import console
from compose.failing import or_could_not
from compose.settings import Brokers
from dlq.offsets import QUIET
from schemas.terminal import json_text
from services.shell.settings import read_settings

DIFFERENT: Final = 1
_TOPIC: Final = re.compile(r"[A-Za-z0-9._-]*")
_USER: Final = "User:"

Json = Annotated[bool, typer.Option("--json", help="Print JSON; with --check what differs.")]
KafkaAcls = Annotated[bool, typer.Option("--kafka-acls", help="Print lines for kafka-acls.sh.")]
Strimzi = Annotated[bool, typer.Option("--strimzi", help="Print KafkaUser manifests, one for each user.")]
Cluster = Annotated[str, typer.Option("--cluster", metavar="NAME", help="With --strimzi: the Kafka that is meant.")]
Apply = Annotated[bool, typer.Option("--apply", help="Set what is missing on the brokers; nothing is removed.")]
Check = Annotated[bool, typer.Option("--check", help="Exit 1 when the brokers' ACLs are others, and say which.")]
Principal = Annotated[
    list[str] | None,
    typer.Option("--principal", metavar="NAME=User:X", help="The Kafka user of a principal  [its own name]."),
]
UserPrefix = Annotated[str, typer.Option("--user-prefix", metavar="TEXT", help="Put before the names of all others.")]
Only = Annotated[list[str] | None, typer.Option("--only", metavar="NAME", help="This principal; may be repeated.")]
Allow = Annotated[
    list[str] | None,
    typer.Option("--allow", metavar="User:X", help="With --check: another user, whose ACLs are no finding."),
]


def acls(  # noqa: PLR0913 - one command, and every option of it
    *,
    as_json: Json = False,
    kafka_acls: KafkaAcls = False,
    strimzi: Strimzi = False,
    cluster: Cluster = "kafka",
    set_them: Apply = False,
    check: Check = False,
    principal: Principal = None,
    user_prefix: UserPrefix = "",
    only: Only = None,
    allow: Allow = None,
) -> None:
    """Who may do what on Kafka, derived from the map: show it, set it on the brokers, hold the brokers against it."""
    with or_could_not("acls"):
        _check_modes({"--json": as_json and not check, "--kafka-acls": kafka_acls, "--strimzi": strimzi,
                      "--apply": set_them, "--check": check})  # fmt: skip
        users = _users(principal or (), user_prefix)
        chosen = _chosen(only or ())
        found = [right for right in rights(_topic_prefix()) if right.principal in chosen]
        if check:
            others = [user for name, user in users.items() if name not in chosen]
            theirs = {name: users[name] for name in chosen}
            differing = differences(_admin(), found, theirs, [*others, *map(_user, allow or ())])
        elif set_them:
            new = apply(_admin(), found, users)
            typer.echo(f"{new} ACLs set; the others of {len(found)} rights were there")
        else:
            _print(found, users, as_json=as_json, kafka_acls=kafka_acls, strimzi=cluster if strimzi else "")
    if check:
        _tell(differing, as_json=as_json)
        raise typer.Exit(DIFFERENT if differing else 0)


def _print(found: Sequence[Right], users: Mapping[str, str], *, as_json: bool, kafka_acls: bool, strimzi: str) -> None:
    """strimzi: the name of its Kafka; "": in another form."""
    if as_json:
        typer.echo(json_text(writing.as_json(found, users), indent=2))
    elif kafka_acls:
        typer.echo("\n".join(writing.kafka_acls(found, users)))
    elif strimzi:
        # imported here: it needs PyYAML, and no other form does
        from compose.acls.strimzi import manifests  # noqa: PLC0415

        typer.echo(manifests(found, users, strimzi), nl=False)
    else:
        console().print(writing.table(found, users))


def _tell(found: Sequence[Difference], *, as_json: bool) -> None:
    if as_json:
        typer.echo(json_text([one._asdict() for one in found], indent=2))
    elif found:
        console().print(writing.differences_table(found))
    else:
        typer.echo("the brokers' ACLs are those of the map")


def _check_modes(asked: Mapping[str, bool]) -> None:
    names = [name for name, is_asked in asked.items() if is_asked]
    if len(names) > 1:
        raise AclsError(f"{' and '.join(names)}: one of them at a time")


def _chosen(only: Sequence[str]) -> tuple[str, ...]:
    for name in only:
        _check_known("--only", name)
    return tuple(name for name in PRINCIPALS if name in only or not only)


def _users(given: Sequence[str], prefix: str) -> dict[str, str]:
    """Principal -> Kafka user. Raises AclsError."""
    users = {name: prefix + name for name in PRINCIPALS}
    for assignment in given:
        name, equals, user = assignment.partition("=")
        if not equals or not _user(user):
            raise AclsError(f"--principal {assignment!r} is not NAME=User:X")
        _check_known("--principal", name)
        users[name] = _user(user)
    return users


def _check_known(option: str, name: str) -> None:
    if name not in PRINCIPALS:
        raise AclsError(f"{option} {name!r}: there is no such principal; they are {', '.join(PRINCIPALS)}")


def _user(text: str) -> str:
    return text.removeprefix(_USER)


def _topic_prefix(environ: Mapping[str, str] = os.environ) -> str:
    prefix = environ.get("TOPIC_PREFIX", "")
    if not _TOPIC.fullmatch(prefix):
        raise AclsError(f"TOPIC_PREFIX={prefix!r}: a topic's name has letters, digits, . _ and - only")
    return prefix


def _admin() -> AdminClient:
    """A client of brokers that tell their ACLs. Raises AclsError, KafkaException."""
    kafka = read_settings(Brokers).kafka
    check_readable(kafka)
    return AdminClient({**kafka, **QUIET})
