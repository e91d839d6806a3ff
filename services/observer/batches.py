"""Reads the batches of a fetch, in the place of aiokafka's reader, which ends the consumer at the first odd byte.

In the place of a record or a batch that can't be read stands a record that says why. Every batch ends with a record at
its last offset, also where that is a transaction's mark or was compacted away: the recovery of a table counts offsets.
What is handed out is bounded: of its headers a record keeps those that are read here.

For consumers that read uncommitted.
"""

import struct
from collections.abc import Iterator
from itertools import islice
from typing import Any, Final, NamedTuple

from aiokafka.consumer import fetcher
from aiokafka.record.default_records import DefaultRecordBatch

from schemas.codec import MAX_VALUE_BYTES
from schemas.kafka.record import MAX_PACKED_BYTES, PACKED, Header
from services.observer.unpacking import UnreadableError, unpacked

_HEAD: Final = struct.Struct(">qiibIhiqqqhii")
"""Source: Kafka's protocol, record batch of format 2: offset, length, …, attributes, …, number of records."""
_FRAME: Final = struct.Struct(">qi")
_MAGIC, _CHECKSUM, _ATTRIBUTES, _DELTA, _FIRST, _LAST, _COUNT = 3, 4, 5, 6, 7, 8, 12
_ATTRIBUTES_AT: Final = 21
_FORMAT: Final = 2
_RECORD_ATTRIBUTES: Final = 1
"""Bytes; nothing is written there."""
_CODEC, _APPEND_TIME, _CONTROL = 0x07, 0x08, 0x20
_MOST_RECORDS: Final = 1_000_000_000
_QUICK_BYTES: Final = 2 * 1024 * 1024
"""Longer batches are read record by record: two bytes make a header, which is thirty times as large in memory."""
_MOST_KEY_BYTES: Final = 64 * 1024
_MOST_HEADERS: Final = 20_000
_NEEDED: Final = ("traceparent", PACKED)
_VARINT_BITS: Final = 64


class Defect(str):
    """The name of the only header of what can't be read: why; "" where there is no record, but the end of a batch."""

    __slots__ = ()


class Record(NamedTuple):
    """As aiokafka's fetcher wants it. timestamp: milliseconds since 1970, whatever the producer wrote."""

    offset: int
    timestamp: int
    timestamp_type: int
    key: bytes | None
    value: bytes | None
    headers: list[Header]
    checksum: None = None


def unreadable(offset: int, why: str, timestamp: int = -1) -> Record:
    """What stands for a record that can't be read."""
    return Record(offset, timestamp, 0, None, None, [(Defect(why), None)])


def read_safely() -> None:
    """From now on every consumer of aiokafka in this process reads with this module."""
    setattr(fetcher, "MemoryRecords", Batches)  # noqa: B010


class Batches:
    """The batches of one partition in one fetch; what is cut off at the end comes with the next one."""

    def __init__(self, data: bytes) -> None:
        self._data, self._at = memoryview(data), 0

    def size_in_bytes(self) -> int:
        """Of everything."""
        return len(self._data)

    def _end(self) -> int:
        """Where the next batch ends; beyond the data where it is cut off."""
        if len(self._data) - self._at < _FRAME.size:
            return len(self._data) + 1
        _, length = _FRAME.unpack_from(self._data, self._at)
        # what is shorter than its own frame has no end: nothing behind it can be found
        return self._at + _FRAME.size + int(length) if length >= 0 else len(self._data)

    def has_next(self) -> bool:
        """Whether a whole batch is left."""
        return self._at < self._end() <= len(self._data)

    def next_batch(self) -> "Batch | None":
        """The next one; None where none is left."""
        if not self.has_next():
            return None
        begin, self._at = self._at, self._end()
        return Batch(bytes(self._data[begin : self._at]))


