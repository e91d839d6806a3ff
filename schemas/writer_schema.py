"""Whether a writer's schema may be used to decode an event. Pure: text in, parsed schema or a reason out.

Anybody who can register a schema decides what a decoder does with a message: recursion overflows its stack, an array
of null makes 2^40 items out of nine bytes, a field without its logical type becomes a number where a time belongs. So a
schema is checked before the first message is decoded with it.

Source: Avro 1.12 specification, "Names", "Schema Resolution".
"""

import re
from collections.abc import Mapping
from typing import Any, Final, NamedTuple

from schemas import strict_json

MAX_SCHEMA_BYTES: Final = 256 * 1024
MAX_DEPTH: Final = 32
MAX_NODES: Final = 10_000
"""Values that one record may decode to, arrays and maps aside."""
MAX_NODES_A_BYTE: Final = 16
"""Values that an item of an array or map may decode to for each byte that it takes at least."""
MAX_FIXED: Final = 1024 * 1024
_NAME: Final = re.compile(r"[A-Za-z_][A-Za-z0-9_]*(\.[A-Za-z_][A-Za-z0-9_]*)*")
_BYTES: Final = {"null": 0, "boolean": 1, "int": 1, "long": 1, "float": 4, "double": 8, "bytes": 1, "string": 1}
"""Primitive type -> bytes that a value takes at least."""
_PROMOTED: Final = {
    "int": ("int", "long", "float", "double"),
    "long": ("long", "float", "double"),
    "float": ("float", "double"),
    "string": ("string", "bytes"),
    "bytes": ("bytes", "string"),
}
"""Writer's type -> reader's types that can read it."""
_NAMED: Final = ("record", "error", "enum", "fixed")


class WriterSchemaError(Exception):
    """A schema that nothing is decoded with; the text says why."""


class _Size(NamedTuple):
    """nodes: values that a value of this type decodes to at most, arrays aside. least: bytes that it takes at least."""

    nodes: int
    least: int


def checked(text: str, full_name: str, reader: Mapping[str, Any], kind: str = "AVRO", references: Any = ()) -> Any:
    """The schema in `text`, as JSON, safe to decode records named `full_name` for `reader`.

    kind, references: as the registry names them. Raises WriterSchemaError.
    """
    if kind != "AVRO":
        raise WriterSchemaError(f"it is {str(kind)[:20]}, not Avro")
    if references:
        raise WriterSchemaError(f"it refers to other subjects ({_names_of(references)}), which are not read here")
    try:
        schema = strict_json.loads(text, max_bytes=MAX_SCHEMA_BYTES, max_depth=3 * MAX_DEPTH)
    except ValueError as error:
        raise WriterSchemaError(f"it is no schema: {error}") from None
    if not isinstance(schema, dict) or schema.get("type") != "record":
        raise WriterSchemaError(f"it is no record, so not {full_name}")
    name = _full_name(schema, "")
    if name != full_name:
        raise WriterSchemaError(f"it is {name[:100]}, not {full_name}")
    walk = _Walk()
    walk.size(schema, "", 0)
    _Resolution(walk.named).check(schema, "", reader, full_name)
    return schema


def _names_of(references: Any) -> str:
    found = references if isinstance(references, list) else []
    return ", ".join(str(each.get("name", "?"))[:60] for each in found[:3] if isinstance(each, dict)) or "unnamed"


def _full_name(schema: Mapping[str, Any], enclosing: str) -> str:
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


def _space_of(full_name: str) -> str:
    return full_name.rpartition(".")[0]


