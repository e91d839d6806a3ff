"""Avro in the Confluent wire format (0x00, 4-byte schema id, body): fastavro, and the registry's client for the ids.

The client's own serdes look up every schema by several names for every message: five times the work of Avro itself.

Two kinds of failure, never mixed up: `UndecodableError` is the message's fault and is final;
`RegistryUnavailableError` is nobody's message's fault: nothing moves until the registry is back.
"""

import json
import struct
from importlib import resources
from io import BytesIO
from typing import Any, Final

import fastavro
from confluent_kafka.schema_registry import Schema, SchemaRegistryError

from schemas.envelope import Envelope, text_of
from schemas.events import EVENTS, from_record, to_record
from schemas.registry_client import registry_client

MAX_VALUE_BYTES: Final = 1024 * 1024
"""Longer values are dead letters unread: a decoder must not be asked to expand what it can't bound."""
_PREFIX: Final = struct.Struct(">bI")
_NOT_FOUND: Final = 404


class UndecodableError(Exception):
    """The value can't be read, now or later. The text says what is wrong with it."""


class RegistryUnavailableError(Exception):
    """The schema registry did not answer; the message is as good as before."""


class SchemaPendingError(Exception):
    """The registry answers, but not for this schema now: try again for a minute, then it is the message's fault."""


def avsc(event_type: str) -> str:
    """The text of `schemas/<event_type>.avsc`."""
    return resources.files("schemas").joinpath(f"{event_type}.avsc").read_text(encoding="utf-8")


def compact(schema: str) -> str:
    """The schema without insignificant white space: what is registered and looked up."""
    return json.dumps(json.loads(schema), separators=(",", ":"), ensure_ascii=False)


class Codec:
    """Encodes and decodes every event of the map.

    registry_url: the Confluent-compatible API. topic_prefix: put before every topic, and so every subject.
    """

    def __init__(self, registry_url: str, topic_prefix: str = "") -> None:
        self._client = registry_client(registry_url)
        self._prefix = topic_prefix
        self._texts = {name: compact(avsc(name)) for name in EVENTS}
        self._schemas = {name: fastavro.parse_schema(json.loads(text)) for name, text in self._texts.items()}
        self._heads: dict[str, bytes] = {}
        self._writers: dict[tuple[str, int], Any] = {}

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
        """The event in `value`. Raises UndecodableError or RegistryUnavailableError."""
        writer_id = schema_id(value)
        writer = self._writers.get((event_type, writer_id)) or self._writer(event_type, writer_id)
        body = BytesIO(value or b"")
        body.seek(_PREFIX.size)
        try:
            record: Any = fastavro.schemaless_reader(body, writer, self._schemas[event_type])
            return Envelope(from_record(event_type, record), record["event_id"], record["occurred_at"])
        except EOFError as error:
            short = f"not a {event_type}: it ends in the middle of the record, after {len(value or b'')} bytes"
            raise UndecodableError(short) from error
        # whatever a decoder says of bytes whose schema is known and right is the bytes' fault
        except Exception as error:
            raise UndecodableError(f"not a {event_type}: {type(error).__name__}: {error}") from error

    def _writer(self, event_type: str, writer_id: int) -> Any:
        """The writer's schema must be a version of this very event, or Avro would read one event as another."""
        schema = json.loads(self._schema(writer_id, event_type).schema_str or "null")
        name = _record_name(schema)
        if name != event_type:
            raise UndecodableError(f"schema id {writer_id} is {name}, not {event_type}")
        writer = self._writers[event_type, writer_id] = fastavro.parse_schema(schema)
        return writer

    def _schema(self, writer_id: int, event_type: str) -> Schema:
        try:
            return self._client.get_schema(writer_id, f"{self._prefix}{event_type}-value")
        except SchemaRegistryError as error:
            if error.http_status_code == _NOT_FOUND:
                raise UndecodableError(f"schema id {writer_id} is unknown to the registry") from error
            raise RegistryUnavailableError(str(error)) from error
        # connection errors reach us as the HTTP library's own classes: only a clear "not found" is final
        except Exception as error:
            raise RegistryUnavailableError(str(error)) from error

    @staticmethod
    def _unregistered(event_type: str, error: SchemaRegistryError) -> str:
        return f"{event_type} can't be encoded: {error}. Register the schemas: checkout schemas register"

    def close(self) -> None:
        """Give the connections to the registry back."""
        self._client.close()

    def warm_up(self, event_types: list[str]) -> None:
        """Look up the ids of the schemas to be written, so that a missing one shows at the start."""
        for event_type in event_types:
            self._head(event_type)

    def _head(self, event_type: str) -> bytes:
        """What every value of this event begins with; asked of the registry once, so that encoding needs none."""
        subject = f"{self._prefix}{event_type}-value"
        try:
            known = self._client.lookup_schema(subject, Schema(self._texts[event_type], "AVRO"))
        except SchemaRegistryError as error:
            raise RegistryUnavailableError(self._unregistered(event_type, error)) from error
        # a registry that is away shows itself in the HTTP library's own classes
        except Exception as error:
            raise RegistryUnavailableError(f"the schema registry does not answer: {error}") from error
        head = self._heads[event_type] = _PREFIX.pack(0, known.schema_id)
        return head


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


def _record_name(schema: Any) -> str:
    if not isinstance(schema, dict):
        return "not a record"
    return f"{schema.get('namespace', '')}.{schema.get('name', '')}"
