"""A letter's value for people: decoded where its schema is known, and where not, why, and its bytes.

Avro and the registry's client are imported where they are used: together they take longer than a list of ten thousand
letters, which decodes nothing.
"""

from contextlib import closing
from dataclasses import dataclass
from io import BytesIO
from typing import Any, Final

from dlq.failing import DlqError
from schemas import strict_json

PREVIEW_BYTES: Final = 256
_COLUMNS: Final = 16
_PREFIX_BYTES: Final = 5
_NOT_FOUND: Final = 404


class NoRegistryError(DlqError):
    """The schema registry did not answer."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Decoded:
    """content: the record, None where it can't be read; schema: its name, "" where unknown; why: what is wrong."""

    content: Any = None
    schema: str = ""
    why: str = ""


def decode(value: bytes | None, registry_url: str) -> Decoded:
    """The value by the schema that it was written with, whatever event it is. Raises nothing: it says why not."""
    from schemas.codec import UndecodableError, schema_id  # noqa: PLC0415

    try:
        writer_id = schema_id(value)
        return _decoded(value or b"", writer_id, registry_url)
    except (UndecodableError, NoRegistryError) as error:
        return Decoded(why=str(error))


def _decoded(value: bytes, writer_id: int, registry_url: str) -> Decoded:
    import fastavro  # noqa: PLC0415

    schema = _schema(writer_id, registry_url)
    name = f"{schema.get('namespace', '')}.{schema.get('name', '')}".strip(".") if isinstance(schema, dict) else ""
    body = BytesIO(value[_PREFIX_BYTES:])
    try:
        content = fastavro.schemaless_reader(body, fastavro.parse_schema(schema))
    # whatever a decoder says of bytes whose schema is known is the bytes' fault
    except Exception as error:
        return Decoded(schema=name, why=f"not a {name}: {type(error).__name__}: {error}")
    behind = len(value) - _PREFIX_BYTES - body.tell()
    return Decoded(content=content, schema=name, why=f"{behind} more bytes follow the record" if behind else "")


def _schema(writer_id: int, registry_url: str) -> Any:
    from confluent_kafka.schema_registry import SchemaRegistryError  # noqa: PLC0415

    from schemas.codec import UndecodableError  # noqa: PLC0415
    from schemas.registry_client import registry_client  # noqa: PLC0415

    with closing(registry_client(registry_url)) as client:
        try:
            found = client.get_schema(writer_id)
        except SchemaRegistryError as error:
            if error.http_status_code == _NOT_FOUND:
                raise UndecodableError(f"schema id {writer_id} is unknown to the registry") from error
            raise NoRegistryError(f"the schema registry refuses: {error}") from error
        # a registry that is away shows itself in the HTTP library's own classes
        except Exception as error:
            raise NoRegistryError(f"the schema registry does not answer: {error}") from error
    return avro_in(writer_id, found.schema_type, found.schema_str)


def avro_in(writer_id: int, kind: str | None, text: str | None) -> Any:
    """The Avro schema in the registry's answer. Raises UndecodableError for one of another kind."""
    from schemas.codec import UndecodableError  # noqa: PLC0415

    if kind not in (None, "", "AVRO"):
        raise UndecodableError(f"schema id {writer_id} is {kind}, not Avro")
    try:
        return strict_json.loads(text or "null")
    except ValueError as error:
        raise UndecodableError(f"schema id {writer_id} is no Avro schema: {error}") from None


def preview(value: bytes, limit: int = PREVIEW_BYTES) -> str:
    """The first `limit` bytes as `hexdump -C` shows them."""
    rows = [value[at : at + _COLUMNS] for at in range(0, min(len(value), limit), _COLUMNS)]
    lines = [
        f"{at * _COLUMNS:08x}  {row.hex(' '):<{_COLUMNS * 3 - 1}}  |{_visible(row)}|" for at, row in enumerate(rows)
    ]
    return "\n".join(lines) + (f"\n... {len(value) - limit:,} bytes more" if len(value) > limit else "")


def _visible(row: bytes) -> str:
    return "".join(chr(byte) if 32 <= byte < 127 else "." for byte in row)  # noqa: PLR2004 - printable ASCII
