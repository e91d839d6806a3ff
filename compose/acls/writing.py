"""Rights as text: a table for people, JSON, lines for Kafka's own tool."""

import shlex
from collections.abc import Iterable, Iterator, Mapping
from itertools import groupby
from operator import attrgetter
from typing import Any, Final

from rich.table import Table

from compose.acls.broker import Difference
from compose.acls.rights import Right
from schemas.terminal import shown

_TOOL: Final = 'kafka-acls.sh --bootstrap-server "$KAFKA_BOOTSTRAP_SERVERS" --command-config admin.properties --add'
_BY_PRINCIPAL: Final = attrgetter("principal")


def table(rights: Iterable[Right], users: Mapping[str, str]) -> Table:
    """One row for each thing that a principal does, with the resources it takes."""
    made = Table("principal", "may", "on", "why", title="rights on Kafka", title_justify="left", show_lines=True)
    for who, own in groupby(rights, _BY_PRINCIPAL):
        first = _named(who, users[who])
        for (operation, resource, pattern, why), names in _alike(own, "operation", "resource", "pattern", "why"):
            where = "\n".join(f"{name}{'…' if pattern == 'prefixed' else ''}" for name in names)
            cells = (first, operation.replace("_", " "), f"{resource}\n{where}", why)
            made.add_row(*(shown(cell, lines=True) for cell in cells))
            first = ""
    return made


def _named(principal: str, user: str) -> str:
    return principal if user == principal else f"{principal}\nUser:{user}"


def as_json(rights: Iterable[Right], users: Mapping[str, str]) -> list[dict[str, Any]]:
    """For `--json`. user: as brokers name it."""
    return [{"user": f"User:{users[right.principal]}", **right._asdict()} for right in rights]


def kafka_acls(rights: Iterable[Right], users: Mapping[str, str]) -> Iterator[str]:
    """Lines for a shell, which set the rights with kafka-acls.sh."""
    for who, own in groupby(rights, _BY_PRINCIPAL):
        for (operation, resource, pattern), names in _alike(own, "operation", "resource", "pattern"):
            words = ["--allow-principal", f"User:{users[who]}", "--operation", camel(operation)]
            words += [word for name in names for word in (f"--{resource}", name)]
            words += ["--resource-pattern-type", pattern] if pattern != "literal" else []
            yield f"{_TOOL} {shlex.join(words)}"


def camel(operation: str) -> str:
    """`alter_configs` as Kafka's tools and Strimzi write it: `AlterConfigs`."""
    return "".join(word.capitalize() for word in operation.split("_"))


def differences_table(found: Iterable[Difference]) -> Table:
    """For people: what is missing, then what is too much."""
    columns = ("", "principal", "operation", "resource", "why")
    made = Table(*columns, title="brokers and map differ", title_justify="left")
    for one in found:
        denies = "denies " if one.permission == "deny" else ""
        operation = f"{denies}{one.operation}{'' if one.host == '*' else f' from {one.host}'}"
        resource = f"{one.resource} {one.name}{'…' if one.pattern == 'prefixed' else ''}"
        made.add_row(*(shown(cell) for cell in (one.what, one.principal, operation, resource, one.why)))
    return made


def _alike(rights: Iterable[Right], *fields: str) -> Iterator[tuple[tuple[str, ...], list[str]]]:
    """(values of these fields, names of the rights that have them), in the order in which they come first."""
    found: dict[tuple[str, ...], list[str]] = {}
    for right in rights:
        found.setdefault(tuple(getattr(right, field) for field in fields), []).append(right.name)
    return iter(found.items())
