"""The fields of an event as its Avro schema has them, flat and in words."""

import json
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any, Final

from schemas.codec import avsc

ENVELOPE: Final = ("event_id", "checkout_id", "occurred_at")
"""What every event begins with."""
_LOGICAL: Final = {"uuid": "UUID, as text", "timestamp-micros": "instant (timestamp-micros)"}


@dataclass(frozen=True, slots=True)
class Field:
    """name: with `[].` before it for what stands in a list. default: as JSON; "" where there is none."""

    name: str
    type: str
    doc: str
    default: str = ""


def fields_of(event: str) -> list[Field]:
    """All fields, those of every event first, those of a list's items after the list."""
    return list(_fields(json.loads(avsc(event)), ""))


def own_fields(event: str) -> list[Field]:
    """Those that only this event has."""
    return [field for field in fields_of(event) if field.name not in ENVELOPE]


def _fields(record: dict[str, Any], before: str) -> Iterator[Field]:
    for field in record["fields"]:
        default = json.dumps(field["default"]) if "default" in field else ""
        yield Field(before + field["name"], _words(field["type"]), field["doc"], default)
        if isinstance(field["type"], dict) and field["type"]["type"] == "array":
            yield from _fields(field["type"]["items"], f"{before}{field['name']}[].")


def _words(kind: Any) -> str:
    match kind:
        case str():
            return kind
        case ["null", other]:
            return f"{_words(other)}, or null"
        case {"logicalType": logical}:
            return _LOGICAL[logical]
        case {"type": "array", "items": items}:
            return f"list of {items['name']}"
    raise ValueError(f"no words for the Avro type {kind}")