class _Walk:
    """Goes through a schema once: every type is known, none contains itself, none unfolds without bound."""

    def __init__(self) -> None:
        self.named: dict[str, tuple[Mapping[str, Any], str]] = {}
        self._sizes: dict[str, _Size] = {}
        self._depth_of: dict[str, int] = {}

    def size(self, schema: Any, space: str, depth: int) -> _Size:
        """How much a value of this type is. Raises WriterSchemaError."""
        if depth > MAX_DEPTH:
            raise WriterSchemaError(f"its types are nested more than {MAX_DEPTH} deep")
        if isinstance(schema, list):
            return self._union(schema, space, depth)
        if isinstance(schema, str):
            return _Size(1, _BYTES[schema]) if schema in _BYTES else self._by_name(schema, space)
        if not isinstance(schema, dict) or "type" not in schema:
            raise WriterSchemaError(f"a type is neither a name nor an object: {str(schema)[:60]}")
        kind = schema["type"]
        if not isinstance(kind, str):
            return self.size(kind, space, depth + 1)
        if kind in _NAMED:
            return self._named(schema, kind, space, depth)
        if kind in ("array", "map"):
            return self._items(schema, kind, space, depth)
        return self.size(kind, space, depth + 1)

    def _union(self, branches: list[Any], space: str, depth: int) -> _Size:
        if not branches:
            raise WriterSchemaError("a union has no branch")
        sizes = [self.size(branch, space, depth + 1) for branch in branches]
        return _Size(1 + max(size.nodes for size in sizes), 1 + min(size.least for size in sizes))

    def _by_name(self, name: str, space: str) -> _Size:
        full = name if "." in name or not space else f"{space}.{name}"
        full = full if full in self.named else name
        if full not in self.named:
            raise WriterSchemaError(f"it uses the type {name[:60]}, which it does not define")
        if full not in self._sizes:
            raise WriterSchemaError(f"its type {full[:60]} contains itself")
        return self._sizes[full]

    def _named(self, schema: Mapping[str, Any], kind: str, space: str, depth: int) -> _Size:
        full = _full_name(schema, space)
        if full in self.named:
            raise WriterSchemaError(f"it defines {full[:60]} twice")
        self.named[full] = (schema, _space_of(full))
        size = {"enum": self._enum, "fixed": self._fixed}.get(kind, self._record)(schema, _space_of(full), depth)
        if size.nodes > MAX_NODES:
            raise WriterSchemaError(f"a value of {full[:60]} unfolds to more than {MAX_NODES:,} values")
        self._sizes[full] = size
        return size

    def _record(self, schema: Mapping[str, Any], space: str, depth: int) -> _Size:
        fields = schema.get("fields")
        if not isinstance(fields, list) or not all(isinstance(f, dict) and "type" in f and "name" in f for f in fields):
            raise WriterSchemaError("a record has no list of fields with names and types")
        sizes = [self.size(field["type"], space, depth + 1) for field in fields]
        return _Size(1 + sum(size.nodes for size in sizes), sum(size.least for size in sizes))

    def _enum(self, schema: Mapping[str, Any], _space: str, _depth: int) -> _Size:
        if not isinstance(schema.get("symbols"), list):
            raise WriterSchemaError("an enum has no symbols")
        return _Size(1, 1)

    def _fixed(self, schema: Mapping[str, Any], _space: str, _depth: int) -> _Size:
        size = schema.get("size")
        if not isinstance(size, int) or isinstance(size, bool) or not 0 <= size <= MAX_FIXED:
            raise WriterSchemaError(f"a fixed type has the size {str(size)[:20]}")
        return _Size(1, size)

    def _items(self, schema: Mapping[str, Any], kind: str, space: str, depth: int) -> _Size:
        item = self.size(schema.get("items" if kind == "array" else "values"), space, depth + 1)
        least = item.least + (kind == "map")
        if least == 0:
            raise WriterSchemaError(f"an {kind} has items that take no byte, so that any number of them fits")
        if item.nodes > MAX_NODES_A_BYTE * least:
            raise WriterSchemaError(f"an {kind} has items that unfold to {item.nodes:,} values out of {least} bytes")
        return _Size(1, 1)


class _Resolution:
    """Whether what a writer writes is what the reader means, down to logical types. named: the writer's types."""

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
        if isinstance(writer, str) and writer not in _BYTES:
            full = writer if writer in self._named else f"{space}.{writer}"
            return self._named[full]
        if isinstance(writer, dict) and writer.get("type") in _NAMED:
            return writer, _space_of(_full_name(writer, space))
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
