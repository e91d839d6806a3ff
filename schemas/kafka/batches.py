"""Record batches as a broker stores them: who wrote each, whether it belongs to a transaction, and its records.

The client library gives records only, and does not say which of them belong to a transaction. Reading is total:
whatever the bytes are, BadBatchError is all that is raised, and no more than a limit is unpacked.
Format: https://kafka.apache.org/documentation/#recordbatch (magic 2, of Kafka 0.11 and later).
"""

import struct
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from functools import partial
from typing import Any, Final

import cramjam

from schemas.kafka.record import BAD_NAME, Header, KafkaRecord, instant_of, is_never_packed, unpacked

UNPACKED_AT_MOST: Final = 16 * 1024 * 1024
"""Bytes of one compressed batch, unpacked."""

_HEAD: Final = struct.Struct(">qiibIhiqqqhii")
_LENGTH_FROM: Final = 12
"""The length of a batch counts what follows it."""
_MAGIC: Final = 2
_CODEC, _APPEND_TIME, _TRANSACTIONAL, _CONTROL = 0x07, 0x08, 0x10, 0x20
_GZIP, _SNAPPY, _LZ4, _ZSTD = 1, 2, 3, 4
_XERIAL: Final = b"\x82SNAPPY\x00"
_XERIAL_HEAD: Final = 16
_VARINT_AT_MOST: Final = 10
_MARKER: Final = struct.Struct(">hh")
_COMMIT: Final = 1


class BadBatchError(ValueError):
    """Bytes that are no batch, or one that unpacks to more than the limit; the text says what is wrong."""


@dataclass(frozen=True, slots=True)
class Batch:
    """One batch. producer_id: -1 for a producer that is neither idempotent nor transactional.

    count: of its records, as it says. body: the records, packed as `attributes` say.
    """

    base_offset: int
    last_offset: int
    attributes: int
    first_timestamp: int
    max_timestamp: int
    producer_id: int
    count: int
    body: memoryview

    @property
    def is_transactional(self) -> bool:
        """Whether its records are said only when its producer's transaction is committed."""
        return bool(self.attributes & _TRANSACTIONAL)

    @property
    def is_control(self) -> bool:
        """Whether the broker wrote it, to end a transaction: it holds no message."""
        return bool(self.attributes & _CONTROL)


def batches(stored: bytes) -> Iterator[Batch]:
    """The whole batches in an answer to a fetch; the last one may be cut off, and is left out.

    Raises BadBatchError at the first bytes that are none, after those before them.
    """
    view, at = memoryview(stored), 0
    while at + _HEAD.size <= len(view):
        base, length, _, magic, _, attributes, last, first_ms, max_ms, producer, _, _, count = _HEAD.unpack_from(
            view, at
        )
        end = at + _LENGTH_FROM + length
        if magic != _MAGIC:
            raise BadBatchError(f"a batch of format {magic} at offset {base}")
        if end < at + _HEAD.size or last < 0 or count < 0 or base < 0:
            raise BadBatchError(f"a batch at offset {base} with length {length}, {count} records")
        if end > len(view):
            return
        yield Batch(base, base + last, attributes, first_ms, max_ms, producer, count, view[at + _HEAD.size : end])
        at = end


def is_commit(batch: Batch) -> bool:
    """Whether a control batch commits its producer's transaction; otherwise it aborts it. Raises BadBatchError."""
    first = next(records(batch, "", 0), None)
    key = first.key or b"" if first else b""
    if len(key) < _MARKER.size:
        raise BadBatchError(f"a control batch at offset {batch.base_offset} that says nothing")
    kind: int = _MARKER.unpack_from(key)[1]
    return kind == _COMMIT


def records(
    batch: Batch, topic: str, partition: int, *, unpack: bool = False, limit: int = UNPACKED_AT_MOST
) -> Iterator[KafkaRecord]:
    """The records of a batch, each as `record_of` reads it. unpack: as there. limit: of bytes, once decompressed.

    Raises BadBatchError, perhaps after some records.
    """
    try:
        yield from _records(batch, topic, partition, limit, unpack=unpack and not is_never_packed(topic))
    except (IndexError, struct.error) as error:
        raise BadBatchError(f"the batch at offset {batch.base_offset} is cut off") from error


def _records(batch: Batch, topic: str, partition: int, limit: int, *, unpack: bool) -> Iterator[KafkaRecord]:
    data, at = _body(batch, limit), 0
    for _ in range(batch.count):
        length, at = _varint(data, at)
        end = at + length
        if length < 0 or end > len(data):
            raise BadBatchError(f"a record of {length} bytes in the batch at offset {batch.base_offset}")
        yield _record(batch, data[at:end], topic, partition, unpack=unpack)
        at = end


