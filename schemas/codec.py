"""Avro in the Confluent wire format (0x00, 4-byte schema id, body), by the registry client's own serdes.

Two kinds of failure, never mixed up: `UndecodableError` is the message's fault and is final;
`RegistryUnavailableError` is nobody's message's fault: nothing moves until the registry is back.
"""

import json
import struct
from importlib import resources
from typing import Any, Final

from confluent_kafka.schema_registry import Schema, SchemaRegistryError
from confluent_kafka.schema_registry.avro import AvroDeserializer, AvroSerializer
from confluent_kafka.serialization import MessageField, SerializationContext

from schemas.envelope import Envelope
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
        self._contexts = {name: SerializationContext(topic_prefix + name, MessageField.VALUE) for name in EVENTS}
        self._serializers = {name: self._serializer(name) for name in EVENTS}
        self._deserializers = {name: self._deserializer(name) for name in EVENTS}
        self._trusted: dict[tuple[str, int], bool] = {}
        self._known: set[str] = set()

    def _serializer(self, event_type: str) -> AvroSerializer:
        conf = {
            # the default would register whatever schema a developer has at hand
            "auto.register.schemas": False,
            # the default asks the registry for "associations" of every topic first
            "subject.name.strategy.type": "TOPIC",
        }
        serializer: AvroSerializer = AvroSerializer(self._client, compact(avsc(event_type)), conf=conf)
        return serializer

    def _deserializer(self, event_type: str) -> AvroDeserializer:
        conf = {"subject.name.strategy.type": "TOPIC"}
        deserializer: AvroDeserializer = AvroDeserializer(self._client, compact(avsc(event_type)), conf=conf)
        return deserializer

    def encode(self, envelope: Envelope) -> bytes:
        """The wire form of an event. Raises RegistryUnavailableError; ValueError for an impossible record."""
        event = envelope.event
        record = to_record(event) | {
            "event_id": envelope.event_id,
            "occurred_at": envelope.occurred_at,
        }
        self._know(event.TYPE)
        value = self._serializers[event.TYPE](record, self._contexts[event.TYPE])
        if value is None:
            raise ValueError(f"{event.TYPE} was encoded to nothing")
        return value

    def decode(self, event_type: str, value: bytes | None) -> Envelope:
        """The event in `value`. Raises UndecodableError or RegistryUnavailableError."""
        self._check_writer(event_type, schema_id(value))
        try:
            record: Any = self._deserializers[event_type](value, self._contexts[event_type])
            return Envelope(from_record(event_type, record), record["event_id"], record["occurred_at"])
        # whatever a decoder says of bytes whose schema is known and right is the bytes' fault
        except Exception as error:
            raise UndecodableError(f"not a {event_type}: {type(error).__name__}: {error}") from error

    def _check_writer(self, event_type: str, writer_id: int) -> None:
        """The writer's schema must be a version of this very event, or Avro would read one event as another."""
        if self._trusted.get((event_type, writer_id)):
            return
        name = self._full_name(writer_id, event_type)
        if name != event_type:
            raise UndecodableError(f"schema id {writer_id} is {name}, not {event_type}")
        self._trusted[(event_type, writer_id)] = True

    def _full_name(self, writer_id: int, event_type: str) -> str:
        try:
            schema = self._client.get_schema(writer_id, f"{self._prefix}{event_type}-value")
        except SchemaRegistryError as error:
            if error.http_status_code == _NOT_FOUND:
                raise UndecodableError(f"schema id {writer_id} is unknown to the registry") from error
            raise RegistryUnavailableError(str(error)) from error
        # connection errors reach us as the HTTP library's own classes: only a clear "not found" is final
        except Exception as error:
            raise RegistryUnavailableError(str(error)) from error
        return _record_name(schema)

    @staticmethod
    def _unregistered(event_type: str, error: SchemaRegistryError) -> str:
        return f"{event_type} can't be encoded: {error}. Register the schemas: checkout schemas register"

    def close(self) -> None:
        """Give the connections to the registry back."""
        self._client.close()

    def warm_up(self, event_types: list[str]) -> None:
        """Look up the ids of the schemas to be written, so that a missing one shows at the start."""
        for event_type in event_types:
            self._know(event_type)

    def _know(self, event_type: str) -> None:
        """Have the schema's id at hand, so that encoding needs no registry."""
        if event_type in self._known:
            return
        try:
            self._client.lookup_schema(f"{self._prefix}{event_type}-value", Schema(compact(avsc(event_type)), "AVRO"))
        except SchemaRegistryError as error:
            raise RegistryUnavailableError(self._unregistered(event_type, error)) from error
        # a registry that is away shows itself in the HTTP library's own classes
        except Exception as error:
            raise RegistryUnavailableError(f"the schema registry does not answer: {error}") from error
        self._known.add(event_type)


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


def _record_name(schema: Schema) -> str:
    parsed = json.loads(schema.schema_str or "null")
    if not isinstance(parsed, dict):
        return "not a record"
    return f"{parsed.get('namespace', '')}.{parsed.get('name', '')}"
