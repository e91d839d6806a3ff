"""A letter's value for people: decoded where its schema is known, and where not, why, and its bytes.

Avro and the registry's client are imported where they are used: together they take longer than a list of ten thousand
letters, which decodes nothing.
"""

from contextlib import closing
from dataclasses import dataclass
from io import BytesIO
from typing import TYPE_CHECKING, Any, Final

from dlq.failing import DlqError
from schemas.registry_address import Registry

if TYPE_CHECKING:
    from schemas.schema_source import SchemaSource

PREVIEW_BYTES: Final = 256
_COLUMNS: Final = 16
_PREFIX_BYTES: Final = 5


class NoRegistryError(DlqError):
    """The schema registry did not answer."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Decoded:
    """content: the record, None where it can't be read; schema: its name, "" where unknown; why: what is wrong."""

    content: Any = None
    schema: str = ""
    why: str = ""


def decode(value: bytes | None, registry: Registry) -> Decoded:
    """The value by the schema that it was written with, whatever event it is. Raises nothing: it says why not."""
    from schemas.codec import UndecodableError, schema_id  # noqa: PLC0415

    try:
        writer_id = schema_id(value)
        return _decoded(value or b"", writer_id, registry)
    except (UndecodableError, NoRegistryError) as error:
        return Decoded(why=str(error))


def _decoded(value: bytes, writer_id: int, registry: Registry) -> Decoded:
    import fastavro  # noqa: PLC0415

    from schemas.schema_source import SchemaSource  # noqa: PLC0415

    with closing(SchemaSource(registry)) as source:
        schema, name = written_with(source, writer_id)
    body = BytesIO(value[_PREFIX_BYTES:])
    try:
        content = fastavro.schemaless_reader(body, fastavro.parse_schema(schema))
    # whatever a decoder says of bytes whose schema is known is the bytes' fault
    except Exception as error:
        return Decoded(schema=name, why=f"not a {name}: {type(error).__name__}: {str(error)[:300]}")
    behind = len(value) - _PREFIX_BYTES - body.tell()
    return Decoded(content=content, schema=name, why=f"{behind} more bytes follow the record" if behind else "")


def written_with(source: "SchemaSource", writer_id: int) -> tuple[Any, str]:
    """(schema, full name) of an id, safe to decode with. Raises UndecodableError, NoRegistryError."""
    from schemas.avro_names import WriterSchemaError  # noqa: PLC0415
    from schemas.codec import UndecodableError  # noqa: PLC0415
    from schemas.schema_source import RegistryUnavailableError, SchemaPendingError  # noqa: PLC0415
    from schemas.writer_schema import sound  # noqa: PLC0415

    try:
        found = source.get(writer_id)
        schema, name, _ = sound(found.text, found.kind, found.references)
    except SchemaPendingError as error:
        raise UndecodableError(str(error)) from error
    except WriterSchemaError as error:
        raise UndecodableError(f"schema id {writer_id}: {error}") from error
    except RegistryUnavailableError as error:
        raise NoRegistryError(str(error)) from error
    return schema, name


def preview(value: bytes, limit: int = PREVIEW_BYTES) -> str:
    """The first `limit` bytes as `hexdump -C` shows them."""
    rows = [value[at : at + _COLUMNS] for at in range(0, min(len(value), limit), _COLUMNS)]
    lines = [
        f"{at * _COLUMNS:08x}  {row.hex(' '):<{_COLUMNS * 3 - 1}}  |{_visible(row)}|" for at, row in enumerate(rows)
    ]
    return "\n".join(lines) + (f"\n... {len(value) - limit:,} bytes more" if len(value) > limit else "")


def _visible(row: bytes) -> str:
    return "".join(chr(byte) if 32 <= byte < 127 else "." for byte in row)  # noqa: PLR2004 - printable ASCII