class Batch:
    """One batch. next_offset: behind its last record."""

    is_control_batch = False
    is_transactional = False
    producer_id: int | None = None

    def __init__(self, data: bytes) -> None:
        self._data = data
        whole = len(data) >= _HEAD.size
        self._head: tuple[Any, ...] = _HEAD.unpack_from(data) if whole else (*_FRAME.unpack_from(data), *[0] * 11)
        delta = self._head[_DELTA]
        self.base_offset: int = self._head[0]
        self.next_offset = self.base_offset + (delta if 0 <= delta < _MOST_RECORDS else 0) + 1

    def validate_crc(self) -> bool:
        """It is checked when the batch is read, and then it is the batch's defect."""
        return True

    def __iter__(self) -> Iterator[Record]:
        reached = -1
        for record in self._records():
            # the fetcher would go on behind it, wherever that is
            if not self.base_offset <= record.offset < self.next_offset:
                continue
            reached = max(reached, record.offset)
            yield record
        if reached < self.next_offset - 1:
            yield unreadable(self.next_offset - 1, "")

    def _records(self) -> Iterator[Record]:
        if self._head[_ATTRIBUTES] & _CONTROL:
            return
        try:
            plain = self._plain()
        except UnreadableError as error:
            yield unreadable(self.base_offset, f"its batch can't be read: {error}")
            return
        done = 0
        try:
            for record in self._quickly(plain):
                yield record
                done += 1
        # whatever it stumbles over, the rest is read one by one
        except Exception:
            yield from islice(self._one_by_one(plain), done, None)

    def _plain(self) -> bytes:
        """The batch without compression. Raises UnreadableError."""
        if len(self._data) < _HEAD.size or self._head[_MAGIC] != _FORMAT:
            raise UnreadableError(f"format {self._head[_MAGIC]}, {len(self._data)} bytes; only format 2 is read")
        if not DefaultRecordBatch(self._data).validate_crc():
            raise UnreadableError("its checksum is another")
        codec = self._head[_ATTRIBUTES] & _CODEC
        if codec == 0:
            return self._data
        head = bytearray(self._data[: _HEAD.size])
        struct.pack_into(">h", head, _ATTRIBUTES_AT, self._head[_ATTRIBUTES] & ~_CODEC)
        return b"".join((head, unpacked(codec, self._data[_HEAD.size :])))

    @staticmethod
    def _quickly(plain: bytes) -> Iterator[Record]:
        """By aiokafka's own parser, in C. Raises whatever that raises, and ValueError for a batch that is long."""
        if len(plain) > _QUICK_BYTES:
            raise ValueError("long")
        for found in DefaultRecordBatch(plain):
            yield _bounded(found.offset, found.timestamp, found.timestamp_type, found.key, found.value, found.headers)

    def _one_by_one(self, plain: bytes) -> Iterator[Record]:
        """What can be read, and what stands for the rest."""
        at = _HEAD.size
        for number in range(self._head[_COUNT]):
            try:
                frame, end = _bytes(plain, at, len(plain))
            except UnreadableError as error:
                yield unreadable(self.base_offset + number, f"record {number} of its batch: {error}")
                return
            yield self._record(frame or b"", number)
            at = end

    def _record(self, frame: bytes, number: int) -> Record:
        offset = self.base_offset + number
        try:
            delta, at = _varint(frame, _RECORD_ATTRIBUTES, len(frame))
            place, at = _varint(frame, at, len(frame))
            offset = self.base_offset + place
            key, at = _bytes(frame, at, len(frame))
            value, at = _bytes(frame, at, len(frame))
            headers = _headers(frame, at)
        except UnreadableError as error:
            return unreadable(offset, str(error))
        appended = bool(self._head[_ATTRIBUTES] & _APPEND_TIME)
        timestamp = self._head[_LAST] if appended else self._head[_FIRST] + delta
        return _bounded(offset, timestamp, int(appended), key, value, headers)


def _bounded(
    offset: int, timestamp: int, kind: int, key: bytes | None, value: bytes | None, headers: list[Header]
) -> Record:
    """The record with those of its headers that are read here, or what stands for it."""
    if key is not None and len(key) > _MOST_KEY_BYTES:
        return unreadable(offset, f"a key of {len(key):,} bytes; at most {_MOST_KEY_BYTES:,} are read", timestamp)
    if value is not None and len(value) > MAX_VALUE_BYTES:
        return unreadable(offset, f"{len(value):,} bytes; at most {MAX_VALUE_BYTES:,} are read", timestamp)
    if len(headers) > _MOST_HEADERS:
        return unreadable(offset, f"{len(headers):,} headers; at most {_MOST_HEADERS:,} are read", timestamp)
    kept = [(name, text) for name, text in headers if name in _NEEDED and len(text or b"") <= MAX_PACKED_BYTES]
    return Record(offset, timestamp, kind, key, value, kept)


def _headers(frame: bytes, at: int) -> list[Header]:
    """Raises UnreadableError."""
    end = len(frame)
    count, at = _varint(frame, at, end)
    if not 0 <= count <= _MOST_HEADERS:
        raise UnreadableError(f"{count:,} headers; at most {_MOST_HEADERS:,} are read")
    headers: list[Header] = []
    for _ in range(count):
        name, at = _bytes(frame, at, end)
        value, at = _bytes(frame, at, end)
        try:
            headers.append(((name or b"").decode(), value))
        except UnicodeDecodeError as error:
            raise UnreadableError("the name of a header is not UTF-8") from error
    if at != end:
        raise UnreadableError(f"{end - at} bytes behind the record")
    return headers


def _bytes(plain: bytes, at: int, end: int) -> tuple[bytes | None, int]:
    """(bytes, where they end); None for a negative length. Raises UnreadableError."""
    length, at = _varint(plain, at, end)
    if length < 0:
        return None, at
    if length > end - at:
        raise UnreadableError(f"{length:,} bytes where {end - at:,} are left")
    return plain[at : at + length], at + length


def _varint(plain: bytes, at: int, end: int) -> tuple[int, int]:
    """(number, where it ends). Raises UnreadableError. Source: Protocol Buffers, zigzag."""
    number = shift = 0
    while shift < _VARINT_BITS:
        if at >= end:
            raise UnreadableError("it ends in the middle of a number")
        byte = plain[at]
        number |= (byte & 0x7F) << shift
        at, shift = at + 1, shift + 7
        if byte < 0x80:  # noqa: PLR2004
            return (number >> 1) ^ -(number & 1), at
    raise UnreadableError("a number of more than 64 bits")
