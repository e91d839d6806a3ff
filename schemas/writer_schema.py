"""Whether a writer's schema may be used to decode an event. Pure: text in, parsed schema or a reason out.

Anybody who can register a schema decides what a decoder does with a message: recursion overflows its stack, an array
of null makes 2^40 items out of nine bytes, a field without its logical type becomes a number where a time belongs. So a
schema is checked before the first message is decoded with it.

Source: Avro 1.12 specification, "Names", "Schema Resolution".
"""

from collections.abc import Mapping
from typing import Any, Final, NamedTuple

from schemas import strict_json
from schemas.avro_names import NAMED, WriterSchemaError, space_of
from schemas.avro_names import full_name as full_name_of
from schemas.schema_resolution import LEAST_BYTES, Resolution

MAX_SCHEMA_BYTES: Final = 256 * 1024
MAX_DEPTH: Final = 32
MAX_NODES: Final = 10_000
"""Values that one record may decode to, arrays and maps aside."""
MAX_NODES_A_BYTE: Final = 16
"""Values that an item of an array or map may decode to for each byte that it takes at least."""
MAX_FIXED: Final = 1024 * 1024
Named = Mapping[str, tuple[Mapping[str, Any], str]]
"""Full name -> a type's definition, and the namespace in which its own types are named."""


class _Size(NamedTuple):
    """nodes: values that a value of this type decodes to at most, arrays aside. least: bytes that it takes at least."""

    nodes: int
    least: int


def checked(text: str, full_name: str, reader: Mapping[str, Any], kind: str = "AVRO", references: Any = ()) -> Any:
    """The schema in `text`, as JSON, safe to decode records named `full_name` for `reader`.

    kind, references: as the registry names them. Raises WriterSchemaError.
    """
    schema, name, named = sound(text, kind, references)
    if name != full_name:
        raise WriterSchemaError(f"it is {name[:100]}, not {full_name}")
    Resolution(named).check(schema, "", reader, full_name)
    return schema


def sound(text: str, kind: str = "AVRO", references: Any = ()) -> tuple[Any, str, Named]:
    """(the record's schema in `text`, its full name, its named types): safe to decode with, whatever record it is.

    Raises WriterSchemaError.
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
        raise WriterSchemaError("it is no record")
    walk = _Walk()
    walk.size(schema, "", 0)
    return schema, full_name_of(schema, ""), walk.named


def _names_of(references: Any) -> str:
    found = references if isinstance(references, list) else []
    return ", ".join(str(each.get("name", "?"))[:60] for each in found[:3] if isinstance(each, dict)) or "unnamed"


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
            return _Size(1, LEAST_BYTES[schema]) if schema in LEAST_BYTES else self._by_name(schema, space)
        if not isinstance(schema, dict) or "type" not in schema:
            raise WriterSchemaError(f"a type is neither a name nor an object: {str(schema)[:60]}")
        kind = schema["type"]
        if not isinstance(kind, str):
            return self.size(kind, space, depth + 1)
        if kind in NAMED:
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
        full = full_name_of(schema, space)
        if full in self.named:
            raise WriterSchemaError(f"it defines {full[:60]} twice")
        self.named[full] = (schema, space_of(full))
        size = {"enum": self._enum, "fixed": self._fixed}.get(kind, self._record)(schema, space_of(full), depth)
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
