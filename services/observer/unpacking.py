"""Unpacks what a producer has compressed, into a buffer of a given size: a few bytes can stand for gigabytes."""

import struct
from typing import Any, Final

import cramjam

MOST_UNPACKED: Final = 16 * 1024 * 1024
"""Of one batch. librdkafka puts at most 1 MB into one, Java's client 16 KiB, unless told otherwise."""

GZIP, SNAPPY, LZ4, ZSTD = 1, 2, 3, 4
_STREAMS: Final = {GZIP: cramjam.gzip, LZ4: cramjam.lz4, ZSTD: cramjam.zstd}
_XERIAL: Final = b"\x82SNAPPY\0"
_XERIAL_HEAD: Final = 16
_SIZE: Final = struct.Struct(">i")


class UnreadableError(Exception):
    """A batch, or a record in it, can't be read. The text says why."""


def unpacked(codec: int, data: bytes) -> memoryview:
    """The records of a batch. codec: as the batch's attributes name it. Raises UnreadableError."""
    if codec != SNAPPY and codec not in _STREAMS:
        raise UnreadableError(f"compressed by a codec that is not known: {codec}")
    # its pages cost memory only once they are written to
    out = bytearray(MOST_UNPACKED)
    try:
        size = _snappy(data, out) if codec == SNAPPY else _STREAMS[codec].decompress_into(data, out)
    # the codecs are written in Rust: where one of them panics, that is no Exception either
    except BaseException as error:
        if isinstance(error, KeyboardInterrupt | SystemExit):
            raise
        limit = f"{MOST_UNPACKED // 1024**2} MiB"
        raise UnreadableError(f"can't be unpacked within {limit}: {str(error)[:200]}") from error
    return memoryview(out)[:size]


def _snappy(data: bytes, out: bytearray) -> int:
    """One block, as librdkafka writes it, or several with their lengths, as Java does. Source: xerial/snappy-java."""
    room = memoryview(out)
    if not data.startswith(_XERIAL):
        return int(cramjam.snappy.decompress_raw_into(data, room))
    at, done = _XERIAL_HEAD, 0
    while at < len(data):
        [size] = _SIZE.unpack_from(data, at)
        block: Any = data[at + _SIZE.size : at + _SIZE.size + size] if size > 0 else b""
        if size <= 0 or len(block) < size:
            raise ValueError("a block of snappy is cut off")
        done += int(cramjam.snappy.decompress_raw_into(block, room[done:]))
        at += _SIZE.size + size
    return done
