"""Names of Avro types, and what a schema is refused with. Pure. Source: Avro 1.12 specification, "Names"."""

import re
from collections.abc import Mapping
from typing import Any, Final

NAMED: Final = ("record", "error", "enum", "fixed")
"""Kinds of types that have a name."""
_NAME: Final = re.compile(r"[A-Za-z_][A-Za-z0-9_]*(\.[A-Za-z_][A-Za-z0-9_]*)*")


class WriterSchemaError(Exception):
    """A schema that nothing is decoded with; the text says why."""


def full_name(schema: Mapping[str, Any], enclosing: str) -> str:
    """A dotted name is a full name; any other has its own namespace, or the one round it."""
    name, space = schema.get("name"), schema.get("namespace")
    if not isinstance(name, str) or not _NAME.fullmatch(name):
        raise WriterSchemaError(f"a type has no name that is one: {str(name)[:60]!r}")
    if space is not None and (not isinstance(space, str) or (space and not _NAME.fullmatch(space))):
        raise WriterSchemaError(f"the namespace of {name[:60]} is none: {str(space)[:60]!r}")
    if "." in name:
        return name
    around = enclosing if space is None else space
    return f"{around}.{name}" if around else name


def space_of(name: str) -> str:
    """The namespace of a full name."""
    return name.rpartition(".")[0]