def _record(batch: Batch, data: memoryview, topic: str, partition: int, *, unpack: bool) -> KafkaRecord:
    milliseconds, at = _varint(data, 1)  # the first byte holds attributes that no version uses
    offset, at = _varint(data, at)
    key, at = _bytes(data, at)
    value, at = _bytes(data, at)
    headers, defect = _headers(data, at)
    if unpack and not defect:
        headers, defect = unpacked(headers)
    timestamp = batch.max_timestamp if batch.attributes & _APPEND_TIME else batch.first_timestamp + milliseconds
    return KafkaRecord(
        topic, partition, batch.base_offset + offset, instant_of(_wrapped(timestamp)), key, value, headers, defect
    )


def _headers(data: memoryview, at: int) -> tuple[list[Header], str]:
    """(headers, defect), as the client library gives them: a name ends at its first NUL."""
    count, at = _varint(data, at)
    found: list[tuple[bytes, bytes | None]] = []
    for _ in range(count):
        name, at = _bytes(data, at)
        value, at = _bytes(data, at)
        found.append(((name or b"").partition(b"\0")[0], value))
    try:
        return [(name.decode(), value) for name, value in found], ""
    except UnicodeDecodeError:
        return [], BAD_NAME


def _bytes(data: memoryview, at: int) -> tuple[bytes | None, int]:
    """(what lies there, where the next begins). Raises IndexError."""
    length, at = _varint(data, at)
    if length < 0:
        return None, at
    if at + length > len(data):
        raise IndexError(length)
    return bytes(data[at : at + length]), at + length


def _varint(data: memoryview, at: int) -> tuple[int, int]:
    """(number, where the next begins): seven bits a byte, lowest first, the lowest is the sign. Raises IndexError."""
    byte = data[at]
    if byte < 0x80:  # noqa: PLR2004 - nearly all of them
        return byte >> 1 ^ -(byte & 1), at + 1
    number, shift = byte & 0x7F, 7
    for place in range(at + 1, at + _VARINT_AT_MOST):
        byte = data[place]
        number |= (byte & 0x7F) << shift
        if not byte & 0x80:
            return number >> 1 ^ -(number & 1), place + 1
        shift += 7
    raise IndexError(at)


def _wrapped(number: int) -> int:
    """As 64 bits hold it: producers choose both parts of a timestamp."""
    return (number + 2**63) % 2**64 - 2**63


# --- unpacking ------------------------------------------------------------------------------------------------------


def _body(batch: Batch, limit: int) -> memoryview:
    codec = batch.attributes & _CODEC
    if not codec:
        return batch.body
    if codec not in _UNPACKERS:
        raise BadBatchError(f"codec {codec} in the batch at offset {batch.base_offset}")
    room = memoryview(bytearray(limit))
    try:
        return room[: _UNPACKERS[codec](batch.body, room)]
    # a panic of the library is a BaseException
    except BaseException as error:
        if isinstance(error, KeyboardInterrupt | SystemExit):
            raise
        reason = f"the batch at offset {batch.base_offset} can't be unpacked into {limit} bytes: {error}"
        raise BadBatchError(reason) from error


def _unsnap(packed: memoryview, room: memoryview) -> int:
    """Snappy: one raw block (librdkafka), or several with their lengths before them (Java's clients)."""
    if bytes(packed[: len(_XERIAL)]) != _XERIAL:
        return cramjam.snappy.decompress_raw_into(packed, room)
    at, done = _XERIAL_HEAD, 0
    while at < len(packed):
        length: int = struct.unpack_from(">i", packed, at)[0]
        at += 4
        if length < 0 or at + length > len(packed):
            raise BadBatchError("a block of snappy is cut off")
        done += cramjam.snappy.decompress_raw_into(packed[at : at + length], room[done:])
        at += length
    return done


def _library(unpack_into: Callable[[Any, Any], int], packed: memoryview, room: memoryview) -> int:
    return unpack_into(packed, room)


_UNPACKERS: Final[dict[int, Callable[[memoryview, memoryview], int]]] = {
    _GZIP: partial(_library, cramjam.gzip.decompress_into),
    _SNAPPY: _unsnap,
    _LZ4: partial(_library, cramjam.lz4.decompress_into),
    _ZSTD: partial(_library, cramjam.zstd.decompress_into),
}
