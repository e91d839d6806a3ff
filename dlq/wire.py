"""Reads values by the schema they were written with, and writes them with the newest one of their subject."""

from collections.abc import Callable
from dataclasses import dataclass
from io import BytesIO
from typing import Any, Final, TypeVar

import fastavro
from confluent_kafka.schema_registry import SchemaRegistryError

from dlq.avro_json import from_json, to_json
from dlq.decoding import NoRegistryError, written_with
from dlq.locks import EditError
from dlq.settings import DlqSettings
from schemas.avro_names import WriterSchemaError
from schemas.codec import MAX_VALUE_BYTES, UndecodableError, schema_id
from schemas.registry_client import RegistryClient
from schemas.schema_source import SchemaSource
from schemas.secret import masked
from schemas.writer_schema import sound

_PREFIX_BYTES: Final = 5
_NOT_FOUND: Final = 404
_Answer = TypeVar("_Answer")


@dataclass(frozen=True, slots=True)
class Versioned:
    """A schema and its id in the registry."""

    id: int
    schema: Any


class Wire:
    """The values of one registry. Use `close` at the end."""

    def __init__(self, settings: DlqSettings) -> None:
        self._client = RegistryClient(settings.registry)
        self._source = SchemaSource(settings.registry)
        self._prefix = settings.topic_prefix

    def newest(self, event_type: str) -> Versioned:
        """The newest schema of an event. Raises EditError where it has none, NoRegistryError."""
        subject = f"{self._prefix}{event_type}-value"
        found = _asked(lambda: self._client.now().get_latest_version(subject))
        if found is None or found.schema is None or found.schema_id is None:
            raise EditError(f"{subject} is not in the schema registry: {event_type!r} is no event of ours")
        try:
            return Versioned(found.schema_id, sound(found.schema.schema_str or "")[0])
        except WriterSchemaError as error:
            raise EditError(f"the newest schema of {subject} can't be used: {error}") from error

    def writer(self, event_type: str, value: bytes | None) -> Versioned:
        """The schema that a value was written with. Raises UndecodableError, NoRegistryError."""
        writer_id = schema_id(value)
        schema, name = written_with(self._source, writer_id)
        if name != event_type:
            raise UndecodableError(f"schema id {writer_id} is {name}, not {event_type}")
        return Versioned(writer_id, schema)

    def close(self) -> None:
        """Give the connections to the registry back."""
        self._client.close()
        self._source.close()


def _asked(ask: Callable[[], _Answer]) -> _Answer | None:
    """The registry's answer; None where it does not know what was asked for."""
    try:
        return ask()
    except SchemaRegistryError as error:
        if error.http_status_code == _NOT_FOUND:
            return None
        raise NoRegistryError(f"the schema registry refuses: {error}") from error
    # a registry that is away shows itself in the HTTP library's own classes
    except Exception as error:
        raise NoRegistryError(f"the schema registry does not answer: {masked(str(error))}") from error


def read(value: bytes, written: Versioned, wanted: Versioned) -> Any:
    """A value as JSON, with the fields of `wanted`. Raises UndecodableError."""
    body = BytesIO(value[_PREFIX_BYTES:])
    try:
        record = fastavro.schemaless_reader(body, fastavro.parse_schema(written.schema), _parsed(wanted))
    # whatever a decoder says of bytes whose schema is known is the bytes' fault
    except Exception as error:
        raise UndecodableError(f"not schema id {written.id}: {type(error).__name__}: {error}") from error
    if behind := len(value) - _PREFIX_BYTES - body.tell():
        raise UndecodableError(f"{behind} more bytes follow the record")
    return to_json(record)


def write(data: Any, newest: Versioned, written: Versioned | None) -> bytes:
    """The wire form of `data`, which readers of `written` can read too. Raises EditError naming what does not fit."""
    record = from_json(newest.schema, data)
    body = BytesIO()
    try:
        fastavro.schemaless_writer(body, _parsed(newest), record)
    except (ValueError, TypeError, OverflowError) as error:
        raise EditError(f"not schema id {newest.id}: {error}") from error
    value = b"\x00" + newest.id.to_bytes(4, "big") + body.getvalue()
    if len(value) > MAX_VALUE_BYTES:
        raise EditError(f"{len(value):,} bytes; at most {MAX_VALUE_BYTES:,} are read")
    if written is not None:
        _check_old_readers(value, newest, written)
    return value


def _check_old_readers(value: bytes, newest: Versioned, written: Versioned) -> None:
    try:
        read(value, newest, written)
    except UndecodableError as error:
        raise EditError(f"who reads it with its old schema, id {written.id}, can't any more: {error}") from error


def _parsed(versioned: Versioned) -> Any:
    return fastavro.parse_schema(versioned.schema)
