"""Avro in the Confluent wire format (0x00, 4-byte schema id, body): fastavro, and the registry for the ids.

The registry client's own serdes look up every schema by several names for every message: five times the work of Avro.

Three kinds of failure, never mixed up: `UndecodableError` is the message's fault and is final; `SchemaPendingError` is
the message's matter too, and may pass; `RegistryUnavailableError` is no message's fault: nothing moves until the
registry is back.
"""

import json
import struct
from collections.abc import Iterable
from datetime import datetime
from importlib import resources
from io import BytesIO
from typing import Any, Final
from uuid import UUID

import fastavro
import structlog
from confluent_kafka.schema_registry import Schema, SchemaRegistryError

from schemas.avro_names import WriterSchemaError
from schemas.envelope import Envelope, text_of
from schemas.events import EVENTS, check_ranges, from_record, to_record
from schemas.registry_address import Registry
from schemas.registry_client import RegistryClient
from schemas.schema_source import Recent, RegistryUnavailableError, SchemaAnswer, SchemaPendingError, SchemaSource
from schemas.secret import masked
from schemas.writer_schema import checked

__all__ = ["Codec", "RegistryUnavailableError", "SchemaPendingError", "UndecodableError"]

MAX_VALUE_BYTES: Final = 1024 * 1024
"""Longer values are dead letters unread: a decoder must not be asked to expand what it can't bound."""
_PREFIX: Final = struct.Struct(">bI")
_SCHEMAS: Final = 1000
"""Writers' schemas that are remembered, and as many that were refused."""


log = structlog.get_logger("schemas.codec")


class UndecodableError(Exception):
    """The value can't be read, now or later. The text says what is wrong with it."""


def avsc(event_type: str) -> str:
    """The text of `schemas/<event_type>.avsc`."""
    return resources.files("schemas").joinpath(f"{event_type}.avsc").read_text(encoding="utf-8")


def compact(schema: str) -> str:
    """The schema without insignificant white space: what is registered and looked up."""
    return json.dumps(json.loads(schema), separators=(",", ":"), ensure_ascii=False)


class _UnregisteredError(RegistryUnavailableError):
    """The registry answers, and does not have the schema that is asked for by its text."""


