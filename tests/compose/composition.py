"""compose/compose.yaml as data, with what the tests ask of it."""

import re
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any, Final

import yaml

ROOT: Final = Path(__file__).parents[2]
FILE: Final = ROOT / "compose" / "compose.yaml"
TEXT: Final = FILE.read_text(encoding="utf-8")
COMPOSE: Final[dict[str, Any]] = yaml.safe_load(TEXT)
SERVICES: Final[dict[str, dict[str, Any]]] = COMPOSE["services"]
OURS: Final = ("provider", "setup", "checkout", "payment", "warehouse", "observer", "dlq-exporter")
SEALED: Final = ("prometheus", "alertmanager", "grafana", "jaeger")
"""Somebody else's, that write to their volumes and /tmp only."""
PROFILES: Final = {"watch": {"observer", "dlq-exporter", "prometheus", "alertmanager", "grafana"}, "traces": {"jaeger"}}

VARIABLE: Final = re.compile(r"\$\{(?P<name>\w+)(?P<how>:[-?])?(?P<text>[^}]*)\}")


def environment(service: str) -> dict[str, str]:
    """What the file gives a service."""
    return {name: str(value) for name, value in SERVICES[service].get("environment", {}).items()}


def resolve(text: str, given: Mapping[str, str]) -> str:
    """Fill in the variables as Compose does; KeyError for a required one that isn't given."""
    return VARIABLE.sub(lambda found: _value(found, given), text)


def _value(found: re.Match[str], given: Mapping[str, str]) -> str:
    if found["how"] == ":-":
        return given.get(found["name"]) or found["text"]
    return given[found["name"]]


def started(*profiles: str) -> set[str]:
    """The services that run with these profiles."""
    named = {name: service.get("profiles", []) for name, service in SERVICES.items()}
    return {name for name, mine in named.items() if not mine or set(mine) & set(profiles)}


def ports() -> list[tuple[str, str]]:
    """(service, published port as it is written)."""
    return [(service, str(port)) for service, settings in SERVICES.items() for port in settings.get("ports", [])]


def listens(service: str, port: int) -> bool:
    """Whether a service publishes this port of its container, and so listens on it."""
    return any(text.endswith(f":{port}") for name, text in ports() if name == service)


def strings(node: object) -> Iterator[str]:
    """Every text of a YAML tree."""
    if isinstance(node, dict):
        for value in node.values():
            yield from strings(value)
    elif isinstance(node, list):
        for value in node:
            yield from strings(value)
    else:
        yield str(node)
