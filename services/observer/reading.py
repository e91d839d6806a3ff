"""Reads a record of an event's topic: Avro in the Confluent wire format, by the project's codec.

What can't be decoded is told apart from a registry that doesn't answer: the first is counted and left behind, for the
second the record waits. What waits for its schema alone is set aside by the caller (see `pending`).
"""

import asyncio
from collections.abc import Mapping
from typing import Any, Final, NamedTuple

import structlog

from schemas.codec import Codec, RegistryUnavailableError, UndecodableError
from schemas.envelope import Envelope
from schemas.events import EVENTS
from schemas.kafka.record import Header, unpacked
from schemas.trace import TraceContext
from services.observer.batches import Defect
from services.observer.instants import micros, written
from services.observer.texts import clean
from services.observer.timeline import Said, decoded, is_id, said_of

_AGAIN_S: Final = 1.0
_HEAD: Final = 5
_MOST_US: Final = 2**63 - 1

log = structlog.get_logger("observer.reading")


class Arrived(NamedTuple):
    """A record as Faust hands it over. defect: why it can't be read; None: it can.

    timestamp_us: Kafka's, in microseconds since 1970, whatever the producer wrote. youngest_us: the latest of those
    before it in its partition that can be one; 0: there is none.
    """

    event: str
    partition: int
    offset: int
    timestamp_us: int
    youngest_us: int
    key: bytes
    value: bytes | None
    headers: list[Header]
    defect: str | None = None


def is_end(message: Any) -> bool:
    """Whether a message stands for no record, but for the end of a batch."""
    return _defect(message) == ""


def _defect(message: Any) -> str | None:
    headers = _pairs(message.headers)
    return str(headers[0][0]) if headers and isinstance(headers[0][0], Defect) else None


def arrived(message: Any, prefix: str, youngest_us: int, *, unpack: bool = False) -> Arrived:
    """What a message of Faust's holds. unpack: whether a connector publishes (see `schemas.kafka.record`)."""
    headers, defect = _pairs(message.headers), _defect(message)
    if defect is None and unpack:
        headers, found = unpacked(headers)
        defect = found or None
    return Arrived(
        message.topic.removeprefix(prefix),
        message.partition,
        message.offset,
        timestamp_us(message),
        youngest_us,
        message.key or b"",
        message.value,
        headers,
        defect,
    )


def timestamp_us(message: Any) -> int:
    """Kafka's timestamp of a message of Faust's, which has it in seconds; -1: it has none."""
    seconds = message.timestamp
    return -1 if seconds is None else min(max(round(seconds * 1_000_000), -1), _MOST_US)


def _pairs(headers: Any) -> list[Header]:
    return list(headers.items() if isinstance(headers, Mapping) else headers or ())


class Reader:
    """Reads records; schemas that are known are read here and now, others in a thread: the registry may be slow."""

    def __init__(self, codec: Codec) -> None:
        self._codec = codec
        self._known: set[tuple[str, bytes]] = set()

    async def read(self, record: Arrived, now_us: int) -> tuple[str, Said]:
        """The checkout and what was said of it. Waits for the registry as long as it takes.

        Raises UndecodableError, SchemaPendingError.
        """
        if record.defect is not None:
            raise UndecodableError(record.defect)
        while True:
            try:
                envelope = await self._decoded(record.event, record.value)
            except RegistryUnavailableError as error:
                log.warning("waiting for the schema registry", reason=clean(str(error)))
                await asyncio.sleep(_AGAIN_S)
            else:
                return _checked(record.key, envelope.event.checkout_id), _said(envelope, record, now_us)

    async def _decoded(self, event: str, value: bytes | None) -> Envelope:
        if event not in EVENTS:
            raise UndecodableError(f"topic {event} holds no event that is known here")
        schema = (event, (value or b"")[:_HEAD])
        if schema in self._known:
            return self._codec.decode(event, value)
        envelope = await asyncio.to_thread(self._codec.decode, event, value)
        self._known.add(schema)
        return envelope


def _said(envelope: Envelope, record: Arrived, now_us: int) -> Said:
    trace = TraceContext.of(record.headers)
    written_us = written(record.timestamp_us, record.youngest_us, micros(envelope.occurred_at), now_us)
    trace_id = f"{trace.trace_id:032x}" if trace else ""
    return said_of(envelope, record.partition, record.offset, trace_id, written_us)


def passed_on(record: Arrived) -> tuple[str, Said]:
    """The checkout and the event in a record that another worker passed on. Raises UndecodableError."""
    timeline = decoded(record.key, record.value) if record.defect is None else None
    if timeline is None or len(timeline.said) != 1:
        raise UndecodableError(record.defect or "no worker passes on anything like it")
    return timeline.checkout_id, timeline.said[0]


def _checked(key: bytes, checkout_id: str) -> str:
    """The services would refuse the same: a key that isn't the checkout's."""
    if key != checkout_id.encode("utf-8", "surrogatepass"):
        raise UndecodableError(f"key {key[:80]!r} is not the checkout_id {checkout_id[:80]!r}")
    if not is_id(checkout_id):
        raise UndecodableError(f"no checkout has the id {checkout_id[:80]!r}: 1 to 64 letters, digits or . _ : -")
    return checkout_id