class Codec:
    """Encodes and decodes every event of the map.

    registry: the Confluent-compatible API. topic_prefix: put before every topic, and so every subject.
    """

    def __init__(self, registry: Registry, topic_prefix: str = "") -> None:
        self._client = RegistryClient(registry)
        self._prefix = topic_prefix
        self._texts = {name: compact(avsc(name)) for name in EVENTS}
        self._readers = {name: json.loads(text) for name, text in self._texts.items()}
        self._schemas = {name: fastavro.parse_schema(schema) for name, schema in self._readers.items()}
        self._heads: dict[str, bytes] = {}
        self._source = SchemaSource(registry)
        self._writers: Recent[Any] = Recent(_SCHEMAS)
        # apart, so that a flood of schemas that nobody can use pushes out none that somebody does
        self._refused: Recent[str] = Recent(_SCHEMAS)

    def encode(self, envelope: Envelope) -> bytes:
        """The wire form of an event. Raises RegistryUnavailableError; ValueError for an impossible record."""
        event = envelope.event
        head = self._heads.get(event.TYPE) or self._head(event.TYPE)
        record = to_record(event)
        record["event_id"], record["occurred_at"] = text_of(envelope.event_id), envelope.occurred_at
        out = BytesIO()
        out.write(head)
        try:
            fastavro.schemaless_writer(out, self._schemas[event.TYPE], record)
        # whatever an encoder says of a record whose schema is right is the record's fault
        except Exception as error:
            raise ValueError(f"{event.TYPE} can't be encoded: {type(error).__name__}: {error}") from error
        return out.getvalue()

    def decode(self, event_type: str, value: bytes | None) -> Envelope:
        """The event in `value`. Raises UndecodableError, SchemaPendingError, RegistryUnavailableError."""
        writer_id = schema_id(value)
        writer = self._writers.get((event_type, writer_id)) or self._writer(event_type, writer_id)
        raw = value or b""
        body = BytesIO(raw)
        body.seek(_PREFIX.size)
        try:
            record: Any = fastavro.schemaless_reader(body, writer, self._schemas[event_type])
            envelope = _envelope(event_type, record)
        except EOFError as error:
            short = f"not a {event_type}: it ends in the middle of the record, after {len(raw)} bytes"
            raise UndecodableError(short) from error
        # whatever a decoder says of bytes whose schema is known and right is the bytes' fault
        except Exception as error:
            raise UndecodableError(f"not a {event_type}: {type(error).__name__}: {str(error)[:300]}") from error
        if body.tell() != len(raw):
            raise UndecodableError(f"not a {event_type}: {len(raw) - body.tell():,} more bytes follow the record")
        return envelope

    def reads(self, event_type: str) -> bool:
        """Whether a writer's schema of this event is known, so that messages of it can be read without the registry."""
        return any(event == event_type for event, _ in self._writers)

    def _writer(self, event_type: str, writer_id: int) -> Any:
        """The writer's schema, which must be a version of this very event. Raises as `decode` does."""
        name = (event_type, writer_id)
        if name in self._refused:
            raise UndecodableError(self._refused[name])
        found = self._source.get(writer_id)
        try:
            return self._writers.keep(name, self._parsed(event_type, found))
        except WriterSchemaError as error:
            raise UndecodableError(self._refused.keep(name, f"schema id {writer_id}: {error}")) from error
        # whatever the library says of a schema that somebody registered is the schema's fault
        except Exception as error:
            why = f"schema id {writer_id} is no schema: {type(error).__name__}: {str(error)[:300]}"
            raise UndecodableError(self._refused.keep(name, why)) from error

    def _parsed(self, event_type: str, found: SchemaAnswer) -> Any:
        readers = self._readers[event_type]
        return fastavro.parse_schema(checked(found.text, event_type, readers, found.kind, found.references))

    @staticmethod
    def _unregistered(event_type: str, error: SchemaRegistryError) -> str:
        return f"{event_type} can't be encoded: {error}. Register the schemas: checkout schemas register"

    def close(self) -> None:
        """Give the connections to the registry back."""
        self._client.close()
        self._source.close()

    def warm_up(self, written: Iterable[str], read: Iterable[str] = ()) -> None:
        """Look up the ids of schemas: of the events to be written, so that a missing one shows at the start; of those
        to be read, so that a flood of unknown ids holds up nobody who writes as we do. Raises RegistryUnavailableError.
        """
        for event_type in written:
            self._head(event_type)
        for event_type in read:
            try:
                self._head(event_type)
            except _UnregisteredError:
                log.info("nobody has registered our schema of an event that is read", event_type=event_type)

    def _head(self, event_type: str) -> bytes:
        """What every value of this event begins with; asked of the registry once, so that encoding needs none."""
        subject = f"{self._prefix}{event_type}-value"
        try:
            known = self._client.now().lookup_schema(subject, Schema(self._texts[event_type], "AVRO"))
        except SchemaRegistryError as error:
            raise _UnregisteredError(self._unregistered(event_type, error)) from error
        # a registry that is away shows itself in the HTTP library's own classes
        except Exception as error:
            raise RegistryUnavailableError(f"the schema registry does not answer: {masked(str(error))}") from error
        if known.schema_id is None:
            raise RegistryUnavailableError(f"the schema registry gives {subject} no id")
        self._source.knows(known.schema_id)
        self._writers.keep((event_type, known.schema_id), self._schemas[event_type])
        head = self._heads[event_type] = _PREFIX.pack(0, known.schema_id)
        return head


def _envelope(event_type: str, record: Any) -> Envelope:
    """The event of a decoded record. Raises ValueError for what no event of this type is."""
    event_id, occurred_at = record["event_id"], record["occurred_at"]
    if type(event_id) is not UUID or type(occurred_at) is not datetime:
        raise ValueError("event_id is no UUID, or occurred_at no time")
    event = from_record(event_type, record)
    check_ranges(event)
    return Envelope(event, event_id, occurred_at)


def schema_id(value: bytes | None) -> int:
    """The schema id at the head of a value. Raises UndecodableError saying what is there instead."""
    if value is None:
        raise UndecodableError("no value (a tombstone): events are never deleted by key")
    if len(value) > MAX_VALUE_BYTES:
        raise UndecodableError(f"{len(value):,} bytes; at most {MAX_VALUE_BYTES:,} are read")
    if len(value) < _PREFIX.size:
        raise UndecodableError(f"{len(value)} bytes: shorter than the Confluent prefix (0x00, schema id)")
    magic, writer_id = _PREFIX.unpack_from(value)
    if magic != 0:
        raise UndecodableError(f"first byte 0x{magic & 0xFF:02x}: not the Confluent wire format (0x00, schema id)")
    return int(writer_id)
