"""Reads a record of an event's topic: Avro in the Confluent wire format, by the project's codec.

What can't be decoded is told apart from a registry that doesn't answer: the first is counted and left behind, for the
second the record waits.
"""

import asyncio
from collections.abc import Iterable, Mapping
from typing import Any, Final, NamedTuple

import structlog

from schemas.codec import Codec, RegistryUnavailableError, UndecodableError
from schemas.envelope import CHECKOUT_ID, Envelope
from schemas.events import EVENTS
from schemas.trace import TraceContext
from services.observer.timeline import Said, said_of

_AGAIN_S: Final = 1.0
_HEAD: Final = 5
ORIGIN: Final = "observer-origin"
"""Header of a record that was passed on: topic, partition and offset of the original."""

log = structlog.get_logger("observer.reading")


class Place(NamedTuple):
    """Where a record lies. topic: without the prefix, and so the event's type."""

    topic: str
    partition: int
    offset: int


def place_of(message: Any, prefix: str) -> Place:
    """Where a record of an event's topic lies."""
    return Place(message.topic.removeprefix(prefix), message.partition, message.offset)


def origin_of(message: Any) -> Place:
    """Where a record that was passed on lies. Raises KeyError, ValueError for one that nobody here passed on."""
    topic, partition, offset = (dict(_pairs(message.headers))[ORIGIN] or b"").decode().rsplit("/", 2)
    return Place(topic, int(partition), int(offset))


def passed_on(message: Any, place: Place) -> list[tuple[str, bytes | None]]:
    """The headers of a record that is passed on: its own, and where it lies."""
    own = [(name, value) for name, value in _pairs(message.headers) if name != ORIGIN]
    return [*own, (ORIGIN, "/".join(map(str, place)).encode())]


def _pairs(headers: Any) -> Iterable[tuple[str, bytes | None]]:
    return headers.items() if isinstance(headers, Mapping) else headers or ()


class Reader:
    """Reads records; schemas that are known are read here and now, others in a thread: the registry may be slow."""

    def __init__(self, codec: Codec) -> None:
        self._codec = codec
        self._known: set[tuple[str, bytes]] = set()

    async def read(self, message: Any, place: Place) -> tuple[str, Said]:
        """The checkout and what was said of it. Raises UndecodableError; waits for the registry as long as it takes."""
        while True:
            try:
                envelope = await self._decoded(place.topic, message.value)
            except RegistryUnavailableError as error:
                log.warning("waiting for the schema registry", reason=str(error))
                await asyncio.sleep(_AGAIN_S)
            else:
                return _checked(message.key, envelope.event.checkout_id), self._said(envelope, message, place)

    async def _decoded(self, event: str, value: bytes | None) -> Envelope:
        if event not in EVENTS:
            raise UndecodableError(f"topic {event} holds no event that is known here")
        schema = (event, (value or b"")[:_HEAD])
        if schema in self._known:
            return self._codec.decode(event, value)
        envelope = await asyncio.to_thread(self._codec.decode, event, value)
        self._known.add(schema)
        return envelope

    @staticmethod
    def _said(envelope: Envelope, message: Any, place: Place) -> Said:
        trace = TraceContext.of(_pairs(message.headers))
        return said_of(envelope, place.partition, place.offset, f"{trace.trace_id:032x}" if trace else "")


def _checked(key: bytes | None, checkout_id: str) -> str:
    """The services would refuse the same: a key that isn't the checkout's."""
    if not CHECKOUT_ID.fullmatch(checkout_id) or key != checkout_id.encode():
        raise UndecodableError(f"key {(key or b'')[:80]!r} is not the checkout_id {checkout_id[:80]!r}")
    return checkout_id
