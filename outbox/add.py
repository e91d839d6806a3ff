"""Writing to the outbox: in the caller's transaction, so that the event exists exactly when the change does."""

import base64
import json
import zlib
from collections.abc import Sequence
from dataclasses import dataclass, field
from enum import Enum
from json.encoder import encode_basestring_ascii as encode_text
from typing import Final
from uuid import UUID

from uuid_utils.compat import uuid7

from outbox.bulk import Database, text_of
from outbox.copying import BulkCopy
from outbox.publishable import name_defect, topic_defect

Headers = Sequence[tuple[str, bytes | None]]

SHARDS: Final = 16
"""Keys are spread over this many shards; one relay owns a shard at a time. Never change it with rows in the table."""

_COPY: Final = BulkCopy(
    "outbox",
    {
        "id": "uuid",
        "aggregatetype": "text",
        "aggregateid": "text",
        "type": "text",
        "payload": "bytea",
        "topic": "text",
        "key": "bytea",
        "headers": "json",
        "shard": "smallint",
    },
)


class SameKey(Enum):
    """Says that the Kafka key is the ordering key; None and b"" are keys that a record can really have."""

    SAME = "same"


@dataclass(frozen=True, slots=True)
class Record:
    """One message to be published.

    key: the ordering key, also the Kafka key unless `raw_key` says otherwise (`raw_key=None`: no Kafka key).
    payload: the value, already encoded; None is a tombstone.
    headers: (name, value); values are kept byte for byte. id: unique, a UUIDv7 where none is given.
    """

    topic: str
    key: str
    payload: bytes | None
    type: str = ""
    aggregatetype: str = "event"
    headers: Headers = ()
    id: UUID = field(default_factory=uuid7)
    raw_key: bytes | SameKey | None = SameKey.SAME

    @property
    def kafka_key(self) -> bytes | None:
        """The key on the Kafka record."""
        return self.key.encode() if isinstance(self.raw_key, SameKey) else self.raw_key


def add(db: Database, *records: Record) -> None:
    """Write `records` with one COPY, to be published after the commit, each key's in this order.

    db: a Session or Connection in a transaction. Raises what the database raises, and ValueError for what can't be a
    Kafka record (the name of its topic, or of a header); nothing is published then.
    """
    _COPY.run(db, [_row(record) for record in records])


def shard_of(key: str) -> int:
    """The shard of an ordering key: stable over processes and versions, which Python's hash is not."""
    return zlib.crc32(key.encode()) % SHARDS


def _row(record: Record) -> tuple[str, str, str, str, bytes | None, str, bytes | None, str, int]:
    headers = dump_headers(record.headers)
    # only an escape can be half of a surrogate pair or a NUL: without any, no name has to be looked at
    if topic_defect(record.topic) or "\\" in headers:
        _check(record)
    return (
        text_of(record.id),
        record.aggregatetype,
        record.key,
        record.type or record.topic,
        record.payload,
        record.topic,
        record.kafka_key,
        headers,
        shard_of(record.key),
    )


def _check(record: Record) -> None:
    """Raises ValueError. What the relay takes from memory was looked at here, and nowhere else."""
    defects = (topic_defect(record.topic), *(name_defect(name) for name, _ in record.headers))
    if defect := next(filter(None, defects), ""):
        raise ValueError(f"no Kafka record: {defect}")


def dump_headers(headers: Headers) -> str:
    """Headers as JSON: [[name, text]], or [name, {"base64": text}] for bytes that JSON can't hold."""
    return f"[{', '.join([f'[{encode_text(name)}, {_dump_value(value)}]' for name, value in headers])}]"


def load_headers(stored: Sequence[tuple[str, object]]) -> list[tuple[str, str | bytes | None]]:
    """What `dump_headers` was given."""
    return [(name, _load_value(value)) for name, value in stored]


def _dump_value(value: bytes | None) -> str:
    """The value as JSON."""
    if value is None:
        return "null"
    try:
        decoded = value.decode()
    except UnicodeDecodeError:
        decoded = "\0"
    # Postgres' JSON has no NUL
    return json.dumps({"base64": base64.b64encode(value).decode()}) if "\0" in decoded else encode_text(decoded)


def _load_value(value: object) -> bytes | None:
    if value is None:
        return None
    if isinstance(value, dict):
        return base64.b64decode(value["base64"])
    return str(value).encode()
