"""Whether what a writer writes is what a reader means, down to logical types. Pure.

Source: Avro 1.12 specification, "Schema Resolution".
"""

from collections.abc import Mapping
from typing import Any, Final

from schemas.avro_names import NAMED, WriterSchemaError, full_name, space_of

LEAST_BYTES: Final = {"null": 0, "boolean": 1, "int": 1, "long": 1, "float": 4, "double": 8, "bytes": 1, "string": 1}
"""Primitive type -> bytes that a value takes at least."""
_PROMOTED: Final = {
    "int": ("int", "long", "float", "double"),
    "long": ("long", "float", "double"),
    "float": ("float", "double"),
    "string": ("string", "bytes"),
    "bytes": ("bytes", "string"),
}
"""Writer's type -> reader's types that can read it."""


class Resolution:
    """named: the writer's types, each with the namespace in which its own types are named."""

    def __init__(self, named: Mapping[str, tuple[Mapping[str, Any], str]]) -> None:
        self._named = named

    def check(self, writer: Any, space: str, reader: Any, path: str) -> None:
        """Raises WriterSchemaError naming the path of what differs."""
        writer, space = self._definition(writer, space)
        if isinstance(reader, list):
            self._any(writer, space, reader, path)
        elif isinstance(writer, list):
            self._any_of(writer, space, reader, path)
        else:
            self._one(writer, space, reader, path)

    def _definition(self, writer: Any, space: str) -> tuple[Any, str]:
        """A name stands for what it names."""
        while isinstance(writer, dict) and not isinstance(writer.get("type"), str):
            writer = writer["type"]
        if isinstance(writer, str) and writer not in LEAST_BYTES:
            full = writer if writer in self._named else f"{space}.{writer}"
            return self._named[full]
        if isinstance(writer, dict) and writer.get("type") in NAMED:
            return writer, space_of(full_name(writer, space))
        return writer, space

    def _any(self, writer: Any, space: str, reader: list[Any], path: str) -> None:
        """One branch of the writer has to fit one of the reader; which one was written is seen in each message."""
        branches = writer if isinstance(writer, list) else [writer]
        for branch in branches:
            if _type_of(branch) == "null":
                continue
            fitting = [each for each in reader if _fits(_type_of(self._definition(branch, space)[0]), _type_of(each))]
            if not fitting:
                raise WriterSchemaError(f"{path} is {_type_of(branch)}, not {' or '.join(map(_type_of, reader))}")
            self.check(branch, space, fitting[0], path)

    def _any_of(self, writer: list[Any], space: str, reader: Any, path: str) -> None:
        fitting = [b for b in writer if _fits(_type_of(self._definition(b, space)[0]), _type_of(reader))]
        if not fitting:
            raise WriterSchemaError(f"{path} is {' or '.join(map(_type_of, writer))}, not {_type_of(reader)}")
        for branch in fitting:
            self.check(branch, space, reader, path)

    def _one(self, writer: Any, space: str, reader: Any, path: str) -> None:
        ours, theirs = _type_of(reader), _type_of(writer)
        if not _fits(theirs, ours):
            raise WriterSchemaError(f"{path} is {theirs}, not {ours}")
        logical = _logical(reader)
        if logical != _logical(writer) or (logical and theirs != ours):
            raise WriterSchemaError(f"{path} is {theirs} with logical type {_logical(writer)}, not {logical}")
        if ours == "record":
            self._fields(writer, space, reader, path)
        elif ours == "array":
            self.check(writer["items"], space, reader["items"], f"{path}[]")

    def _fields(self, writer: Mapping[str, Any], space: str, reader: Mapping[str, Any], path: str) -> None:
        theirs = {field["name"]: field for field in writer["fields"]}
        for field in reader["fields"]:
            name, found = field["name"], theirs.get(field["name"])
            if found is not None:
                self.check(found["type"], space, field["type"], f"{path}.{name}")
            elif "default" not in field:
                raise WriterSchemaError(f"it has no field {name}")


def _type_of(schema: Any) -> str:
    while isinstance(schema, dict):
        schema = schema.get("type")
    return "union" if isinstance(schema, list) else str(schema)[:60]


def _fits(writer: str, reader: str) -> bool:
    return reader in _PROMOTED.get(writer, (writer,))


def _logical(schema: Any) -> str | None:
    found = schema.get("logicalType") if isinstance(schema, dict) else None
    return None if found is None else str(found)[:60]
